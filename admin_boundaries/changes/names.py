"""Whether a name has changed, or only how it is written."""

from __future__ import annotations

import unicodedata

ENCODINGS = ("latin-1", "cp1252", "cp1250", "cp437")  # as which UTF-8 is misread
LOST = "?\ufffd"  # stand where a letter could not be written


def folded(name: str | None) -> str | None:
    """Return a name without case, accents and punctuation."""
    if name is None:
        return None
    letters = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in letters if letter.isalnum())


def name_change(before: str | None, now: str | None) -> str | None:
    """Return how a name has changed.

    Parameters
    ----------
    before, now : str or None
        The name in both releases.

    Returns
    -------
    str or None
        ``encoding`` where letters of one are misread in the other, ``spelling`` where only case, accents or punctuation
        differ, ``other`` where it is another name; None where it is the same.
    """
    if before == now:
        return None
    if before is None or now is None:
        return "other"
    if now in _misread(before) or before in _misread(now) or _is_lost(before, now) or _is_lost(now, before):
        return "encoding"
    return "spelling" if folded(before) == folded(now) else "other"


def _misread(name: str) -> set[str]:
    """Return what a name becomes where its UTF-8 is taken for another encoding."""
    found = set()
    for encoding in ENCODINGS:
        try:
            found.add(name.encode().decode(encoding))
        except UnicodeDecodeError:
            continue
    return found


def _is_lost(damaged: str, name: str) -> bool:
    """Return whether a name differs from another one only where it lacks letters that are not ASCII."""
    pairs = list(zip(damaged, name, strict=False))
    return (
        len(damaged) == len(name)
        and any(one in LOST and two not in LOST for one, two in pairs)
        and all(one == two or (one in LOST and not two.isascii()) for one, two in pairs)
    )
