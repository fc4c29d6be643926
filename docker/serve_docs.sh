#!/bin/sh
# Generate the dbt docs page from the current project and warehouse, and serve it.
set -eu
dbt docs generate --static
# before the first `dbt build` there is nothing to draw, and the page is served without pictures
WAREHOUSE_HOME=/tmp/warehouse python -m ingest pictures --manifest "$DBT_TARGET_PATH/manifest.json" --output "$DBT_TARGET_PATH/pictures" \
    --page "$DBT_TARGET_PATH/static_index.html" || true
mkdir -p "$DBT_TARGET_PATH/site"
cp "$DBT_TARGET_PATH/static_index.html" "$DBT_TARGET_PATH/site/index.html"
exec python -m http.server 8080 --directory "$DBT_TARGET_PATH/site"
