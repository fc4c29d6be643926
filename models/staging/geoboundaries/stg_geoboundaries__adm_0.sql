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
    constants={
        'attribution': 'geoBoundaries, https://www.geoboundaries.org, and the source that a file\'s metadata names',
    },
    missing=[],
) }}
