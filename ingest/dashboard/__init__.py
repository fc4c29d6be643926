"""The dashboard: a page that shows runs, slices and workers as they are, and may resume, retry and roll back."""

from __future__ import annotations

from ingest.dashboard.server import serve

__all__ = ["serve"]
