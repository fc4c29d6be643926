{{ config(enabled=(boundaries() == 'gadm')) }}

{{ staged_admin_level(
    'gadm',
    0,
    columns={
        'gid': 'gid_0',
        'name': 'country',
    },
    codes={},
    constants={
        'licence': 'Academic and other non-commercial use; may not be redistributed (https://gadm.org/license.html)',
        'attribution': 'GADM, https://gadm.org',
        'source_name': 'GADM',
    },
    missing=['NA'],
) }}
