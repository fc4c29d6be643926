"""Cells of the H3 grid in each unit; see `admin_boundaries.cells`."""


def model(dbt, session):
    from admin_boundaries.cells import unit_cells

    return unit_cells(dbt.ref("internal_leaf_parts"))
