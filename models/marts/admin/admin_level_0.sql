{{ config(indexes=mart_indexes(columns=[], geometry='geom')) }}

{{ admin_level_select(0) }}
