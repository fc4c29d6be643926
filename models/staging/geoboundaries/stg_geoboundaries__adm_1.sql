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
    constants={
        'attribution': 'geoBoundaries, https://www.geoboundaries.org, and the source that a file\'s metadata names',
    },
    missing=[],
) }}
