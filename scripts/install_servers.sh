#!/usr/bin/env bash
# Install PostgreSQL with PostGIS, Redis and Chromium for the tests, and GDAL's commands for the benchmarks. No server is
# started: the test suite starts its own, on ports of its own.
set -euo pipefail

have_postgis() { compgen -G '/usr/share/postgresql/*/extension/postgis.control' >/dev/null; }
have_redis() { command -v redis-server >/dev/null; }
have_chromium() { [ -x /usr/bin/chromium ]; }

if have_postgis && have_redis && have_chromium && command -v ogr2ogr >/dev/null; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "The tests need PostgreSQL with PostGIS, Redis and Chromium; install them with your package manager." >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "Run once as root: make servers" >&2; exit 1; }
    as_root=(sudo)
fi
# Keep Debian's packages from starting servers on the default ports: the tests start their own.
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq update
if ! command -v pg_lsclusters >/dev/null; then
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends postgresql-common >/dev/null
    "${as_root[@]}" sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
fi
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
    postgresql postgresql-postgis redis-server chromium gdal-bin >/dev/null 2>&1 ||
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
    postgresql-15 postgresql-15-postgis-3 redis-server chromium gdal-bin >/dev/null
