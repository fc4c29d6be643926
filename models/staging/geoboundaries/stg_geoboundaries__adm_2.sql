{{ config(enabled=(boundaries() == 'geoboundaries'), meta={'has_parents_by_geometry': true}) }}

{{ staged_admin_level(
    'geoboundaries',
    2,
    columns={
        'gid': 'shapeid',
        'gid_0': 'shapegroup',
        'name': 'shapename',
        'licence': 'boundarylicense',
        'source_name': 'boundarysource',
    },
    codes={
        'shape_id': 'shapeid',
    },
    constants={
        'licence': 'Differs by country and level, from public domain to ODbL: see https://www.geoboundaries.org',
        'attribution': 'geoBoundaries, https://www.geoboundaries.org, and the source that a file\'s metadata names',
        'source_name': 'geoBoundaries',
    },
    missing=[],
) }}
