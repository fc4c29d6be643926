"""What changed since the release before; see `admin_boundaries.changes.unit_changes`."""


def model(dbt, session):
    from admin_boundaries.changes.unit_changes import unit_changes

    return unit_changes(dbt.ref("int_units_before"), dbt.ref("int_units_now"), dbt.ref("int_unit_overlaps"))
