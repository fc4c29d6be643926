"""The loaded zone of each name of the time zone database; see `admin_boundaries.timezones.aliases`."""


def model(dbt, session):
    from admin_boundaries.timezones.aliases import timezone_aliases

    return timezone_aliases(dbt.ref("timezones"))
