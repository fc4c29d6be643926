"""What ``locate`` says of a point, and how names are folded: on invented units and zones, the same on both targets."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from shapely import Polygon, box

from scripts import build_name_folding
from scripts.build_name_folding import fold_name
from tests.integration import invented
from tests.integration.conftest import Warehouse
from tests.integration.invented import Target, Unit

pytestmark = [pytest.mark.servers, pytest.mark.slow]
FIELDS = (
    *("status", "gid", "admin_level", "gid_0", "gid_1", "gid_2", "gid_3", "gid_4", "gid_5"),
    *("name_0", "name_1", "name_2", "name_3", "name_4", "name_5"),
    *("path", "gids", "tzid", "tzids"),
)
Answer = dict[str, Any]
Both = tuple[Target, Target]


def leaf(gid: str, polygon: Polygon, ancestors: tuple[str, ...] = ()) -> Unit:
    """Return a leaf of one polygon."""
    return Unit(gid, ancestors, (polygon,), 1.0)


UNITS = [
    # a country of one island on either side of the date line, and one around the south pole
    Unit("FJI"),
    leaf("FJI.1", box(179, -18, 180, -16), ("FJI",)),
    leaf("FJI.2", box(-180, -17, -179, -15), ("FJI",)),
    leaf("ATA", box(-180, -90, 180, -89)),
    # a chain of four, and neighbours whose keys a dictionary would sort the other way round
    *(Unit(gid, chain) for gid, chain in {"DEU": (), "DEU.1": ("DEU",), "DEU.1.1": ("DEU", "DEU.1")}.items()),
    leaf("DEU.1.1.1", box(10, 50, 11, 51), ("DEU", "DEU.1", "DEU.1.1")),
    # a county whose localities leave most of it uncovered, three levels below it
    Unit("CAN"),
    Unit("CAN.1", ("CAN",), (box(30, 50, 34, 54),)),
    Unit("CAN.1.1", ("CAN", "CAN.1"), (box(31, 51, 32, 52),), level=4),
    Unit("CAN.1.2", ("CAN", "CAN.1"), (box(32, 51, 33, 52),), level=4),
    leaf("apple", box(20, 50, 21, 51)),
    leaf("Banana", box(21, 50, 22, 51)),
]

ZONES = {
    "Pacific/Fiji": [box(178, -20, 180, -10)],
    "America/West_of_Line": [box(-180, -20, -178, -10)],
    "Antarctica/Troll": [box(-180, -90, 180, -80)],
    "Europe/Berlin": [box(9, 49, 12, 52)],
    "Etc/GMT-1": [box(12, 49, 15, 52)],
    "europe/aachen": [box(11.5, 49, 12, 52)],
    "Arctic/Pole": [box(-180, 80, 180, 90)],
}


@pytest.fixture(scope="module")
def both(new_warehouse: Callable[[], Warehouse]) -> Iterator[Both]:
    """The functions on both targets."""
    with invented.built(new_warehouse, UNITS, ZONES) as targets:
        yield targets


def answers(both: Both, points: Sequence[tuple[str | float, str | float]]) -> list[Answer]:
    """Return the answer for each point, after making sure that each target gives it, alone and among others."""
    asked = [(str(lon), str(lat)) for lon, lat in points]
    singly = " union all ".join(
        f"select {number} as point_number, answer.* from marts.locate(cast({lon} as double precision), "
        f"cast({lat} as double precision)) as answer"
        for number, (lon, lat) in enumerate(asked)
    )
    first, *others = (
        rows
        for target in both
        for rows in (
            [row[1:] for row in target.ask(f"select * from ({singly}) as answers order by point_number")],
            target.locate_points(asked),
        )
    )
    assert others == [first] * 3
    return [dict(zip(FIELDS, row, strict=True)) for row in first]


def answer(both: Both, lon: str | float, lat: str | float) -> Answer:
    """Return the answer for one point."""
    (only,) = answers(both, [(lon, lat)])
    return only


def test_the_chain_of_units_from_country_to_leaf_is_given(both: Both) -> None:
    assert answer(both, 10.5, 50.5) == {
        **dict.fromkeys(FIELDS),
        **{"status": "one unit", "gid": "DEU.1.1.1", "admin_level": 3, "gids": ["DEU.1.1.1"]},
        **{"gid_0": "DEU", "gid_1": "DEU.1", "gid_2": "DEU.1.1", "gid_3": "DEU.1.1.1"},
        **{"name_0": "deu", "name_1": "deu.1", "name_2": "deu.1.1", "name_3": "deu.1.1.1"},
        **{"path": "DEU > DEU.1 > DEU.1.1 > DEU.1.1.1", "tzid": "Europe/Berlin", "tzids": ["Europe/Berlin"]},
    }


def test_the_finest_unit_that_holds_the_point_is_given(both: Both) -> None:
    in_locality, between, in_county = answers(both, [(31.5, 51.5), (32, 51.5), (30.5, 50.5)])
    assert (in_locality["status"], in_locality["gids"], in_locality["admin_level"]) == ("one unit", ["CAN.1.1"], 4)
    assert (in_locality["gid_0"], in_locality["gid_1"], in_locality["gid_4"]) == ("CAN", "CAN.1", "CAN.1.1")
    assert (in_locality["gid_2"], in_locality["gid_3"]) == (None, None)
    assert (in_locality["name_1"], in_locality["name_2"], in_locality["name_4"]) == ("can.1", None, "can.1.1")
    assert (between["status"], between["gids"]) == ("several units", ["CAN.1.1", "CAN.1.2"])
    assert (in_county["status"], in_county["gids"], in_county["admin_level"]) == ("one unit", ["CAN.1"], 1)
    assert in_county["gid_4"] is None


def test_on_the_border_of_a_unit_within_another_the_finer_one_is_given(both: Both) -> None:
    assert answer(both, 31, 51.5)["gids"] == ["CAN.1.1"]


@pytest.mark.parametrize("lon", [180, -180])
@pytest.mark.parametrize(
    ("lat", "gids"),
    [(-16.5, ["FJI.1", "FJI.2"]), (-17.5, ["FJI.1"]), (-15.5, ["FJI.2"])],
    ids=["land on both sides", "land in the east", "land in the west"],
)
def test_a_point_on_the_date_line_finds_units_and_zones_on_both_sides(
    both: Both, lon: int, lat: float, gids: list[str]
) -> None:
    found = answer(both, lon, lat)
    assert found["gids"] == gids
    assert found["tzids"] == ["America/West_of_Line", "Pacific/Fiji"]


def test_a_point_beside_the_date_line_finds_one_side(both: Both) -> None:
    for lon, gid, tzid in ((179.9, "FJI.1", "Pacific/Fiji"), (-179.9, "FJI.2", "America/West_of_Line")):
        found = answer(both, lon, -16.5)
        assert (found["gids"], found["tzids"]) == ([gid], [tzid])


@pytest.mark.parametrize("lon", [0, 77.7, 180, -180])
def test_the_poles_are_points_like_others(both: Both, lon: float) -> None:
    south, north = answers(both, [(lon, -90), (lon, 90)])
    assert (south["gids"], south["tzids"]) == (["ATA"], ["Antarctica/Troll"])
    assert (north["status"], north["gids"], north["tzids"]) == ("no unit", None, ["Arctic/Pole"])


def test_a_zone_at_sea_comes_after_all_zones_on_land(both: Both) -> None:
    found = answer(both, 12, 50)
    assert found["tzids"] == ["Europe/Berlin", "europe/aachen", "Etc/GMT-1"]
    assert found["tzid"] == "Europe/Berlin"


def test_a_zone_at_sea_is_given_where_there_is_no_other(both: Both) -> None:
    assert answer(both, 13, 50)["tzids"] == ["Etc/GMT-1"]


def test_where_units_meet_all_are_given_in_byte_order(both: Both) -> None:
    found = answer(both, 21, 50.5)
    assert (found["status"], found["gid"], found["gids"]) == ("several units", "Banana", ["Banana", "apple"])
    assert (found["path"], found["gid_0"]) == ("Banana", "Banana")


@pytest.mark.parametrize(("beyond", "status"), [(0.9e-9, "one unit"), (1.1e-9, "no unit")])
def test_a_point_within_a_billionth_of_a_degree_of_a_border_lies_on_it(both: Both, beyond: float, status: str) -> None:
    sides = [(10 - beyond, 50.5), (11 + beyond, 50.5), (10.5, 50 - beyond), (10.5, 51 + beyond)]
    assert [found["status"] for found in answers(both, sides)] == [status] * 4


def test_a_point_within_a_billionth_of_a_degree_of_a_zone_lies_in_it(both: Both) -> None:
    inside, outside = answers(both, [(15 + 0.9e-9, 50), (15 + 1.1e-9, 50)])
    assert (inside["tzids"], outside["tzids"]) == (["Etc/GMT-1"], None)


NAN, INFINITE = "'NaN'", "'Infinity'"


@pytest.mark.parametrize(
    ("lon", "lat"),
    [
        *((NAN, 0), (0, NAN), (NAN, NAN), ("null", 0), (0, "null"), ("null", "null")),
        *((INFINITE, 0), (0, INFINITE), (180.0000001, 0), (-180.0000001, 0), (0, 90.0000001), (0, -90.0000001)),
    ],
)
def test_what_is_not_a_point_on_earth_has_bad_coordinates_and_no_answer(
    both: Both, lon: str | float, lat: str | float
) -> None:
    assert answer(both, lon, lat) == {**dict.fromkeys(FIELDS), "status": "bad coordinates"}


def test_a_bad_point_leaves_the_answers_of_its_neighbours_as_they_are(both: Both) -> None:
    found = answers(both, [(10.5, 50.5), (NAN, 0), ("null", 0), (20.5, 50.5)])
    assert [row["gid"] for row in found] == ["DEU.1.1.1", None, None, "apple"]


FOLDED = {
    # blanks
    "A   b    c": "a b c",
    "  A b  ": "a b",
    "A - b": "a b",
    "": "",
    " -- ": "",
    # case
    "NEW YORK": "new york",
    "İZMİR": "izmir",
    "Iğdır": "igdir",
    # accents, written as one character and as two
    "São Tomé": "sao tome",
    "Sa\u0303o Tome\u0301": "sao tome",
    "Đà Nẵng": "da nang",
    "Łódź": "lodz",
    "Ærøskøbing": "aeroskobing",
    "Þórshöfn": "thorshofn",
    "Sœur, Œuvre": "soeur oeuvre",
    "Straße": "strasse",
    "Ħal Għaxaq": "hal ghaxaq",
    "Gəncə": "gence",
    "ÐŦŧ": "dtt",
    # marks between words, and marks inside them
    "Saint-Louis": "saint louis",
    "a_b/c.d,e;f:g(h)i": "a b c d e f g h i",
    "N'Djamena": "ndjamena",
    'O’Higgins ‘a’ “b” "c" `d´': "ohiggins a b c d",
    "Hawaiʻi ʼaʾbʿ": "hawaii ab",
    "50% * a\\b": "50 ab",
    # in Greek, too, which has none in capitals
    "Αθήνα ΑΘΗΝΑ": "αθηνα αθηνα",
    "Μαΐου ΜΑΪΟΥ Ἀθῆναι": "μαιου μαιου αθηναι",
    "Αγιά Ρουμε\u0301λη": "αγια ρουμελη",
    # other scripts keep what looks like an accent: it is part of the letter
    "КИЇВ Й": "київ й",
    "東京都": "東京都",
    "กรุงเทพ": "กรุงเทพ",
    "Éa 東": "ea 東",
    # letters that only look different, and what cannot be seen
    "ﬁnﬂand Ⅳ ½": "finfland iv 1 2",
    "Ｆｕｌｌ－Ｗｉｄｔｈ（Ａ）": "full width a",
    "ｶﾞﾌ": "ガフ",
    "Kar\u200baj\u00ad \u200eX\ufe0f": "karaj x",
    "a\u00a0b\u2009c\u3000d\u2028e": "a b c d e",
    "a\u2010b\u2011c\u2013d\u2212e\u058af": "a b c d e f",
    "Murang`a Ꞌa ′a": "muranga a a",
    "Paral·lel": "parallel",
    # capitals of any script
    "ΟΔΟΣ Οδος": "οδοσ οδοσ",
    "ԵՐԵՎԱՆ ᲗᲑᲘᲚᲘᲡᲘ ᎠᎡ 𐐀": "երեվան თბილისი ꭰꭱ 𐐨",
    "ẞ ǅ ꙊҚ": "ss dz ꙋқ",
    "Ɓauchi ɛ\u0301": "bauchi ɛ",
}


@pytest.mark.parametrize(("name", "folded"), FOLDED.items())
def test_a_name_is_folded_to_what_people_type(both: Both, name: str, folded: str) -> None:
    for text in (name, folded):  # what is folded stays as it is
        literal = text.replace("'", "''")
        assert [target.ask(f"select marts.fold_name('{literal}')") for target in both] == [[(folded,)]] * 2


def folded(both: Both, texts: list[str]) -> list[list[tuple[str, str]]]:
    """Fold texts on both targets."""
    numbered = "select marts.fold_name(text) from unnest(cast({} as text[])) {} order by number"
    postgres, embedded = (target.connection for target in both)
    on_postgres = postgres.execute(numbered.format("%s", "with ordinality as texts (text, number)"), (texts,))
    embedded.execute(
        "create or replace temp table texts as select unnest($1) as text, unnest($2) as number",
        [texts, list(range(len(texts)))],
    )
    on_duckdb = embedded.execute("select marts.fold_name(text) from texts order by number")
    return [
        [(text, found) for text, (found,) in zip(texts, asked.fetchall(), strict=True)]
        for asked in (on_postgres, on_duckdb)
    ]


def test_every_letter_is_folded_as_python_does_on_both_targets(both: Both) -> None:
    syllables = [(0x3400, 0x4DC0), (0x4E00, 0xA4D0), (0xAC00, 0xE000), (0x12000, 0x18D00), (0x1B000, 0x1B300)]
    points = (point for point in range(1, 0x20000) if not any(first <= point < end for first, end in syllables))
    letters = [*map(chr, points), *map(chr, range(0x2F800, 0x2FA20))]
    by_python = [(letter, fold_name(letter)) for letter in letters]
    assert folded(both, letters) == [by_python] * 2


LETTERS = st.one_of(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    st.characters(max_codepoint=0x5FF, exclude_characters="\0"),
    st.characters(categories=["Mn", "Lu", "Lt", "Pd", "Zs", "Cf"]),
)


@example(["\u0378и\u0306", "и\u0306", "Ϊ\u0301", "ě\u0306\u0734\U000110ba", "i\u0bcd", "a\u200d\u0301я\u200d\u0308"])
@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(LETTERS, max_size=8), min_size=1, max_size=150))
def test_any_text_is_folded_alike_on_both_targets_and_in_python(both: Both, texts: list[str]) -> None:
    by_python = [(text, fold_name(text)) for text in texts]
    assert folded(both, texts) == [by_python] * 2
    assert [fold_name(found) for _, found in by_python] == [found for _, found in by_python]
    assert [fold_name(unicodedata.normalize("NFD", text)) for text in texts if is_assigned(text)] == [
        found for text, found in by_python if is_assigned(text)
    ]


def is_assigned(text: str) -> bool:
    """Whether the version of Unicode that is used knows every letter."""
    return all(unicodedata.category(letter) != "Cn" for letter in text)


def test_the_tables_of_the_macro_are_those_of_the_script() -> None:
    assert unicodedata.unidata_version == build_name_folding.UNICODE
    assert build_name_folding.MACRO.read_text() == build_name_folding.macro()


def test_null_stays_null(both: Both) -> None:
    assert [target.ask("select marts.fold_name(cast(null as text))") for target in both] == [[(None,)]] * 2
