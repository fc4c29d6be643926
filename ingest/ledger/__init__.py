"""The ledger: which runs were requested, how far each file and slice is, and which run readers see."""

from ingest.ledger.ledger import Ledger
from ingest.ledger.records import (
    ClaimedFile,
    ClaimedSlice,
    Consumer,
    Fault,
    File,
    FileState,
    PlannedSlice,
    Reading,
    Request,
    Run,
    RunState,
    Slice,
    SliceState,
)

__all__ = [
    "ClaimedFile",
    "ClaimedSlice",
    "Consumer",
    "Fault",
    "File",
    "FileState",
    "Ledger",
    "PlannedSlice",
    "Reading",
    "Request",
    "Run",
    "RunState",
    "Slice",
    "SliceState",
]
