# Finding a Python and making a virtual environment with it, for start.sh and test.sh, which read this file with `.`.
# Both define `fail`, which prints one line and exits.

# Print the first Python on PATH that is new enough.
find_python() {
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail "needs Python 3.11 or newer; python3 is $(python3 -V 2>/dev/null || echo 'not there')"
}

# Make sure that $1 is a virtual environment that works and has pip, with the Python $2. What an interrupted run has left is replaced.
ensure_venv() {
    if "$1/bin/python" -c 'import pip' 2>/dev/null; then
        return
    fi
    rm -rf "$1"
    # The second way is for Debian without python3-venv: there the module is there, but cannot install pip by itself.
    "$2" -m venv "$1" >/dev/null 2>&1 && "$1/bin/python" -c 'import pip' 2>/dev/null && return
    rm -rf "$1"
    "$2" -m venv --without-pip "$1" >/dev/null 2>&1 && "$2" -m pip --python "$1/bin/python" install --quiet pip && return
    rm -rf "$1"
    "$2" -m virtualenv --quiet "$1" && return
    fail "cannot make a virtual environment at $1: needs the venv module or pip (on Debian: apt install python3-venv)"
}
