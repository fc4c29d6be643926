{{ config(enabled=(boundaries() == 'gadm')) }}

{{ staged_admin_level(
    'gadm',
    3,
    columns={
        'gid': 'gid_3',
        'gid_0': 'gid_0',
        'gid_1': 'gid_1',
        'gid_2': 'gid_2',
        'name': 'name_3',
        'name_local': 'nl_name_3',
        'name_variants': 'varname_3',
        'type_local': 'type_3',
        'type_english': 'engtype_3',
        'hasc_code': 'hasc_3',
        'cc_code': 'cc_3',
    },
    codes={
        'hasc': 'hasc_3',
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
