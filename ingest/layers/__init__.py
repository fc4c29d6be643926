"""Inspect a file: its format, its layers and their columns, the size of each feature, and the slices to load."""
