"""Find files, and what is said of each, in a publisher's list of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ingest import catalog
from ingest.errors import SourceUnavailable, UsageError
from ingest.sources import http, parts
from ingest.sources.address import Source, printable

SECONDS = 60
MAX_BYTES = 16 << 20
MAX_TEXT = 1000  # characters of what is said of a file
HINT = "Check the code of the country, or download the file yourself and give it with --source."
NO_RELEASE = "Does the publisher still have this release? If so, download its files yourself and give --source."


def files(url: str, key: str, pattern: str, about: Mapping[str, str]) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """Return the files that a publisher lists in JSON.

    Parameters
    ----------
    url : str
        Address of the list.
    key : str
        Key whose values are addresses, anywhere in the list.
    pattern : str
        Regular expression for the addresses that are wanted. What does not match is never fetched.
    about : mapping of str to str
        Names of what else is to be known of a file, and their keys, beside the address or in what it lies in.

    Returns
    -------
    list of (str, tuple of (str, str))
        Addresses, at least one, in the order of the list; and what is known of each, by the names of ``about``.

    Raises
    ------
    SourceUnavailable
        When the list cannot be fetched or read, or has no such address.
    """
    source, text = _asked(url, HINT)
    try:
        listed = dict(_values(json.loads(text), key, about))
    except (ValueError, RecursionError) as error:
        raise SourceUnavailable(f"{source.public} did not answer with JSON: {error}.", HINT) from error
    wanted = [each for each in listed if re.fullmatch(pattern, each) and _is_as_safe(each, source)]
    if not wanted:
        there = ", ".join(parts.brief(each.rpartition("/")[2]) for each in list(listed)[:3]) or "none"
        raise SourceUnavailable(f"{source.public} lists no file as it is expected. The first are: {there}.", HINT)
    return [(each, tuple(listed[each].items())) for each in wanted]


def addresses(
    dataset: catalog.Dataset,
    release: catalog.Release,
    *,
    countries: Sequence[str] = (),
    levels: Sequence[int] | None = None,
    variant: str = "now",
    oceans: bool = True,
) -> tuple[tuple[str, ...], ...]:
    """Return what `ingest.catalog.addresses` does; where the catalog knows only a list of files, this is asked.

    Raises
    ------
    SourceUnavailable
        When the list cannot be fetched, is only a part of all, or has no such file.
    """
    if release.listing is None or countries:
        return catalog.addresses(dataset, release, countries=countries, levels=levels, variant=variant, oceans=oceans)
    listing = release.listing.of(release.name)
    source, answer = _asked(listing.url, NO_RELEASE)
    text = answer.decode("utf-8", "replace")
    if re.search(listing.more, text):
        raise SourceUnavailable(f"{source.public} lists only a part of the files.", NO_RELEASE)
    found = [listing.file.format(path=match["path"]) for match in re.finditer(listing.pattern, text)]
    wanted = [each for each in dict.fromkeys(found) if _is_as_safe(each, source)]
    if not wanted:
        raise SourceUnavailable(f"{source.public} lists no file of {dataset.name} {release.name}.", NO_RELEASE)
    return tuple((each,) for each in wanted)


def _asked(url: str, hint: str) -> tuple[Source, bytes]:
    """Return an address, and what it answers."""
    source, text = Source.parse(url), b""
    for attempt in http.retrying():
        with attempt:
            _, text = http.ask(source, SECONDS, hint, max_bytes=MAX_BYTES)
    return source, text


def _values(tree: Any, key: str, about: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the texts under a key, wherever it is, in the order of the list, each with what is said of it."""
    left: list[tuple[Any, dict[str, str]]] = [(tree, {})]
    while left:
        found, known = left.pop()
        if isinstance(found, dict):
            said = {name: _text(found[each]) for name, each in about.items() if isinstance(found.get(each), str)}
            known = known | {name: text for name, text in said.items() if text}
            if isinstance(value := found.get(key), str):
                yield value, known
            left += [(each, known) for each in reversed(found.values())]
        elif isinstance(found, list):
            left += [(each, known) for each in reversed(found)]


def _text(value: str) -> str:
    """Return a text as one line of limited length."""
    return printable(" ".join(value.split()))[:MAX_TEXT]


def _is_as_safe(address: str, of: Source) -> bool:
    """Return whether an address can be fetched, and is encrypted if the list was."""
    try:
        found = Source.parse(address)
    except UsageError:
        return False
    return found.is_remote and (found.location.startswith("https://") or of.location.startswith("http://"))
