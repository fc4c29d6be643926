"""Use the published boundaries: look up points and names, export marts to files, draw maps."""
