{{ config(enabled=(boundaries() == 'cod')) }}

{{ staged_admin_level(
    'cod',
    0,
    columns={
        'gid': 'adm0_pcode',
        'name': 'adm0_name',
        'name_local': 'adm0_name1',
        'name_variants': ['adm0_name2', 'adm0_name3', 'adm0_ref_name', 'adm0alt1'],
        'licence': 'license_title',
        'source_name': 'dataset_source',
    },
    constants={
        'attribution': 'OCHA COD-AB, https://data.humdata.org, and the source that the country\'s page names',
    },
    missing=[],
) }}
