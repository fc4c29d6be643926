"""The dashboard: live web pages of runs, slices and workers, with buttons to resume, retry and roll back."""

from __future__ import annotations

from ingest.dashboard.server import serve

__all__ = ["serve"]
