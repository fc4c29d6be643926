{{ config(enabled=(boundaries() == 'cod')) }}

{{ staged_admin_level(
    'cod',
    2,
    columns={
        'gid': 'adm2_pcode',
        'gid_0': 'adm0_pcode',
        'gid_1': 'adm1_pcode',
        'name': 'adm2_name',
        'name_local': 'adm2_name1',
        'name_variants': ['adm2_name2', 'adm2_name3', 'adm2_ref_name', 'adm2alt1'],
        'licence': 'license_title',
        'source_name': 'dataset_source',
    },
    codes={
        'p_code': 'adm2_pcode',
    },
    constants={
        'licence': 'Differs by country, most often CC BY-IGO: see its page on https://data.humdata.org',
        'attribution': 'OCHA COD-AB, https://data.humdata.org, and the source that the country\'s page names',
        'source_name': 'OCHA COD-AB',
    },
    missing=[],
) }}
