{{ config(enabled=(boundaries() == 'gadm')) }}

{{ staged_admin_level(
    'gadm',
    5,
    columns={
        'gid': 'gid_5',
        'gid_0': 'gid_0',
        'gid_1': 'gid_1',
        'gid_2': 'gid_2',
        'gid_3': 'gid_3',
        'gid_4': 'gid_4',
        'name': 'name_5',
        'name_local': 'nl_name_5',
        'name_variants': 'varname_5',
        'type_local': 'type_5',
        'type_english': 'engtype_5',
        'hasc_code': 'hasc_5',
        'cc_code': 'cc_5',
    },
    codes={
        'hasc': 'hasc_5',
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
