"""What clocks of a zone show at a time, the loaded zone that a name stands for, and zones that overlap."""

from __future__ import annotations

import datetime as dt
import importlib.resources
import zoneinfo
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import shapely
import tzdata
from hypothesis import given, settings
from hypothesis import strategies as st

from admin_boundaries.timezones.aliases import aliases
from admin_boundaries.timezones.clocks import END, as_text, clocks, links, names
from admin_boundaries.timezones.local_time import LocalTimes, Shown, time_of
from admin_boundaries.timezones.overlaps import timezone_overlaps
from admin_boundaries.timezones.transitions import timezone_transitions

# A rule for ever; one that ended; none; seconds; a day that never came; daylight saving time in winter; half an hour.
ZONES = (
    *("Europe/Paris", "America/Sao_Paulo", "Asia/Kathmandu", "Africa/Monrovia", "Pacific/Apia", "Europe/Dublin"),
    *("Australia/Lord_Howe", "America/New_York", "Etc/GMT+5", "Africa/Casablanca"),
)
INSTANTS = st.integers(0, END - 1)


class Zones:
    """A relation of zones, and marts of them."""

    marts = "marts"

    def __init__(self, *tzids: str) -> None:
        self.tzids = tzids

    def select(self, *_columns: str) -> Zones:
        return self

    def batches(self) -> Any:
        import pyarrow as pa

        return pa.table({"tzid": list(self.tzids)}).to_reader()

    def rows(self, _query: str, _parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Answer as both targets do, which an integration test compares."""
        rows = timezone_transitions(self).read_all().to_pylist()  # type: ignore[arg-type]
        return [
            (
                *(row["tzid"], int(row["starts_at"].timestamp()), int(row["ends_at"].timestamp())),
                *(row["utc_offset_seconds"], row["is_dst"], row["abbreviation"]),
                int(row["same_everywhere_since"].timestamp()),
            )
            for row in rows
        ]


def zone_of(name: str) -> zoneinfo.ZoneInfo:
    """Return a zone as Python has it, of the same database."""
    with importlib.resources.files(tzdata).joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return zoneinfo.ZoneInfo.from_file(file, key=name)


LOCAL_TIMES = LocalTimes(Zones(*names()))  # type: ignore[arg-type]


def shown(tzid: str, time: str) -> Shown:
    """Return what clocks show."""
    return LOCAL_TIMES.at(tzid, time_of(time))


@pytest.mark.parametrize("name", ZONES)
def test_spans_follow_one_another_and_each_shows_something_else(name: str) -> None:
    found = clocks(name)
    assert found is not None
    assert found[0].start == 0
    assert found[-1].start < END
    for before, after in pairwise(found):
        assert before.start < after.start
        assert (before.offset, before.is_dst, before.abbreviation) != (after.offset, after.is_dst, after.abbreviation)


@given(st.sampled_from(names()), INSTANTS)
@settings(max_examples=300, deadline=None)
def test_at_every_instant_clocks_show_what_python_says(name: str, instant: int) -> None:
    found = clocks(name)
    assert found is not None
    clock = max((each for each in found if each.start <= instant), key=lambda each: each.start)
    local = dt.datetime.fromtimestamp(instant, zone_of(name))
    expected = local.utcoffset(), bool(local.dst()), local.tzname()
    assert (dt.timedelta(seconds=clock.offset), clock.is_dst, clock.abbreviation) == expected


@pytest.mark.parametrize("name", ["", "Mars/Phobos", "../zones", "Europe", "/etc/passwd", "Europe/Paris\n"])
def test_a_name_that_the_database_lacks_has_no_clocks(name: str) -> None:
    assert clocks(name) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(20700, "+05:45"), (-12600, "-03:30"), (0, "+00:00"), (-2670, "-00:44:30"), (50400, "+14:00")]
)
def test_an_offset_is_text_with_seconds_only_where_there_are_any(seconds: int, text: str) -> None:
    assert as_text(seconds) == text


@given(st.sampled_from(ZONES), st.datetimes(dt.datetime(1970, 1, 3), dt.datetime(2036, 12, 28)))
@settings(max_examples=500, deadline=None)
def test_a_local_time_is_the_instant_that_python_says(name: str, local: dt.datetime) -> None:
    zone, found = zone_of(name), LOCAL_TIMES.at(name, local)
    first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(dt.UTC) for fold in (0, 1))
    status = "one time" if first == second else "ambiguous" if first < second else "missing"
    assert (found.time_status, found.utc_time) == (status, first)
    assert found.local_time == first.astimezone(zone).replace(tzinfo=None)


@pytest.mark.parametrize(
    ("tzid", "time", "status", "utc", "local", "offset"),
    [
        # clocks go from 2 to 3 at 1 in UTC on 2026-03-29, and from 3 to 2 on 2026-10-25
        ("Europe/Paris", "2026-03-29T00:30Z", "one time", "2026-03-29T00:30", "2026-03-29T01:30", "+01:00"),
        ("Europe/Paris", "2026-03-29T01:00Z", "one time", "2026-03-29T01:00", "2026-03-29T03:00", "+02:00"),
        ("Europe/Paris", "2026-03-29T01:59", "one time", "2026-03-29T00:59", "2026-03-29T01:59", "+01:00"),
        ("Europe/Paris", "2026-03-29T02:00", "missing", "2026-03-29T01:00", "2026-03-29T03:00", "+02:00"),
        ("Europe/Paris", "2026-03-29T02:30", "missing", "2026-03-29T01:30", "2026-03-29T03:30", "+02:00"),
        ("Europe/Paris", "2026-03-29T03:00", "one time", "2026-03-29T01:00", "2026-03-29T03:00", "+02:00"),
        ("Europe/Paris", "2026-10-25T02:00", "ambiguous", "2026-10-25T00:00", "2026-10-25T02:00", "+02:00"),
        ("Europe/Paris", "2026-10-25T02:59", "ambiguous", "2026-10-25T00:59", "2026-10-25T02:59", "+02:00"),
        ("Europe/Paris", "2026-10-25T03:00", "one time", "2026-10-25T02:00", "2026-10-25T03:00", "+01:00"),
        ("Europe/Paris", "2026-10-25T02:30+01:00", "one time", "2026-10-25T01:30", "2026-10-25T02:30", "+01:00"),
        # Samoa had no 30 December 2011
        ("Pacific/Apia", "2011-12-30T12:00", "missing", "2011-12-30T22:00", "2011-12-31T12:00", "+14:00"),
        ("Africa/Monrovia", "1971-01-01T00:00:00Z", "one time", "1971-01-01T00:00", "1970-12-31T23:15:30", "-00:44:30"),
    ],
)
def test_what_clocks_show_around_a_change(tzid: str, time: str, status: str, utc: str, local: str, offset: str) -> None:
    found = shown(tzid, time)
    assert found.time_status == status
    assert found.utc_time == dt.datetime.fromisoformat(utc).replace(tzinfo=dt.UTC)
    assert found.local_time == dt.datetime.fromisoformat(local)
    assert found.utc_offset == offset


def test_a_part_of_a_second_stays() -> None:
    found = shown("Asia/Kathmandu", "2026-01-01T00:00:00.250Z")
    assert found.local_time == dt.datetime(2026, 1, 1, 5, 45, 0, 250_000)


@pytest.mark.parametrize(
    "time",
    [
        "1969-12-31T23:59:59Z",
        "1969-12-31T12:00",
        "0001-01-01T00:00+14:00",
        "9999-12-31T23:00-12:00",
        "2999-01-01T00:00",
    ],
)
def test_of_a_time_beyond_the_mart_nothing_is_said(time: str) -> None:
    assert shown("Europe/Paris", time) == Shown("out of range")


def test_the_first_and_the_last_instant_of_the_mart_are_known() -> None:
    last = dt.datetime.fromtimestamp(END - 1, dt.UTC)
    assert LOCAL_TIMES.at("Europe/Paris", dt.datetime(1970, 1, 1, tzinfo=dt.UTC)).time_status == "one time"
    assert LOCAL_TIMES.at("Europe/Paris", last).time_status == "one time"
    assert LOCAL_TIMES.at("Europe/Paris", last + dt.timedelta(seconds=1)) == Shown("out of range")


def test_nowhere_and_in_an_unknown_zone_nothing_is_said() -> None:
    for tzid in (None, "Mars/Phobos"):
        assert LOCAL_TIMES.at(tzid, dt.datetime(2026, 1, 1)) == Shown("no zone")


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-03-29", "12:00", "2026-13-01T00:00", "2026-02-29T00:00", "1774744200", None, 5]
)
def test_what_is_not_a_time_is_none(text: object) -> None:
    assert time_of(text) is None


@pytest.mark.parametrize("text", ["2026-03-29T00:30Z", " 2026-03-29 00:30:00+00:00 ", "20260329T003000Z"])
def test_a_time_may_be_written_in_any_way_of_iso_8601(text: str) -> None:
    assert time_of(text) == dt.datetime(2026, 3, 29, 0, 30, tzinfo=dt.UTC)


# which zone is meant by a name

NOW = ["America/New_York", "America/Lima", "Asia/Kolkata", "Etc/GMT+5", "Europe/Paris", "Etc/GMT-1", "Africa/Abidjan"]


@pytest.mark.parametrize(
    ("name", "zone", "kind"),
    [
        ("America/New_York", "America/New_York", "zone"),
        ("US/Eastern", "America/New_York", "link"),
        ("Asia/Calcutta", "Asia/Kolkata", "link"),
        ("America/Detroit", "America/New_York", "same_from_now"),
        ("EST5EDT", "America/New_York", "same_since_1970"),
        (
            "America/Panama",
            "America/Lima",
            "same_from_now",
        ),  # on land, though a zone at sea has been the same for longer
        ("Europe/Berlin", "Europe/Paris", "same_from_now"),
        ("Asia/Tokyo", None, None),
        ("Factory", None, None),  # stands for no place
    ],
)
def test_the_loaded_zone_of_a_name(name: str, zone: str | None, kind: str | None) -> None:
    found, how, since = aliases(tuple(NOW))[name]
    assert (found, how) == (zone, kind)
    assert (since is None) == (zone is None)


def test_a_name_at_sea_is_one_at_sea() -> None:
    assert aliases(("America/Lima", "Etc/GMT+5", "Etc/GMT"))["Etc/UTC"][0] == "Etc/GMT"
    assert aliases(("Africa/Lagos", "Etc/GMT-1"))["Africa/Algiers"][0] == "Africa/Lagos"


@pytest.mark.parametrize(
    ("name", "zone", "kind"),
    [
        ("Etc/GMT-3", "Europe/Moscow", "same_from_now"),
        ("Etc/GMT-1", "Africa/Lagos", "same_since_1970"),
        ("Etc/UTC", "Africa/Abidjan", "same_since_1970"),
        ("Etc/GMT+12", "Etc/GMT+12", "zone"),
        ("Etc/GMT+11", None, None),
    ],
)
def test_a_release_may_merge_the_zones_at_sea_into_those_on_land(name: str, zone: str | None, kind: str | None) -> None:
    # as the variant `now` does from 2025c on; nobody lives by the clocks of Etc/GMT+12
    found, how, _since = aliases(("Africa/Abidjan", "Africa/Lagos", "Etc/GMT+12", "Europe/Moscow"))[name]
    assert (found, how) == (zone, kind)


def test_since_when_clocks_are_the_same_is_when_they_last_differed() -> None:
    _, _, since = aliases(("America/New_York",))["America/Detroit"]
    assert since is not None
    one, two = zone_of("America/New_York"), zone_of("America/Detroit")

    def offsets(instant: int) -> set[dt.timedelta | None]:
        return {dt.datetime.fromtimestamp(instant, zone).utcoffset() for zone in (one, two)}

    assert len(offsets(since - 1)) == 2
    assert all(len(offsets(instant)) == 1 for instant in range(since, END, 86_400 * 3))


def test_before_the_clocks_of_all_that_is_merged_into_a_zone_were_the_same_what_they_show_is_uncertain() -> None:
    merged = LocalTimes(Zones("America/New_York", "Asia/Kathmandu"))  # type: ignore[arg-type]
    assert merged.at("America/New_York", dt.datetime(1990, 7, 1)).time_status == "uncertain"
    assert merged.at("America/New_York", dt.datetime(2026, 7, 1)).time_status == "one time"
    assert merged.at("Asia/Kathmandu", dt.datetime(1990, 7, 1)).time_status == "one time"
    assert shown("America/New_York", "1990-07-01T00:00").time_status == "one time"  # nothing is merged into it


def test_every_name_and_every_loaded_zone_is_there_once() -> None:
    found = aliases(("Mars/Phobos", "Europe/Paris"))
    assert set(found) == {*names(), "Mars/Phobos"}
    assert found["Mars/Phobos"] == ("Mars/Phobos", "zone", 0)


def test_a_link_to_a_link_leads_to_a_zone() -> None:
    assert not set(links().values()) & set(links())


# zones with ground in common


class Polygons:
    """A relation of zones with geometry."""

    def __init__(self, **zones: shapely.Polygon) -> None:
        self.zones = zones

    def select(self, *_columns: str) -> Polygons:
        return self

    def batches(self) -> Any:
        import pyarrow as pa

        shapes = pa.array([shape.wkb for shape in self.zones.values()], pa.binary())
        return pa.table({"tzid": list(self.zones), "geom": shapes}).to_reader()


def overlaps(**zones: shapely.Polygon) -> dict[tuple[str, str], tuple[float, float]]:
    """Return area and share of pairs of zones."""
    rows = timezone_overlaps(Polygons(**zones)).read_all().to_pylist()  # type: ignore[arg-type]
    return {(row["tzid"], row["other_tzid"]): (row["area_km2"], row["area_share"]) for row in rows}


def test_zones_that_overlap_are_listed_both_ways_with_the_share_of_each() -> None:
    found = overlaps(b=shapely.box(0, 0, 2, 1), a=shapely.box(1, 0, 5, 1), c=shapely.box(5, 0, 6, 1))
    assert list(found) == [("a", "b"), ("b", "a")]
    assert found["a", "b"] == pytest.approx((12_309, 0.25), rel=1e-3)  # a degree by a degree at the equator
    assert found["b", "a"] == pytest.approx((12_309, 0.5), rel=1e-3)


def test_zones_whose_boxes_meet_and_that_do_not_touch_have_nothing_in_common() -> None:
    corner = shapely.Polygon([(10, 10), (10, 9), (9, 10)])
    assert overlaps(a=shapely.Polygon([(0, 0), (10, 0), (0, 10)]), b=corner) == {}


def test_a_border_that_was_drawn_twice_is_no_overlap() -> None:
    metre = 1e-5  # degrees
    assert overlaps(a=shapely.box(0, 0, 1, metre * 50), b=shapely.box(1 - metre, 0, 2, metre * 50)) == {}


def test_no_zones_have_no_overlaps() -> None:
    assert overlaps() == {}
