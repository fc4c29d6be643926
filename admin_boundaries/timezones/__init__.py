"""When: what clocks of a time zone show at an instant, from the IANA database as the PyPI package ``tzdata`` has it."""
