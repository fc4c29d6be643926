"""Health check of a worker container: fails when its consumer has sent no heartbeat for ten seconds.

The consumer sends one to the ledger every two seconds, so the check also fails while the database or Redis is down.
"""

from __future__ import annotations

import socket
import sys

from ingest.errors import IngestError
from ingest.ledger import Ledger
from ingest.pipeline.consumer import queue_id
from ingest.settings import read_settings


def main() -> int:
    """Return the exit code: 0 if a consumer on this host is alive."""
    here = f"{socket.gethostname()}:"
    try:
        settings = read_settings()
        consumers = Ledger(settings).live_consumers(queue_id(settings))
    except IngestError as error:
        print(error, file=sys.stderr)
        return 1
    if any(each.consumer.startswith(here) for each in consumers):
        return 0
    print("No consumer on this host sends a heartbeat.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
