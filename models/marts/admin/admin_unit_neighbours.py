"""Units of one level that share a border; see `admin_boundaries.coverage.neighbours`."""


def model(dbt, session):
    from admin_boundaries.coverage.neighbours import neighbours

    levels = [
        dbt.ref("admin_level_0"),
        dbt.ref("admin_level_1"),
        dbt.ref("admin_level_2"),
        dbt.ref("admin_level_3"),
        dbt.ref("admin_level_4"),
        dbt.ref("admin_level_5"),
    ]
    return neighbours(enumerate(level.select("gid", "geom").batches() for level in levels))
