"""Where units do not fit together; see `admin_boundaries.coverage.faults`."""


def model(dbt, session):
    from admin_boundaries.coverage.faults import faults

    return faults(
        [
            dbt.ref("admin_level_0"),
            dbt.ref("admin_level_1"),
            dbt.ref("admin_level_2"),
            dbt.ref("admin_level_3"),
            dbt.ref("admin_level_4"),
            dbt.ref("admin_level_5"),
        ]
    )
