#!/usr/bin/env bash
# Fetch the jars of a list from Maven Central into .spark/jars, by the Ivy that pyspark brings. A jar whose SHA-256 is not
# the listed one is refused. What is there already is not fetched again, so that nothing needs the network afterwards.
# Usage: get_spark_jars.sh PYTHON LIST
set -euo pipefail
python=$1 list=$2 jars=.spark/jars

if ! command -v java >/dev/null; then
    command -v apt-get >/dev/null || { echo "Spark needs Java 17 or 21; install it with your package manager." >&2; exit 1; }
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { echo "Run once as root: make spark" >&2; exit 1; }
        as_root=(sudo)
    fi
    "${as_root[@]}" apt-get -qq update
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends openjdk-17-jre-headless >/dev/null
fi

ivy=$("$python" -c 'import glob, os, pyspark; print(*glob.glob(os.path.join(os.path.dirname(pyspark.__file__), "jars", "ivy-*.jar")))')
mkdir -p "$jars"
draft=$(mktemp -d "$jars/fetching.XXXXXX")
trap 'rm -rf "$draft"' EXIT

grep -v '^#' "$list" | while read -r sum organisation module revision; do
    jar=$module-$revision.jar
    is_listed() { echo "$sum  $1" | sha256sum --check --status; }
    [ -f "$jars/$jar" ] && is_listed "$jars/$jar" && continue
    java -jar "$ivy" -warn -cache "$draft/cache" -dependency "$organisation" "$module" "$revision" -notransitive \
        -types jar -retrieve "$draft/[artifact]-[revision].[ext]" >"$draft/log" 2>&1 </dev/null || true
    [ -f "$draft/$jar" ] || { cat "$draft/log" >&2; echo "$jar could not be fetched from Maven Central." >&2; exit 1; }
    is_listed "$draft/$jar" || { echo "$jar is not the file that $list lists: its SHA-256 is another." >&2; exit 1; }
    mv "$draft/$jar" "$jars/$jar"
done
