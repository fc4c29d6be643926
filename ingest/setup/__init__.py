"""Once before the first load: what a target needs, and who may do what in it."""
