"""The ledger: which runs were requested, how far each file and slice got, and which run readers see."""

from ingest.ledger.ledger import ACTIVE, ENDED, Ledger, Request

__all__ = ["ACTIVE", "ENDED", "Ledger", "Request"]
