{{ config(enabled=(boundaries() == 'naturalearth')) }}

{{ staged_admin_level(
    'naturalearth',
    1,
    columns={
        'gid': 'adm1_code',
        'gid_0': 'adm0_a3',
        'name': 'name',
        'name_local': 'name_local',
        'name_variants': ['name_alt', 'name_en'],
        'type_local': 'type',
        'hasc_code': 'code_hasc',
        'iso_code': 'iso_3166_2',
        'cc_code': 'code_local',
    },
    codes={
        'hasc': 'code_hasc',
        'iso_3166_2': 'iso_3166_2',
        'fips_10_4': 'fips',
        'wikidata': 'wikidataid',
    },
    constants={
        'licence': 'Public domain (https://www.naturalearthdata.com/about/terms-of-use/)',
        'attribution': 'Made with Natural Earth, naturalearthdata.com',
        'source_name': 'Natural Earth',
    },
    missing=['-99'],
) }}
