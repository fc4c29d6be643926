"""Version, which dbt shows."""

version = "1.11.0"
