#!/bin/sh
# Build wheels of packages that have none for this platform, from the sources that requirements.lock names by hash.
#
#   sh docker/build_wheels.sh LOCK FOLDER PACKAGE…
#
# The wheels come into FOLDER, and the rest of the lock as FOLDER/rest.lock. It needs a virtual environment with
# docker/requirements-build.lock to be active, g++, and what the packages need: fiona libgdal-dev, pgpq cargo and rustc.
set -eu
lock=$1 folder=$2
shift 2
mkdir -p "$folder"
awk -v names=" $* " -v folder="$folder" '
    /^[A-Za-z0-9]/ { split($0, part, /[=\[ ]/); file = index(names, " " part[1] " ") ? "built.lock" : "rest.lock" }
    { print > (folder "/" file) }
' "$lock"
if [ $# -gt 0 ]; then
    python -m pip wheel --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation \
        --no-binary :all: --require-hashes --requirement "$folder/built.lock" --wheel-dir "$folder"
fi
