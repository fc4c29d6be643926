"""Loads and builds that are hit while they last, and a look at what is left of them: ``python -m tests.chaos``."""
