"""The command line: parses arguments, calls the packages, prints, sets the exit code. It holds no logic of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ingest import __version__, console
from ingest.cli import loading, reading, serving
from ingest.errors import DISK_FULL, NOT_AS_EXPECTED, DiskFull, FileUnusable, IngestError

INSTALLED = "admin-boundaries"  # the command that a wheel installs


class DatasetsOrCommand(click.Group):
    """A group that also takes a dataset in place of a command: ``python -m ingest gadm`` loads it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert ``load`` when the first argument is neither a command nor an option of the group."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "--version"):
            args = ["load", *args]
        return super().parse_args(ctx, args)


@click.group(cls=DatasetsOrCommand, context_settings={"help_option_names": ["--help"]})
@click.version_option(__version__, prog_name=INSTALLED)
def cli() -> None:
    """Load administrative boundaries and time zones into the warehouse.

    \b
    python -m ingest gadm                 load GADM's world download
    python -m ingest gadm timezones       load both datasets side by side
    python -m ingest datasets             list all datasets and their licences
    python -m ingest status               list the latest runs
    """  # noqa: D301  click reads the escape as a character


for module in (loading, reading, serving):
    for command in vars(module).values():
        if isinstance(command, click.Command):
            cli.add_command(command)


def main() -> None:
    """Run the command line. An expected failure prints its message and sets its exit code."""
    if Path(sys.argv[0]).stem == INSTALLED:
        console.called = INSTALLED
        for command in (cli, *cli.commands.values()):
            command.help = console.as_called(command.help or "")
    try:
        cli.main(prog_name=console.called, standalone_mode=False)
    except IngestError as fault:
        console.error(fault)
        sys.exit(fault.exit_code)
    except OSError as fault:
        told = _of_the_system(fault)
        if told is None:
            raise
        console.error(told)
        sys.exit(told.exit_code)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.Abort:
        console.note("Interrupted. `python -m ingest status` shows how far it got.")
        sys.exit(1)
    except click.ClickException as fault:
        fault.show()
        sys.exit(fault.exit_code)


def _of_the_system(fault: OSError) -> IngestError | None:
    """Return what an error of the operating system means; None if it is not about a file."""
    file, reason = fault.filename2 or fault.filename or "A file", str(fault.strerror or fault).rstrip(".")
    if fault.errno in DISK_FULL:
        return DiskFull(
            f"{file} cannot be written: {reason}.",
            "Free some space where it writes, or name a file of another disk (WAREHOUSE_HOME, --output, TMPDIR); then "
            "start the command again.",
        )
    if fault.errno in NOT_AS_EXPECTED:
        return FileUnusable(
            f"{file} cannot be used: {reason}.",
            "Does it belong to another user, is its disk read-only or not there, or is something else in its place? "
            "`python -m ingest doctor` looks at the warehouse; WAREHOUSE_HOME sets another one.",
        )
    return None
