"""Find the addresses of files in a publisher's list of them, which is JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from ingest.errors import SourceUnavailable, UsageError
from ingest.sources import http, parts
from ingest.sources.address import Source

SECONDS = 60
MAX_BYTES = 16 << 20
HINT = "Check the code of the country, or download the file yourself and give it with --source."


def addresses(url: str, key: str, pattern: str) -> list[str]:
    """Return the addresses of files that a publisher lists.

    Parameters
    ----------
    url : str
        Address of the list.
    key : str
        Key whose values are addresses, anywhere in the list.
    pattern : str
        Regular expression for the addresses that are wanted. What does not match is never fetched.

    Returns
    -------
    list of str
        At least one, in the order of the list.

    Raises
    ------
    SourceUnavailable
        When the list cannot be fetched or read, or has no such address.
    """
    source, text = Source.parse(url), b""
    for attempt in http.retrying():
        with attempt:
            _, text = http.ask(source, SECONDS, HINT, max_bytes=MAX_BYTES)
    try:
        listed = list(dict.fromkeys(_values(json.loads(text), key)))
    except (ValueError, RecursionError) as error:
        raise SourceUnavailable(f"{source.public} did not answer with JSON: {error}.", HINT) from error
    wanted = [each for each in listed if re.fullmatch(pattern, each) and _is_as_safe(each, source)]
    if not wanted:
        there = ", ".join(parts.brief(each.rpartition("/")[2]) for each in listed[:3]) or "none"
        raise SourceUnavailable(f"{source.public} lists no file as it is expected. The first are: {there}.", HINT)
    return wanted


def _values(tree: Any, key: str) -> Iterator[str]:
    """Yield the texts under a key, wherever it is, in the order of the text."""
    left = [tree]
    while left:
        found = left.pop()
        if isinstance(found, dict):
            if isinstance(value := found.get(key), str):
                yield value
            left += reversed(found.values())
        elif isinstance(found, list):
            left += reversed(found)


def _is_as_safe(address: str, of: Source) -> bool:
    """Return whether an address can be fetched, and is encrypted if the list was."""
    try:
        found = Source.parse(address)
    except UsageError:
        return False
    return found.is_remote and (found.location.startswith("https://") or of.location.startswith("http://"))
