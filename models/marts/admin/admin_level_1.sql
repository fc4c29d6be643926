{{ config(indexes=mart_indexes(columns=['parent_gid'], geometry='geom')) }}

{{ admin_level_select(1) }}
