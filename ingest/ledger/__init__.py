"""The ledger: the runs that were requested, the state of each file and slice, and the run that readers see."""

from ingest.ledger.database import is_damage
from ingest.ledger.ledger import Ledger, worker_name
from ingest.ledger.records import (
    Build,
    BuildState,
    Carrying,
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
    Tally,
)

__all__ = [
    "Build",
    "BuildState",
    "Carrying",
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
    "Tally",
    "is_damage",
    "worker_name",
]
