"""What Spark is given in Python is what the other targets have."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import jinja2
import pytest
import shapely

from admin_boundaries.cutting import cut_polygon
from admin_boundaries.spark.functions import name_folder, pieces_of
from scripts.build_name_folding import fold_name
from tests.conftest import ROOT

NAMES = (
    *("São Tomé", "Saint‑Louis", "Łódź", "N'Djamena", "  Two   words ", "STRASSE straße", "İstanbul", "Ǆ ǅ ǆ"),
    *(
        "ΑΘΗΝΑ ς",
        "Москва Й",
        "東京都",
        "パリ ・ か\u3099",
        "안녕",
        "ｶﾞﾊﾟ",
        "e\u0301\u0323 \u0301x",
        "'\"`%*\\",
        "A\u00adB\u200b",
    ),
)


@pytest.fixture(scope="module")
def folding() -> Mapping[str, str]:
    """The tables of the macro, as dbt hands them to the adapter."""
    found: dict[str, Any] = {}
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], autoescape=False)
    environment.globals["return"] = found.update
    text = (ROOT / "macros/lookup/name_folding.sql").read_text(encoding="utf-8")
    environment.from_string(text + "{{ name_folding() }}").render()
    return found


def test_a_name_is_folded_as_on_the_other_targets(folding: Mapping[str, str]) -> None:
    folded = name_folder(folding)
    assert [folded(name) for name in NAMES] == [fold_name(name) for name in NAMES]
    assert folded(None) is None


def test_every_letter_is_folded_as_on_the_other_targets(folding: Mapping[str, str]) -> None:
    folded, points = name_folder(folding), [point for point in range(1, 0x30000) if not 0xD800 <= point < 0xE000]
    random.Random(30).shuffle(points)
    names = ["".join(map(chr, points[at : at + 7])) for at in range(0, len(points), 7)]
    assert [name for name in names if folded(name) != fold_name(name)] == []


def test_a_polygon_comes_as_a_bytearray_and_is_cut_alike() -> None:
    wkb = shapely.Point(0, 0).buffer(1, quad_segs=200).wkb
    assert pieces_of(bytearray(wkb), 100) == cut_polygon(wkb, 100)
    assert pieces_of(None, 100) is None
