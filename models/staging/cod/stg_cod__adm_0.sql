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
    codes={
        'p_code': 'adm0_pcode',
        'iso_3166_1_alpha_2': 'iso2',
        'iso_3166_1_alpha_3': 'iso3',
    },
    constants={
        'licence': 'Differs by country, most often CC BY-IGO: see its page on https://data.humdata.org',
        'attribution': 'OCHA COD-AB, https://data.humdata.org, and the source that the country\'s page names',
        'source_name': 'OCHA COD-AB',
    },
    missing=[],
) }}
