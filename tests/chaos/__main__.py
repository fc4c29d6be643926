"""Run from the command line; exit code 1 when anything was lost, doubled, changed or left, or too little struck."""

from __future__ import annotations

import argparse
import signal
import sys

from tests.chaos import play
from tests.chaos.ground import TARGETS


def main() -> None:
    """Play rounds on each target."""
    parser = argparse.ArgumentParser(description="Faults over loads and builds, and what is left of them.")
    parser.add_argument("--rounds", type=int, default=30, help="on each target")
    parser.add_argument("--seed", type=int, default=20260101)
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this one")
    parser.add_argument("--kind", action="append", help="only faults of this kind")
    parser.add_argument("--keep", action="store_true", help="leave the folder there when something is wrong")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started ends, too
    faults = []
    for target in arguments.target or TARGETS:
        report = play.run(target, arguments.rounds, arguments.seed, only=arguments.kind, is_kept=arguments.keep)
        print(report, flush=True)
        faults += report.faults_found
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
