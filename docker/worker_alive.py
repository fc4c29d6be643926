"""Health of a worker container: fails when the consumer in it has given no sign of life for ten seconds.

The consumer notes one in the ledger every two seconds, so this also fails while the database or Redis is away.
"""

from __future__ import annotations

import socket
import sys

from ingest.errors import IngestError
from ingest.ledger import Ledger
from ingest.pipeline.consumer import queue_id
from ingest.settings import read_settings


def main() -> int:
    """Return the exit code: 0 where a consumer of this host is alive."""
    here = f"{socket.gethostname()}:"
    try:
        consumers = Ledger(read_settings()).live_consumers(queue_id())
    except IngestError as error:
        print(error, file=sys.stderr)
        return 1
    if any(row["consumer"].startswith(here) for row in consumers):
        return 0
    print("No consumer on this host gives a sign of life.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
