"""Which unit is which in another dataset; see `admin_boundaries.concordance.matches`."""


def model(dbt, session):
    from admin_boundaries.concordance.matches import SCHEMA, unit_matches
    from admin_boundaries.concordance.side import Marts

    other_dataset = dbt.config.meta_get("other_dataset")
    if not other_dataset:
        return SCHEMA.empty_table().to_reader()
    levels = [
        dbt.ref("admin_level_0"),
        dbt.ref("admin_level_1"),
        dbt.ref("admin_level_2"),
        dbt.ref("admin_level_3"),
        dbt.ref("admin_level_4"),
        dbt.ref("admin_level_5"),
    ]
    other_levels = [
        dbt.source("other_marts", "admin_level_0"),
        dbt.source("other_marts", "admin_level_1"),
        dbt.source("other_marts", "admin_level_2"),
        dbt.source("other_marts", "admin_level_3"),
        dbt.source("other_marts", "admin_level_4"),
        dbt.source("other_marts", "admin_level_5"),
    ]
    ours = Marts(dbt.ref("admin_units"), dbt.ref("admin_unit_names"), dbt.ref("admin_unit_codes"), levels)
    theirs = Marts(
        dbt.source("other_marts", "admin_units"),
        dbt.source("other_marts", "admin_unit_names"),
        dbt.source("other_marts", "admin_unit_codes"),
        other_levels,
    )
    return unit_matches(ours, theirs, dbt.ref("iso_subdivisions"), other_dataset)
