{{ config(enabled=(boundaries() == 'geoboundaries'), meta={'has_parents_by_geometry': true}) }}

{{ staged_admin_level(
    'geoboundaries',
    4,
    columns={
        'gid': 'shapeid',
        'gid_0': 'shapegroup',
        'name': 'shapename',
        'licence': 'boundarylicense',
        'source_name': 'boundarysource',
    },
    constants={
        'attribution': 'geoBoundaries, https://www.geoboundaries.org, and the source that a file\'s metadata names',
    },
    missing=[],
) }}
