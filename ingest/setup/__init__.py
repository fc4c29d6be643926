"""Set up a target before the first load: check what it needs, and create roles and rights."""
