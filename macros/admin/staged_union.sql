{#-
  The select of a staging view of a level that has no file: one unit, which is the union of all units of the level
  below. It stands for no row of a file (`file_no` -1). What ingest computes from a geometry is put together from the
  parts: the narrowest box is what the widest gap between them leaves, and the inner point is that of the largest.
-#}
{% macro staged_union(dataset, level, gid, name, codes={}, constants={}, of_releases={}) -%}
{%- set run = pinned_run(dataset) -%}
{%- set texts = dict(constants, name=name, **of_releases.get(run.release, {})) -%}
with

parts as (

    select * from {{ ref('stg_' ~ dataset ~ '__adm_' ~ (level + 1)) }}

),

ranges as (

    select
        west_lon as west,
        case when east_lon < west_lon then east_lon + 360 else east_lon end as east
    from parts
    where west_lon is not null

),

-- twice round the globe, so that the gap over the date line is between two of them as well
rounds as (

    select
        west,
        east
    from ranges

    union all

    select
        west + 360 as west,
        east + 360 as east
    from ranges

),

reached as (

    select
        west,
        max(east) over (order by west, east rows between unbounded preceding and 1 preceding) as east_before
    from rounds

),

widest_gap as (

    select
        case when west > 180 then west - 360 else west end as west_lon,
        case when east_before > 180 then east_before - 360 else east_before end as east_lon
    from reached
    where west > east_before
    order by west - east_before desc, west
    limit 1

),

united as (

    select
        {{ multipolygon_as_published(union_of('geom')) }} as geom,
        sum(area_km2) as area_km2,
        sum(area_km2_in_source) as area_km2_in_source,
        (array_agg(point_lon order by coalesce(area_km2, -1) desc, gid))[1] as point_lon,
        (array_agg(point_lat order by coalesce(area_km2, -1) desc, gid))[1] as point_lat,
        min(min_lon) as min_lon,
        min(min_lat) as min_lat,
        max(max_lon) as max_lon,
        max(max_lat) as max_lat
    from parts
    having count(*) > 0

)

select
    ---------- ids
    {{ text_literal(run.run_id) }} as run_id,
    {{ text_literal(run.release) }} as release,
    -1 as file_no,
    cast('' as text) as source_file,
    cast('' as text) as source_layer,
    cast(0 as bigint) as source_fid,
    0 as source_rows,
    {{ level }} as source_level,
    cast(null as text) as set_aside_reason,
    {{ level }} as admin_level,
    {{ text_literal(gid) }} as gid,
    cast(null as text) as parent_gid,
    cast(null as text) as publisher_parent_gid,

    ---------- text
    {%- for each in staged_texts() %}
    {{ text_literal(texts.get(each)) }} as {{ each }},
    {%- endfor %}
    {%- set listed = [] %}
    {%- for scheme, code in codes.items() %}
        {%- do listed.append(scheme ~ '=' ~ code) %}
    {%- endfor %}
    {{ text_literal(listed | join('|') if listed else none) }} as codes,

    ---------- numbers
    cast(st_npoints(geom) as bigint) as vertex_count,
    area_km2,
    area_km2_in_source,
    point_lon,
    point_lat,
    min_lon,
    min_lat,
    max_lon,
    max_lat,
    coalesce((select widest_gap.west_lon from widest_gap), -180) as west_lon,
    coalesce((select widest_gap.east_lon from widest_gap), 180) as east_lon,

    ---------- validity
    true as is_valid_in_source,
    cast(null as text) as invalid_reason,

    ---------- geometry
    cast(null as text) as geom_hash,
    geom
from united
{%- endmacro %}
