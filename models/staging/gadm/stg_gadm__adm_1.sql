{{ config(enabled=(boundaries() == 'gadm')) }}

{{ staged_admin_level(
    'gadm',
    1,
    columns={
        'gid': 'gid_1',
        'gid_0': 'gid_0',
        'name': 'name_1',
        'name_local': 'nl_name_1',
        'name_variants': 'varname_1',
        'type_local': 'type_1',
        'type_english': 'engtype_1',
        'hasc_code': 'hasc_1',
        'iso_code': 'iso_1',
        'cc_code': 'cc_1',
    },
    codes={
        'hasc': 'hasc_1',
        'iso_3166_2': 'iso_1',
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
