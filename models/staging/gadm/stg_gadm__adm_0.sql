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
    of_releases={
        'sample': {
            'licence': 'Open data, another licence for each country: see DATA_LICENSES.md',
            'attribution': 'Differs by country: see DATA_LICENSES.md',
            'source_name': 'The bundled sample',
        },
    },
    missing=['NA'],
) }}
