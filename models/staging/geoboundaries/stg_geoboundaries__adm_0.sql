{{ config(enabled=(boundaries() == 'geoboundaries')) }}

{{ staged_admin_level(
    'geoboundaries',
    0,
    columns={
        'gid': 'shapegroup',
        'name': 'shapename',
        'licence': 'boundarylicense',
        'source_name': 'boundarysource',
    },
    codes={
        'iso_3166_1_alpha_3': 'shapegroup',
        'shape_id': 'shapeid',
    },
    constants={
        'licence': 'Differs by country and level, from public domain to ODbL: see https://www.geoboundaries.org',
        'attribution': 'geoBoundaries, https://www.geoboundaries.org, and the source that a file\'s metadata names',
        'source_name': 'geoBoundaries',
    },
    missing=[],
) }}
