"""How to carry data from the release before to this one; see `admin_boundaries.changes.crosswalk`."""


def model(dbt, session):
    from admin_boundaries.changes.crosswalk import unit_crosswalk

    return unit_crosswalk(dbt.ref("int_units_before"), dbt.ref("int_units_now"), dbt.ref("int_unit_overlaps"))
