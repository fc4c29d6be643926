-- internal_level_counts, per level: nothing is lost and nothing appears between file, staging, mart and the rows set aside
select
    admin_level,
    rows_in_file,
    rows_loaded,
    rows_derived,
    rows_merged,
    rows_moved,
    rows_staged,
    rows_in_mart,
    rows_set_aside
from {{ ref('internal_level_counts') }}
where not is_balanced
    or rows_loaded <> rows_in_file
