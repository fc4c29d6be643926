"""Bring a source onto this machine: where it is, how it gets here, what is kept of it, how it is unpacked."""
