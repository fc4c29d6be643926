{{ config(enabled=(boundaries() == 'cod')) }}

{{ staged_admin_level(
    'cod',
    1,
    columns={
        'gid': 'adm1_pcode',
        'gid_0': 'adm0_pcode',
        'name': 'adm1_name',
        'name_local': 'adm1_name1',
        'name_variants': ['adm1_name2', 'adm1_name3', 'adm1_ref_name', 'adm1alt1'],
        'licence': 'license_title',
        'source_name': 'dataset_source',
    },
    codes={
        'p_code': 'adm1_pcode',
    },
    constants={
        'licence': 'Differs by country, most often CC BY-IGO: see its page on https://data.humdata.org',
        'attribution': 'OCHA COD-AB, https://data.humdata.org, and the source that the country\'s page names',
        'source_name': 'OCHA COD-AB',
    },
    missing=[],
) }}
