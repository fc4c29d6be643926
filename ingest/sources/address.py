"""The address of a source: path or URL, expected checksum, and the part that is safe to show."""

from __future__ import annotations

import os
import re
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from ingest.errors import UsageError

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
PREFIXED = re.compile(r"([\w-]+)=[A-Za-z][A-Za-z0-9+.-]*://")
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
OF_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\[^\\]")


@dataclass(frozen=True)
class Source:
    """A file, folder or URL to load from.

    ``URL#sha256=HEX`` or ``PATH#sha256=HEX`` also states the checksum that the file must have. Only URLs are unquoted:
    a path is the name of a file as it is, with its ``%20``, ``#`` and ``?``.
    """

    location: str
    sha256: str | None = None

    @classmethod
    def parse(cls, text: str) -> Source:
        """Parse a location and its optional checksum.

        Raises
        ------
        UsageError
            When the checksum or the address is malformed, or the address contains a user name or password.
        """
        location, mark, digest = text.rpartition("#sha256=")
        if not mark:
            location, digest = text, ""
        elif not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
            raise UsageError(
                "The value after #sha256= is not a SHA-256 checksum: 64 hexadecimal digits are expected.",
                "Check the value, or leave #sha256= out.",
            )
        if not location or "\0" in location:
            raise UsageError("The path of a source is empty, or contains a null character.", "Check --source.")
        if prefix := PREFIXED.match(location):  # not shown: it may contain a password
            raise UsageError(
                f"{prefix[1]!r} before an address is not a dataset of this command.", "Write DATASET=URL, or the URL."
            )
        if scheme := SCHEME.match(location):
            location = location[: scheme.end()].lower() + location[scheme.end() :]
            if "@" in re.split(r"[/?#]", location[scheme.end() :], maxsplit=1)[0]:
                raise UsageError(
                    "A source must not contain a user name or password.",
                    "Put them into ~/.netrc of the user who runs the workers: machine HOST login NAME password "
                    "PASSWORD",
                )
        source = cls(location, digest.lower() if mark else None)
        try:
            urllib.parse.urlsplit(location if source.is_remote else "")
        except ValueError as error:
            raise UsageError(f"The address of the source is malformed: {error}.", "Check --source.") from error
        return source

    @property
    def has_query(self) -> bool:
        """Whether the address has a query: it may hold a signature, so it is kept as secret as a password."""
        return self.is_remote and "?" in self.location.partition("#")[0]

    @property
    def noted(self) -> str:
        """The form that the ledger stores and `parse` reads: a query is dropped except for its question mark."""
        location = self._without_secrets if self.is_remote else self.location
        noted = f"{location}?" if self.has_query else location
        return f"{noted}#sha256={self.sha256}" if self.sha256 else noted

    @property
    def is_remote(self) -> bool:
        """Whether the source is fetched over http(s)."""
        return self.location.startswith(("http://", "https://"))

    @property
    def public(self) -> str:
        """The location without password and query, for messages, logs and the ledger."""
        return self._without_secrets if self.is_remote else printable(self.location)

    @property
    def path(self) -> Path | None:
        """The local path; None for an address.

        Raises
        ------
        UsageError
            When a ``file://`` address does not contain an absolute path of this machine.
        """
        if not self.location.startswith("file://"):
            return None if SCHEME.match(self.location) else Path(self.location)
        host, mark, rest = self.location.removeprefix("file://").partition("/")
        path = os.fsdecode(urllib.parse.unquote_to_bytes(os.fsencode(mark + rest)))
        if host.lower() not in ("", "localhost") or not mark or "\0" in path:
            raise UsageError(
                f"{self.public} is not the address of a file of this machine.",
                "Write file:///folder/file, with three slashes, or the path alone.",
            )
        return Path(path)

    @property
    def _without_secrets(self) -> str:
        parts = urllib.parse.urlsplit(self.location)
        return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def absolute(text: str) -> str:
    """Return a source with its path made absolute, for whoever typed it in the current folder.

    ``..`` stays as it is: what it means behind a symbolic link is for the system to say.

    Raises
    ------
    UsageError
        When the source is malformed, or is a path of Windows on another system, or the current folder is gone.
    """
    source = Source.parse(text)
    if SCHEME.match(source.location):
        _ = source.path
        return text
    try:
        path = Path(source.location).absolute()
    except OSError as error:
        raise UsageError(f"The current folder is gone: {error.strerror}.", "Give an absolute path.") from error
    if OF_WINDOWS.match(source.location) and os.name != "nt" and not path.exists():
        raise UsageError(
            f"{source.public} is a path of Windows, which this system does not have.",
            "Give the path under which the file is found here, for example /mnt/c/….",
        )
    return f"{path}#sha256={source.sha256}" if source.sha256 else str(path)


def printable(text: str) -> str:
    r"""Return a path as one line of text that any output and database takes.

    Control characters and bytes that are not UTF-8 become ``\n`` or ``\xe9``.
    """
    decoded = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return CONTROLS.sub(lambda found: repr(found[0])[1:-1], decoded)
