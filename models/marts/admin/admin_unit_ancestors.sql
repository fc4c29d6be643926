{{ config(indexes=mart_indexes(columns=['ancestor_gid'])) }}

with

lineage as (

    select * from {{ ref('int_admin_units__lineage') }}

)

select
    gid,
    gid as ancestor_gid,
    admin_level,
    admin_level as ancestor_level,
    0 as distance
from lineage

{%- for ancestor in admin_levels()[:-1] %}

union all

select
    gid,
    gid_{{ ancestor }} as ancestor_gid,
    admin_level,
    {{ ancestor }} as ancestor_level,
    admin_level - {{ ancestor }} as distance
from lineage
where gid_{{ ancestor }} is not null
{%- endfor %}
