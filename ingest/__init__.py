"""Load the world's administrative boundaries and time zones into a warehouse."""

__version__ = "0.1.0"
