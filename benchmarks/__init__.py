"""Measure the loader, and compare it with other tools."""
