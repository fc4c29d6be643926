"""What the clocks of each zone show from when to when; see `admin_boundaries.timezones.transitions`."""


def model(dbt, session):
    from admin_boundaries.timezones.transitions import timezone_transitions

    return timezone_transitions(dbt.ref("timezones"))
