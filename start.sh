#!/bin/sh
# Runs a node on the embedded profile at 127.0.0.1:8000, in the foreground: SQLite, nothing else to install.
# Makes .venv beside this file first, when that is not there or not up to date. Arguments are those of `kvctl serve`.
# KVCORE_HTTP__PORT and KVCORE_STORE__SQLITE__PATH change the port and the place of the data, as does any other setting.
set -eu

fail() {
    echo "start.sh: $*" >&2
    exit 1
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
. "$here/scripts/venv.sh"

venv=$here/.venv
stamp=$venv/installed
# What was installed, and where from; the code itself is read from this folder and needs no new installation.
wanted=$(cd "$here" && echo "$here" && cksum pyproject.toml plugins/cache_memory/pyproject.toml plugins/store_sqlite/pyproject.toml)

if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || ! "$venv/bin/python" -c 'import kvcore' 2>/dev/null; then
    python=$(find_python) || exit 1
    echo "start.sh: installing into $venv, which takes about a minute" >&2
    rm -f "$stamp" 2>/dev/null || fail "cannot write to $here"
    ensure_venv "$venv" "$python"
    (cd "$here" && "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        -e '.[embedded]' -e plugins/cache_memory -e plugins/store_sqlite >&2) || fail "the installation failed, see above"
    echo "$wanted" >"$stamp"
fi

export KVCORE_STORE__SQLITE__PATH="${KVCORE_STORE__SQLITE__PATH:-$here/data/kvcore.db}"
exec "$venv/bin/python" -m kvcore.cli serve "$@"
