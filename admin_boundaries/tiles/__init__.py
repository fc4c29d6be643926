"""All units and time zones as vector tiles, in one PMTiles archive that a map reads by ranges."""
