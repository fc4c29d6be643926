{{ config(enabled=(boundaries() == 'overture'), meta={'is_ragged': true}) }}

{{ staged_admin_level(
    'overture',
    2,
    columns={
        'gid': 'id',
        'publisher_parent_gid': 'parent_division_id',
        'gid_0': 'gid_0',
        'gid_1': 'gid_1',
        'name': 'name',
        'name_variants': ['names_common', 'names_rules'],
        'type_local': 'local_type',
        'type_english': 'subtype',
        'licence': 'source_licences',
        'source_name': 'source_datasets',
    },
    codes={
        'gers': 'id',
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
