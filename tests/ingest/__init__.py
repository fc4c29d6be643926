"""Unit tests of the package `ingest`: no server, no network, no file from outside."""
