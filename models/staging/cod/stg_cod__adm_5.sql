{{ config(enabled=(boundaries() == 'cod')) }}

{{ staged_admin_level(
    'cod',
    5,
    columns={
        'gid': 'adm5_pcode',
        'gid_0': 'adm0_pcode',
        'gid_1': 'adm1_pcode',
        'gid_2': 'adm2_pcode',
        'gid_3': 'adm3_pcode',
        'gid_4': 'adm4_pcode',
        'name': 'adm5_name',
        'name_local': 'adm5_name1',
        'name_variants': ['adm5_name2', 'adm5_name3', 'adm5_ref_name', 'adm5alt1'],
        'licence': 'license_title',
        'source_name': 'dataset_source',
    },
    codes={
        'p_code': 'adm5_pcode',
    },
    constants={
        'licence': 'Differs by country, most often CC BY-IGO: see its page on https://data.humdata.org',
        'attribution': 'OCHA COD-AB, https://data.humdata.org, and the source that the country\'s page names',
        'source_name': 'OCHA COD-AB',
    },
    missing=[],
) }}
