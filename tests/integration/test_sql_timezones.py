"""Which zones a unit lies in, and by how much: each rule shown by units and zones that were invented for it.

Every country below lies far from the others. Squares are degrees; areas in km² are set freely.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from shapely import Polygon, box

from tests.integration import invented
from tests.integration.conftest import Warehouse
from tests.integration.invented import Target, Unit

pytestmark = [pytest.mark.servers, pytest.mark.slow]
Row = dict[str, Any]
ZonesOf = Callable[[str], dict[str, Row]]


def leaf(gid: str, *polygons: Polygon, area_km2: float = 100.0, point: tuple[float, float]) -> Unit:
    """Return a leaf of level 1 in the country that its key begins with."""
    return Unit(gid, (gid[:3],), polygons, area_km2, point)


UNITS = [
    # One large leaf in the west, two small ones in the east.
    Unit("ARE"),
    leaf("ARE.1", box(0, 0, 3, 1), area_km2=300, point=(1.5, 0.5)),
    leaf("ARE.2", box(3, 0, 4, 1), area_km2=100, point=(3.5, 0.5)),
    leaf("ARE.3", box(4, 0, 5, 1), area_km2=100, point=(4.5, 0.5)),
    # Equal areas; one leaf in one zone, two in the other.
    Unit("CNT"),
    leaf("CNT.1", box(10, 0, 12, 1), area_km2=200, point=(11, 0.5)),
    leaf("CNT.2", box(12, 0, 13, 1), area_km2=100, point=(12.5, 0.5)),
    leaf("CNT.3", box(13, 0, 14, 1), area_km2=100, point=(13.5, 0.5)),
    # Equal areas and counts.
    Unit("ORD"),
    leaf("ORD.1", box(20, 0, 21, 1), point=(20.5, 0.5)),
    leaf("ORD.2", box(21, 0, 22, 1), point=(21.5, 0.5)),
    # A zone covers just under 5 % of the first leaf, 5 % of the second, 4 % of the third with its point.
    *(Unit(gid) for gid in ("UND", "FIV", "PNT")),
    leaf("UND.1", box(30, 0, 40, 1), point=(35, 0.5)),
    leaf("FIV.1", box(30, 2, 40, 3), point=(35, 2.5)),
    leaf("PNT.1", box(30, 4, 40, 5), point=(39.8, 4.5)),
    # Two leaves of one country, of which a zone covers 1 % and 20 %.
    Unit("MAX"),
    leaf("MAX.1", box(30, 6, 40, 7), point=(35, 6.5)),
    leaf("MAX.2", box(30, 8, 40, 9), point=(35, 8.5)),
    # A triangle, and a zone in the empty corner of its box. Another covers a ten-millionth of a leaf.
    Unit("BOX"),
    leaf("BOX.1", Polygon([(50, 0), (58, 0), (50, 8)]), point=(52, 2)),
    leaf("BOX.2", box(50, 20, 60, 21), point=(55, 20.5)),
    # Islands: one whole in a zone, one half in it. Then two, of which one lies in no zone.
    Unit("ISL"),
    leaf("ISL.1", box(70, 0, 71, 1), box(72, 0, 73, 1), point=(70.5, 0.5)),
    leaf("ISL.2", box(70, 4, 71, 5), box(72, 4, 73, 5), point=(72.2, 4.5)),
    # Islands of as many square degrees each, at the equator and far north.
    Unit("LAT"),
    leaf("LAT.1", box(80, 0, 81, 1), box(80, 60, 81, 61), point=(80.5, 0.5)),
    # Three levels; zones part the second leaf in half.
    Unit("ROL"),
    Unit("ROL.1", ("ROL",)),
    Unit("ROL.1.1", ("ROL", "ROL.1"), (box(90, 0, 91, 1),), 100.0, (90.5, 0.5)),
    Unit("ROL.1.2", ("ROL", "ROL.1"), (box(91, 0, 93, 1),), 60.0, (91.5, 0.5)),
    leaf("ROL.2", box(93, 0, 94, 1), area_km2=40, point=(93.5, 0.5)),
    # Two clocks in use at one place.
    Unit("TWO"),
    leaf("TWO.1", box(100, 0, 101, 1), point=(100.5, 0.5)),
    # A zone covers a quarter of a unit, in which a single leaf lies; another covers the rest of it.
    Unit("GAP"),
    Unit("GAP.1", ("GAP",), (box(120, 0, 124, 1),), 400.0, (122.5, 0.5)),
    Unit("GAP.1.1", ("GAP", "GAP.1"), (box(120, 0, 121, 1),), 100.0, (120.5, 0.5), level=4),
    # A leaf that is only a point, beside one with an area.
    Unit("DOT"),
    Unit("DOT.1", ("DOT",), point=(130.5, 0.5)),
    leaf("DOT.2", box(131, 0, 132, 1), point=(131.5, 0.5)),
    # No leaf has an area.
    Unit("NUL"),
    leaf("NUL.1", box(110, 0, 112, 1), area_km2=0, point=(111.5, 0.5)),
]

ZONES = {
    "Are/West": [box(-1, -1, 3, 2)],
    "Are/East": [box(3, -1, 6, 2)],
    "Cnt/A_single": [box(9, -1, 12, 2)],
    "Cnt/Z_pair": [box(12, -1, 15, 2)],
    "Ord/apple": [box(19, -1, 21, 2)],
    "Ord/Banana": [box(21, -1, 23, 2)],
    "Edge/Main": [
        *(box(29, -0.5, 39.5001, 1.5), box(29, 1.5, 39.5, 3.5), box(29, 3.5, 39.6, 5.5)),
        *(box(29, 5.5, 39.9, 7.5), box(29, 7.5, 38, 9.5)),
    ],
    "Edge/East": [
        *(box(39.5001, -0.5, 41, 1.5), box(39.5, 1.5, 41, 3.5), box(39.6, 3.5, 41, 5.5)),
        *(box(39.9, 5.5, 41, 7.5), box(38, 7.5, 41, 9.5)),
    ],
    "Box/Around": [box(49, -1, 59, 9)],
    "Box/Corner": [box(57, 7, 60, 10)],
    "Box/Most": [box(49, 19, 59.999999, 22)],
    "Box/Trace": [box(59.999999, 19, 61, 22)],
    "Isl/A_west": [box(69, -1, 72.5, 2), box(71.9, 3, 72.5, 6)],
    "Isl/B_east": [box(72.5, -1, 74, 2), box(72.5, 3, 74, 6)],
    "Lat/North": [box(79, 59, 82, 62)],
    "Lat/South": [box(79, -1, 82, 2)],
    "Rol/West": [box(89, -1, 92, 2)],
    "Rol/East": [box(92, -1, 95, 2)],
    "Two/Legal": [box(99, -1, 102, 2)],
    "Two/Spoken": [box(99.5, -0.5, 101.5, 1.5)],
    "Gap/Leaf": [box(119, -1, 121, 2)],
    "Gap/Rest": [box(121, -1, 125, 2)],
    "Dot/Point": [box(130, -1, 131, 2)],
    "Dot/Area": [box(131, -1, 133, 2)],
    "Nul/A_edge": [box(109, -1, 111, 2)],
    "Nul/B_point": [box(111, -1, 113, 2)],
}


@pytest.fixture(scope="module")
def both(new_warehouse: Callable[[], Warehouse]) -> Iterator[tuple[Target, Target]]:
    """The mart on both targets."""
    with invented.built(new_warehouse, UNITS, ZONES) as targets:
        yield targets


@pytest.fixture(scope="module", params=[0, 1], ids=["postgres", "embedded"])
def zones_of(both: tuple[Target, Target], request: pytest.FixtureRequest) -> ZonesOf:
    """Return what the mart says of the zones of a unit, by zone."""
    rows = both[request.param].rows("admin_unit_timezones")
    return lambda gid: {row["tzid"]: row for row in rows if row["gid"] == gid}


def primary(zones: dict[str, Row]) -> list[str]:
    """Return the zones that are said to be the primary one."""
    return [tzid for tzid, row in zones.items() if row["is_primary"]]


def test_the_primary_zone_has_the_largest_area_even_with_fewer_leaves(zones_of: ZonesOf) -> None:
    zones = zones_of("ARE")
    assert zones["Are/East"]["leaf_count"] > zones["Are/West"]["leaf_count"]
    assert primary(zones) == ["Are/West"]


def test_of_zones_with_equal_areas_the_one_with_more_leaves_is_primary(zones_of: ZonesOf) -> None:
    zones = zones_of("CNT")
    assert {row["area_share"] for row in zones.values()} == {0.5}
    assert primary(zones) == ["Cnt/Z_pair"]


def test_of_zones_with_equal_areas_and_leaves_the_first_in_byte_order_is_primary(zones_of: ZonesOf) -> None:
    assert primary(zones_of("ORD")) == ["Ord/Banana"]  # in a dictionary apple comes first


def test_every_unit_has_exactly_one_primary_zone(zones_of: ZonesOf) -> None:
    assert [unit.gid for unit in UNITS if len(primary(zones_of(unit.gid))) != 1] == []


def test_without_any_area_the_zone_with_the_leaf_is_primary(zones_of: ZonesOf) -> None:
    zones = zones_of("NUL")
    assert {row["area_share"] for row in zones.values()} == {None}
    assert primary(zones) == ["Nul/B_point"]


@pytest.mark.parametrize(
    ("gid", "share", "is_border_sliver"),
    [("UND", 0.04999, True), ("FIV", 0.05, False), ("PNT", 0.04, False)],
    ids=["less than 5 %", "5 %", "less than 5 %, and a leaf's point"],
)
def test_a_sliver_is_less_than_5_percent_of_every_leaf_and_holds_no_leafs_point(
    zones_of: ZonesOf, gid: str, share: float, is_border_sliver: bool
) -> None:
    for unit in (gid, f"{gid}.1"):
        zones = zones_of(unit)
        assert zones["Edge/East"]["area_share"] == share
        assert zones["Edge/East"]["is_border_sliver"] is is_border_sliver
        assert zones["Edge/Main"]["is_border_sliver"] is False


def test_a_country_has_no_sliver_where_the_zone_covers_more_of_another_leaf(zones_of: ZonesOf) -> None:
    slivers = {unit: zones_of(unit)["Edge/East"]["is_border_sliver"] for unit in ("MAX.1", "MAX.2", "MAX")}
    assert slivers == {"MAX.1": True, "MAX.2": False, "MAX": False}


def test_a_zone_that_meets_only_the_box_of_a_leaf_is_left_out(zones_of: ZonesOf) -> None:
    zones = zones_of("BOX.1")
    assert list(zones) == ["Box/Around"]
    assert zones["Box/Around"]["area_share"] == 1.0


def test_a_zone_that_covers_less_than_a_millionth_of_a_leaf_is_left_out(zones_of: ZonesOf) -> None:
    assert list(zones_of("BOX.2")) == ["Box/Most"]


def test_islands_count_by_what_lies_in_each_zone(zones_of: ZonesOf) -> None:
    assert {tzid: row["area_share"] for tzid, row in zones_of("ISL.1").items()} == {
        "Isl/A_west": 0.75,
        "Isl/B_east": 0.25,
    }


def test_an_island_in_no_zone_counts_for_none(zones_of: ZonesOf) -> None:
    zones = zones_of("ISL.2")
    assert {tzid: row["area_share"] for tzid, row in zones.items()} == {"Isl/A_west": 0.25, "Isl/B_east": 0.25}
    assert primary(zones) == ["Isl/A_west"]  # the leaf's point


def test_areas_are_weighed_by_their_latitude(zones_of: ZonesOf) -> None:
    south, north = (math.sin(math.radians(lat + 1)) - math.sin(math.radians(lat)) for lat in (0, 60))
    shares = {tzid: row["area_share"] for tzid, row in zones_of("LAT.1").items()}
    assert shares == {
        "Lat/North": pytest.approx(north / (north + south), abs=1e-6),
        "Lat/South": pytest.approx(south / (north + south), abs=1e-6),
    }


def test_where_two_clocks_are_in_use_both_zones_have_the_whole_unit(zones_of: ZonesOf) -> None:
    for unit in ("TWO", "TWO.1"):
        assert [(row["area_share"], row["leaf_share"], row["leaf_count"]) for row in zones_of(unit).values()] == [
            (1.0, 1.0, 1)
        ] * 2


@pytest.mark.parametrize(
    ("gid", "level", "west", "east"),
    [
        ("ROL.1.1", 2, (100.0, 1.0, 1, 1.0), None),
        ("ROL.1.2", 2, (30.0, 0.5, 1, 1.0), (30.0, 0.5, 0, 0.0)),
        ("ROL.1", 1, (130.0, 0.8125, 2, 1.0), (30.0, 0.1875, 0, 0.0)),
        ("ROL.2", 1, None, (40.0, 1.0, 1, 1.0)),
        ("ROL", 0, (130.0, 0.65, 2, 2 / 3), (70.0, 0.35, 1, 1 / 3)),
    ],
)
def test_areas_and_leaves_add_up_from_the_leaves_to_the_country(
    zones_of: ZonesOf, gid: str, level: int, west: tuple[float, ...] | None, east: tuple[float, ...] | None
) -> None:
    zones = zones_of(gid)
    assert {row["admin_level"] for row in zones.values()} == {level}
    found = {
        tzid: (row["area_km2"], row["area_share"], row["leaf_count"], row["leaf_share"]) for tzid, row in zones.items()
    }
    wanted = {"Rol/West": west, "Rol/East": east}
    assert found == {tzid: pytest.approx(numbers) for tzid, numbers in wanted.items() if numbers}


@pytest.mark.parametrize("gid", ["GAP.1", "GAP"])
def test_a_unit_that_its_children_do_not_cover_counts_whole_up_to_the_country(zones_of: ZonesOf, gid: str) -> None:
    found = {
        tzid: (row["area_km2"], row["area_share"], row["leaf_count"], row["is_border_sliver"])
        for tzid, row in zones_of(gid).items()
    }
    assert found == {
        "Gap/Leaf": (pytest.approx(100), 0.25, 1, False),
        "Gap/Rest": (pytest.approx(300), 0.75, 0, False),
    }
    assert primary(zones_of(gid)) == ["Gap/Rest"]


def test_a_unit_without_area_has_the_zone_of_its_point(zones_of: ZonesOf) -> None:
    (found,) = zones_of("DOT.1").values()
    assert (found["tzid"], found["area_km2"], found["leaf_count"], found["is_primary"]) == ("Dot/Point", None, 1, True)
    assert {tzid: row["leaf_count"] for tzid, row in zones_of("DOT").items()} == {"Dot/Point": 1, "Dot/Area": 1}
    assert primary(zones_of("DOT")) == ["Dot/Area"]
