#!/bin/sh
# Runs a node on the embedded profile at 127.0.0.1:8000, in the foreground: SQLite, nothing else to install.
# `./start.sh production` is something else: the whole production topology in Docker; `./start.sh production down` ends it.
#
# Makes .venv beside this file first, when that is not there or not up to date. Arguments are those of `kvctl serve`.
# KVCORE_HTTP__PORT and KVCORE_STORE__SQLITE__PATH change the port and the place of the data, as does any other setting.
set -eu

fail() {
    echo "start.sh: $*" >&2
    exit 1
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)

if [ "${1:-}" = production ]; then
    shift
    exec sh "$here/deploy/compose/production.sh" "$@"
fi

. "$here/scripts/venv.sh"

venv=$here/.venv
stamp=$venv/installed
# What was installed, and where from; the code itself is read from this folder and needs no new installation.
wanted=$(cd "$here" && echo "$here" && cksum pyproject.toml plugins/*/pyproject.toml)

if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || ! "$venv/bin/python" -P -c 'import kvcore' 2>/dev/null; then
    python=$(find_python) || exit 1
    echo "start.sh: installing into $venv, which takes about a minute" >&2
    rm -f "$stamp" 2>/dev/null || fail "cannot write to $here"
    ensure_venv "$venv" "$python"
    (cd "$here" && "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        -e '.[embedded,memory]' -e plugins/cache_memory -e plugins/queue_memory -e plugins/store_memory \
        -e plugins/store_sqlite >&2) || fail "the installation failed, see above"
    echo "$wanted" >"$stamp"
fi

# The data stay beside this file wherever it is started from, unless somebody has said where they are.
if [ -z "${KVCORE_STORE__SQLITE__PATH:-}${KVCORE_CONFIG:-}" ] && [ ! -e kvcore.toml ]; then
    case " $*" in
    *" --config"*) ;;
    *) export KVCORE_STORE__SQLITE__PATH="$here/data/kvcore.db" ;;
    esac
fi
# -P: a folder that this is started in may hold modules of its own, which must not be taken for kvcore's.
exec "$venv/bin/python" -P -m kvcore.cli serve "$@"
