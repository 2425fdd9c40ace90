#!/bin/sh
# Builds the wheels of kvcore and its plugins, installs them into the environment whose Python is first on PATH, and tests what was installed in the
# folder $1, where nothing of the source tree is found by chance.
set -eu

here=$(pwd)
place=$1
rm -rf "$place"
mkdir -p "$place/wheels" "$place/tests"

python -m pip wheel --quiet --no-deps --wheel-dir "$place/wheels" . plugins/*/
python -m pip install --quiet "$place"/wheels/*.whl
python -m pip install --quiet --no-deps --force-reinstall "$place"/wheels/*.whl

cp conftest.py "$place/tests"
for plugin in plugins/*/; do
    cp -R "$plugin/tests" "$place/tests/$(basename "$plugin")"
done
# Of those with servers the suite is enough: the others take long, and say nothing about wheels.
for plugin in cache_redis queue_rabbitmq store_cockroach; do
    find "$place/tests/$plugin" -name 'test_*.py' ! -name test_conformance.py -delete
done
cd "$place"
python -c 'import kvcore, sys; sys.exit("site-packages" not in kvcore.__file__ and f"not the wheel: {kvcore.__file__}")'
kvctl version
kvctl plugins
kvctl config check --profile memory
kvctl config check --profile embedded
kvctl config check --profile production --set 'cache.redis.url=redis://127.0.0.1:6379' --set auth.mode=none
python "$here/scripts/smoke.py"
python -m pytest -c "$here/pyproject.toml" --rootdir "$place" tests
