{{ config(enabled=(boundaries() == 'geoboundaries')) }}

{{ staged_admin_level(
    'geoboundaries',
    1,
    columns={
        'gid': 'shapeid',
        'gid_0': 'shapegroup',
        'name': 'shapename',
        'iso_code': 'shapeiso',
        'licence': 'boundarylicense',
        'source_name': 'boundarysource',
    },
    codes={
        'shape_id': 'shapeid',
        'iso_3166_2': 'shapeiso',
    },
    constants={
        'licence': 'Differs by country and level, from public domain to ODbL: see https://www.geoboundaries.org',
        'attribution': 'geoBoundaries, https://www.geoboundaries.org, and the source that a file\'s metadata names',
        'source_name': 'geoBoundaries',
    },
    missing=[],
) }}
