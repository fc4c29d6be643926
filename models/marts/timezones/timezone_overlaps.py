"""Zones that have ground in common; see `admin_boundaries.timezones.overlaps`."""


def model(dbt, session):
    from admin_boundaries.timezones.overlaps import timezone_overlaps

    return timezone_overlaps(dbt.ref("timezones"))
