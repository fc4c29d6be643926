{{ config(enabled=(boundaries() == 'tiger')) }}

{{ staged_admin_level(
    'tiger',
    2,
    columns={
        'gid': 'geoid',
        'gid_1': 'statefp',
        'name': 'name',
        'name_variants': 'namelsad',
    },
    codes={
        'geoid': 'geoid',
    },
    constants={
        'licence': 'Public domain, as a work of the U.S. government',
        'attribution': 'U.S. Census Bureau, TIGER/Line Shapefiles',
        'source_name': 'U.S. Census Bureau',
        'gid_0': 'USA',
    },
    of_releases={
        'sample': {
            'attribution': 'U.S. Census Bureau, cartographic boundary files, 2017',
        },
        'sample-2023': {
            'attribution': 'U.S. Census Bureau, cartographic boundary files, 2023',
        },
    },
    missing=[],
) }}
