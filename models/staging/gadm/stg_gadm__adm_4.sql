{{ config(enabled=(boundaries() == 'gadm')) }}

{{ staged_admin_level(
    'gadm',
    4,
    columns={
        'gid': 'gid_4',
        'gid_0': 'gid_0',
        'gid_1': 'gid_1',
        'gid_2': 'gid_2',
        'gid_3': 'gid_3',
        'name': 'name_4',
        'name_local': 'nl_name_4',
        'name_variants': 'varname_4',
        'type_local': 'type_4',
        'type_english': 'engtype_4',
        'hasc_code': 'hasc_4',
        'cc_code': 'cc_4',
    },
    codes={
        'hasc': 'hasc_4',
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
