{{ config(enabled=(boundaries() == 'gadm')) }}

{{ staged_admin_level(
    'gadm',
    2,
    columns={
        'gid': 'gid_2',
        'gid_0': 'gid_0',
        'gid_1': 'gid_1',
        'name': 'name_2',
        'name_local': 'nl_name_2',
        'name_variants': 'varname_2',
        'type_local': 'type_2',
        'type_english': 'engtype_2',
        'hasc_code': 'hasc_2',
        'cc_code': 'cc_2',
    },
    codes={
        'hasc': 'hasc_2',
    },
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
