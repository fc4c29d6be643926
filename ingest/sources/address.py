"""Where a source is: a path or a URL, its checksum, and what of it may be shown. Pure: nothing is opened here."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass

from ingest.errors import UsageError


@dataclass(frozen=True)
class Source:
    """A file, folder or URL to load from.

    ``URL#sha256=HEX`` (or the same behind a path) also says which checksum the file must have.
    """

    location: str
    sha256: str | None = None

    @classmethod
    def parse(cls, text: str) -> Source:
        """Split the checksum off a location.

        Raises
        ------
        UsageError
            When the checksum is none, the address is malformed, or it holds a user's name or password.
        """
        location, mark, digest = text.partition("#sha256=")
        if mark and not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
            raise UsageError("What stands behind #sha256= is no SHA-256.", "It has 64 hexadecimal digits.")
        _, has_authority, rest = location.partition("://")
        if has_authority and "@" in re.split(r"[/?#]", rest, maxsplit=1)[0]:
            raise UsageError(
                "A source must not hold a user's name or password.",
                "Write them into ~/.netrc of whoever runs the workers: machine HOST login NAME password PASSWORD",
            )
        source = cls(location, digest.lower() if mark else None)
        try:
            urllib.parse.urlsplit(location if source.is_remote else "")
        except ValueError as error:
            raise UsageError(f"The address of a source is malformed: {error}.", "Check --source.") from error
        return source

    @property
    def has_query(self) -> bool:
        """Whether the address has a query: what signs an address stands there, so it is kept like a password."""
        return self.is_remote and "?" in self.location.partition("#")[0]

    @property
    def noted(self) -> str:
        """What the ledger notes, and `parse` reads: a query is gone, only its question mark is left."""
        noted = f"{self.public}?" if self.has_query else self.public
        return f"{noted}#sha256={self.sha256}" if self.sha256 else noted

    @property
    def is_remote(self) -> bool:
        """Whether the source is behind http(s)."""
        return self.location.startswith(("http://", "https://"))

    @property
    def public(self) -> str:
        """The location without any password or query, for messages, logs and the ledger."""
        if not self.is_remote:
            return self.location
        parts = urllib.parse.urlsplit(self.location)
        return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
