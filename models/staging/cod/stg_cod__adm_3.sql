{{ config(enabled=(boundaries() == 'cod')) }}

{{ staged_admin_level(
    'cod',
    3,
    columns={
        'gid': 'adm3_pcode',
        'gid_0': 'adm0_pcode',
        'gid_1': 'adm1_pcode',
        'gid_2': 'adm2_pcode',
        'name': 'adm3_name',
        'name_local': 'adm3_name1',
        'name_variants': ['adm3_name2', 'adm3_name3', 'adm3_ref_name', 'adm3alt1'],
        'licence': 'license_title',
        'source_name': 'dataset_source',
    },
    codes={
        'p_code': 'adm3_pcode',
    },
    constants={
        'licence': 'Differs by country, most often CC BY-IGO: see its page on https://data.humdata.org',
        'attribution': 'OCHA COD-AB, https://data.humdata.org, and the source that the country\'s page names',
        'source_name': 'OCHA COD-AB',
    },
    missing=[],
) }}
