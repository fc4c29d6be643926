{{ config(enabled=(boundaries() == 'overture'), meta={'is_ragged': true}) }}

{{ staged_admin_level(
    'overture',
    1,
    columns={
        'gid': 'id',
        'publisher_parent_gid': 'parent_division_id',
        'gid_0': 'gid_0',
        'name': 'name',
        'name_variants': ['names_common', 'names_rules'],
        'type_local': 'local_type',
        'type_english': 'subtype',
        'iso_code': 'region',
        'licence': 'source_licences',
        'source_name': 'source_datasets',
    },
    codes={
        'gers': 'id',
        'iso_3166_2': 'region',
        'wikidata': 'wikidata',
    },
    constants={
        'licence': 'ODbL 1.0 (https://docs.overturemaps.org/attribution)',
        'attribution': '© OpenStreetMap contributors, Overture Maps Foundation',
        'source_name': 'Overture Maps',
    },
    missing=[],
    areas={
        'layer': 'division_area',
        'key': 'division_id',
        'is_land': 'is_land',
    },
) }}
