{{ config(enabled=(boundaries() == 'cod')) }}

{{ staged_admin_level(
    'cod',
    4,
    columns={
        'gid': 'adm4_pcode',
        'gid_0': 'adm0_pcode',
        'gid_1': 'adm1_pcode',
        'gid_2': 'adm2_pcode',
        'gid_3': 'adm3_pcode',
        'name': 'adm4_name',
        'name_local': 'adm4_name1',
        'name_variants': ['adm4_name2', 'adm4_name3', 'adm4_ref_name', 'adm4alt1'],
        'licence': 'license_title',
        'source_name': 'dataset_source',
    },
    codes={
        'p_code': 'adm4_pcode',
    },
    constants={
        'licence': 'Differs by country, most often CC BY-IGO: see its page on https://data.humdata.org',
        'attribution': 'OCHA COD-AB, https://data.humdata.org, and the source that the country\'s page names',
        'source_name': 'OCHA COD-AB',
    },
    missing=[],
) }}
