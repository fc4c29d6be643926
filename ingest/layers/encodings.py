"""The encodings of a shapefile's attributes: what a file states, what a person may state, and Python's names for both.

GDAL leaves out or exchanges bytes that do not belong to an encoding, without an error. Attributes are therefore read as
they are, and decoded by Python, which says where it fails.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Mapping

from ingest.errors import UsageError

FALLBACK = "utf-8"
LATIN_1 = codecs.lookup("latin-1").name
NUMBERS = {"65001": "utf-8", "936": "gb18030", "88591": LATIN_1, "28591": LATIN_1, "20127": "ascii"}
NAMES = {"gbk": "gb18030", "gb2312": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949", "utf-8-sig": "utf-8"}
NOT_FOR_FILES = ("charmap", "palmos", "raw-unicode-escape")
OF_SEVERAL_BYTES = {"gb18030", "cp932", "cp949", "cp950", "big5", "big5hkscs", "euc_jp", "johab", "hz"}
MANY = 20
CUT_OFF = "unexpected end of data"
ASCII = bytes(range(32, 127))


def codec_of(name: str) -> str | None:
    """Return Python's name for an encoding; None if it does not know it, or if ASCII is not a part of it.

    Superset encodings take the place of smaller ones, as in browsers: a file that states ISO 8859-1 is read as
    Windows-1252, which has letters where ISO 8859-1 has control characters.
    """
    stated = name.strip().lower()
    number = re.fullmatch(r"(?:ansi|oem|windows|microsoft|cp|ms|ibm|dos)?[ _-]*(\d{3,5})", stated)
    if number:
        stated = NUMBERS.get(number[1], f"cp{number[1]}")
    elif stated.startswith("8859"):
        stated = f"iso-{stated}"
    try:
        codec = codecs.lookup(stated).name
        if ASCII.decode(codec) != ASCII.decode("ascii") or codec in NOT_FOR_FILES or codec.startswith("iso2022"):
            return None
    except (LookupError, ValueError):
        return None
    codec = NAMES.get(codec, codec)
    return "cp1252" if codec == LATIN_1 else codec


def check(name: str | None) -> None:
    """Refuse the name of an encoding that is not known.

    Raises
    ------
    UsageError
        When there is no such encoding, or it cannot be that of a shapefile.
    """
    if name is not None and codec_of(name) is None:
        raise UsageError(f"There is no encoding {name!r}.", "Some that are often right: UTF-8, 1252, 1251, GBK, Big5.")


def is_utf_8(values: Iterable[bytes], codec: str) -> bool:
    """Return whether values are UTF-8, although their file states another encoding.

    Parameters
    ----------
    values : iterable of bytes
        None of them ASCII alone.
    codec : str
        What the file states, by Python's name.

    Returns
    -------
    bool
        Whether all are valid UTF-8, and too many to be so by chance: in an encoding of one byte a character, that takes
        pairs such as ``Ã¥`` wherever there is no ASCII; a short name in one of two may happen to be, twenty are not.
    """
    enough = MANY if codec in OF_SEVERAL_BYTES else 1
    seen: set[bytes] = set()
    for value in values:
        try:
            value.decode("utf-8")
        except UnicodeDecodeError as error:
            if error.reason == CUT_OFF:  # by a field that is too short for its text; or a name that ends in ``é``
                continue
            return False
        if len(seen) < enough:
            seen.add(value)
    return len(seen) == enough


def stated(tags: Mapping[str, str]) -> str:
    """Return the encoding that a shapefile states in its ``.cpg`` or ``.dbf``, from GDAL's tags; UTF-8 if none."""
    found = (tags.get("CPG_VALUE"), tags.get("SOURCE_ENCODING"), tags.get("ENCODING_FROM_LDID"))
    return next((codec for name in found if name and (codec := codec_of(name))), FALLBACK)
