#!/bin/sh
# Runs every check of the project: ./test.sh. Arguments are those of `tox run`, such as: ./test.sh -e lint
# Makes .venv-test beside this file, with tox in it; tox.ini says what is checked.
set -eu

fail() {
    echo "test.sh: $*" >&2
    exit 1
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
cd "$here"
. scripts/venv.sh

# tox does not find pyenv's interpreters through its shims.
if command -v pyenv >/dev/null; then
    for bin in "$(pyenv root)"/versions/3.1[1-9]*/bin; do
        [ -d "$bin" ] && PATH=$PATH:$bin
    done
    export PATH
fi

# Servers and tools that tests use where they are there, as executable:package. PostgreSQL's are not on PATH.
needed="wrk:wrk promtool:prometheus chromium:chromium npm:npm redis-server:redis-server rabbitmq-server:rabbitmq-server postgres:postgresql nginx:nginx-light curl:curl openssl:openssl systemd-analyze:systemd"

missing_packages() {
    for pair in $needed; do
        PATH=$PATH:$(echo /usr/lib/postgresql/*/bin | tr ' ' ':') command -v "${pair%:*}" >/dev/null || echo "${pair#*:}"
    done
}

# Install packages. The services in them are not to start: tests start servers of their own. Debian asks policy-rc.d for that.
install_packages() (
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        trap 'exit 1' HUP INT TERM
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update </dev/null >/dev/null 2>&1 || true # old lists may do
    for package in "$@"; do
        apt-get install -y --no-install-recommends "$package" </dev/null >/dev/null 2>&1 ||
            echo "test.sh: $package could not be installed; what needs it is skipped, or fails where CI is set" >&2
    done
)

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    missing=$(missing_packages)
    # shellcheck disable=SC2086 # a list of words
    [ -z "$missing" ] || install_packages $missing
fi

python=$(find_python) || exit 1
ensure_venv .venv-test "$python"
wanted=$(grep '^tox==' constraints.txt)
if [ "$(cat .venv-test/installed 2>/dev/null)" != "$wanted" ]; then
    .venv-test/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt tox >&2 ||
        fail "tox could not be installed, see above"
    echo "$wanted" >.venv-test/installed
fi

if [ $# -gt 0 ]; then
    exec .venv-test/bin/python -m tox run "$@" </dev/null
fi

# tox passes over interpreters that are not there; at least one must be.
tests=
for minor in 11 12 13; do
    "python3.$minor" -c '' 2>/dev/null && tests=$tests,py3$minor
done
[ -n "$tests" ] || fail "needs Python 3.11, 3.12 or 3.13 to run the tests with"
# The longest first, as many at once as there are cores. Faults are timed by how the servers behave, so they have the machine for
# themselves.
at_once=$(nproc 2>/dev/null || echo 2)
failed=0
.venv-test/bin/python -m tox run-parallel --parallel "$at_once" --parallel-no-spinner \
    -e "backends,e2e,suites,browser,wheels$tests,deployment,docs,types,lint" </dev/null || failed=1
.venv-test/bin/python -m tox run -e servers </dev/null || failed=1
exit $failed
