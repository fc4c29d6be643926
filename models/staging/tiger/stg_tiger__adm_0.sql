{{ config(enabled=(boundaries() == 'tiger')) }}

{{ staged_union(
    'tiger',
    0,
    gid='USA',
    name='United States',
    codes={
        'iso_3166_1_alpha_2': 'US',
        'iso_3166_1_alpha_3': 'USA',
    },
    constants={
        'licence': 'Public domain, as a work of the U.S. government',
        'attribution': 'U.S. Census Bureau, TIGER/Line Shapefiles',
        'source_name': 'U.S. Census Bureau',
    },
    of_releases={
        'sample': {
            'attribution': 'U.S. Census Bureau, cartographic boundary files, 2017',
        },
        'sample-2023': {
            'attribution': 'U.S. Census Bureau, cartographic boundary files, 2023',
        },
    },
) }}
