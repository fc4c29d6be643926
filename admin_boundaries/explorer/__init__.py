"""A map to look at: one page that shows the tiles, and tells of each unit what the marts know."""
