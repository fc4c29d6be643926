"""Which ground of the release before is which ground of this one; see `admin_boundaries.changes.overlaps`."""


def model(dbt, session):
    from admin_boundaries.changes.overlaps import unit_overlaps

    return unit_overlaps(
        dbt.ref("int_units_before"),
        dbt.ref("int_units_now"),
        dbt.ref("int_areas_before"),
        dbt.ref("int_areas_now"),
    )
