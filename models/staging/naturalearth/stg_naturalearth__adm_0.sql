{{ config(enabled=(boundaries() == 'naturalearth')) }}

{{ staged_admin_level(
    'naturalearth',
    0,
    columns={
        'gid': 'adm0_a3',
        'name': 'name',
        'name_variants': ['name_long', 'formal_en', 'name_alt', 'name_en'],
        'type_english': 'type',
    },
    codes={
        'iso_3166_1_alpha_2': 'iso_a2_eh',
        'iso_3166_1_alpha_3': 'iso_a3_eh',
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
