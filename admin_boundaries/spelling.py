"""What somebody may have meant who typed a word that is not known, by edit distance: the same on every target."""

from __future__ import annotations

from collections.abc import Iterable

from rapidfuzz import process
from rapidfuzz.distance import OSA

SHARE = 3  # one mistake in so many letters


def mistakes(word: str) -> int:
    """Return how many letters may be wrong, missing, too many or exchanged with the next."""
    return max(1, len(word) // SHARE)


def lengths(word: str) -> tuple[int, int]:
    """Return the least and the greatest length of words that may be meant."""
    return len(word) - mistakes(word), len(word) + mistakes(word)


def nearest(word: str, known: Iterable[str], most: int) -> list[str]:
    """Return the known words that are nearest to a word, the nearest first and of equals the first by code point.

    Parameters
    ----------
    word : str
        As it was typed.
    known : iterable of str
        Words that `lengths` allows.
    most : int
        How many to return.

    Returns
    -------
    list of str
        Empty if all are further away than `mistakes`.
    """
    choices = sorted(set(known))
    found = process.extract(word, choices, scorer=OSA.distance, score_cutoff=mistakes(word), limit=None)
    return [each for each, _, _ in sorted(found, key=lambda each: (each[1], each[0]))[:most]]
