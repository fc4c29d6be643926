{{ config(indexes=mart_indexes(columns=['parent_gid', 'gid_0'], geometry='geom')) }}

{{ admin_level_select(5) }}
