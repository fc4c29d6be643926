"""Words of a hash and a number, sorted and compared in loops that numba compiles.

numba keeps what it has compiled until this file changes. Whatever that depends on is therefore in this file.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from admin_boundaries.locate.compiled import compiled

Hashes = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]

NUMBER_BITS = np.uint64(29)  # the lower ones of a word; the upper ones are those of a hash, or another number
NUMBER = (np.uint64(1) << NUMBER_BITS) - np.uint64(1)
DIGIT_BITS = np.uint64(12)  # words are sorted by two digits above the number
DIGIT = (np.uint64(1) << DIGIT_BITS) - np.uint64(1)
DIGITS = NUMBER_BITS + DIGIT_BITS
SORTED = (np.uint64(1) << (DIGIT_BITS + DIGIT_BITS)) - np.uint64(1)
DIGIT_COUNT = 1 << 12


@compiled
def _counted(words: Hashes, shift: np.uint64, mask: np.uint64, count: int) -> Positions:
    """Return where the words of each digit begin once they are sorted by it, and the end of all."""
    starts = np.zeros(count + 1, np.int64)
    for at in range(len(words)):
        starts[np.int64((words[at] >> shift) & mask) + 1] += 1
    for digit in range(count):
        starts[digit + 1] += starts[digit]
    return starts


@compiled
def _by_digit(words: Hashes, shift: np.uint64, mask: np.uint64, starts: Positions) -> Hashes:
    """Sort words by a digit; those with the same one stay in their order."""
    place, found = starts.copy(), np.empty(len(words), np.uint64)
    for at in range(len(words)):
        digit = np.int64((words[at] >> shift) & mask)
        found[place[digit]] = words[at]
        place[digit] += 1
    return found


@compiled
def ordered(words: Hashes) -> Hashes:
    """Sort words by the 24 bits above their number."""
    words = _by_digit(words, NUMBER_BITS, DIGIT, _counted(words, NUMBER_BITS, DIGIT, DIGIT_COUNT))
    return _by_digit(words, DIGITS, DIGIT, _counted(words, DIGITS, DIGIT, DIGIT_COUNT))


@compiled
def parted_words(words: Hashes, bits: int) -> tuple[Hashes, Positions]:
    """Sort words by their uppermost bits, and return where those of each bucket end."""
    shift, count = np.uint64(64 - bits), 1 << bits
    starts = _counted(words, shift, ~np.uint64(0), count)
    return _by_digit(words, shift, ~np.uint64(0), starts), starts[1:].copy()


@compiled
def meetings(words: Hashes) -> tuple[Positions, Positions]:
    """Return every two numbers with the same hash, from the words of one bucket that are in the order of their numbers.

    Equal segments are among them; so are a few others, since a word has some bits of a hash only.
    """
    words = ordered(words)
    total = 0
    one, other = np.empty(0, np.int64), np.empty(0, np.int64)
    for is_counted in (False, True):
        if is_counted:
            one, other = np.empty(total, np.int64), np.empty(total, np.int64)
            total = 0
        for at in range(len(words)):
            digits, hashes = (words[at] >> NUMBER_BITS) & SORTED, words[at] >> NUMBER_BITS
            beside = at + 1
            while beside < len(words) and (words[beside] >> NUMBER_BITS) & SORTED == digits:
                if words[beside] >> NUMBER_BITS == hashes:
                    if is_counted:
                        one[total] = np.int64(words[at] & NUMBER)
                        other[total] = np.int64(words[beside] & NUMBER)
                    total += 1
                beside += 1
    return one, other
