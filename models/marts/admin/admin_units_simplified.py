"""Units with fewer vertices, for maps; see `admin_boundaries.coverage.simplify`."""


def model(dbt, session):
    from admin_boundaries.coverage.simplify import simplified

    return simplified(
        [
            dbt.ref("admin_level_0"),
            dbt.ref("admin_level_1"),
            dbt.ref("admin_level_2"),
            dbt.ref("admin_level_3"),
            dbt.ref("admin_level_4"),
            dbt.ref("admin_level_5"),
        ]
    )
