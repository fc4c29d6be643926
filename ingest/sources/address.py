"""The address of a source: path or URL, expected checksum, and the part that is safe to show. Pure: opens nothing."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass

from ingest.errors import UsageError


@dataclass(frozen=True)
class Source:
    """A file, folder or URL to load from.

    ``URL#sha256=HEX`` or ``PATH#sha256=HEX`` also states the checksum that the file must have.
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
        location, mark, digest = text.partition("#sha256=")
        if mark and not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
            raise UsageError(
                "The value after #sha256= is not a SHA-256 checksum: 64 hexadecimal digits are expected.",
                "Check the value, or leave #sha256= out.",
            )
        _, has_authority, rest = location.partition("://")
        if has_authority and "@" in re.split(r"[/?#]", rest, maxsplit=1)[0]:
            raise UsageError(
                "A source must not contain a user name or password.",
                "Put them into ~/.netrc of the user who runs the workers: machine HOST login NAME password PASSWORD",
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
        noted = f"{self.public}?" if self.has_query else self.public
        return f"{noted}#sha256={self.sha256}" if self.sha256 else noted

    @property
    def is_remote(self) -> bool:
        """Whether the source is fetched over http(s)."""
        return self.location.startswith(("http://", "https://"))

    @property
    def public(self) -> str:
        """The location without password and query, for messages, logs and the ledger."""
        if not self.is_remote:
            return self.location
        parts = urllib.parse.urlsplit(self.location)
        return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
