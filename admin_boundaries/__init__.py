"""Published boundaries, in use: ask the marts where a point or a name is, write them into files, draw them."""
