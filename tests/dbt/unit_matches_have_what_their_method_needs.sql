-- unit_matches: a pair has a method, a confidence and shares from 0 to 1; a unit without a partner has none of these
{{ config(enabled=var('concordance', []) != []) }}

select
    match_key,
    method,
    share_of_unit,
    share_of_other,
    confidence
from {{ ref('unit_matches') }}
where (method = 'none') <> (gid is null or other_gid is null)
    or (gid is null and other_gid is null)
    or (method = 'none') <> (confidence is null)
    or (method in ('none', 'area')) <> (evidence is null)
    or (method = 'none' and share_of_unit is not null)
    or (share_of_unit is null) <> (share_of_other is null)
    or share_of_unit not between 0 and 1
    or share_of_other not between 0 and 1
    or confidence not between 0.4 and 1
