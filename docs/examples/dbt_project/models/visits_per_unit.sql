{%- set names = ref('admin_boundaries', 'admin_unit_names') %}
select
    names.gid,
    names.path,
    sum(places.visits) as visits
from {{ ref('places') }} as places
inner join {{ names }} as names
    on {{ names.without_identifier() }}.fold_name(places.place) = names.folded_name
where names.name_kind = 'name'
    and names.admin_level = 1
group by names.gid, names.path
