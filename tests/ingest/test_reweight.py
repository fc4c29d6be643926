"""Columns of a table are carried from one release to another: nothing is lost without a word, and totals are kept."""

from __future__ import annotations

import csv
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from admin_boundaries import reweight
from admin_boundaries.duckdb_warehouse import DuckdbWarehouse
from admin_boundaries.reweight import Columns, Report
from admin_boundaries.warehouse import Warehouse
from ingest import catalog
from ingest.errors import CountMismatch, ReleaseMissing, SchemaDrift, SourceDamaged, UsageError
from ingest.settings import Settings
from tests.fixtures import compared
from tests.fixtures.compared import Piece
from tests.fixtures.macros import macro
from tests.ingest.test_cli import run as run_command

Rows = dict[str, dict[str, str]]
Ingest = Callable[..., tuple[int, str]]

# A is split in two, B keeps its ground, C loses a quarter of it to the sea, D joins E in F, and G is new ground.
PIECES = (
    Piece("A", "A1", 60.0),
    Piece("A", "A2", 40.0),
    Piece("B", "B", 50.0),
    Piece("C", "C", 75.0),
    Piece("C", None, 25.0),
    Piece("D", "F", 30.0),
    Piece("E", "F", 90.0),
    Piece(None, "G", 10.0),
)


FIGURES = "gid,people,income\nA,1000,10\nA1,7,1\nA2,,2\nB,500,\nC,400,30\nD,300,40\nE,,80\nF,9,9\nG,3,5\nX,1,1\n"
MACRO = macro("changes/reweight.sql", "reweight", ref=lambda name: f"marts.{name}")


@pytest.fixture
def warehouse() -> Iterator[DuckdbWarehouse]:
    """Marts that compare 3.6 with 4.1."""
    with compared.opened(PIECES) as opened:
        yield opened


@pytest.fixture
def ingest(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ingest:
    """Return a function that runs ``python -m ingest`` in this process."""
    return lambda *arguments: run_command(*arguments, capsys=capsys, monkeypatch=monkeypatch)


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def carry(
    warehouse: Warehouse,
    source: Path,
    *,
    sums: Sequence[str] = (),
    means: Sequence[str] = (),
    weight: str | None = None,
    releases: tuple[str, str] = ("3.6", "4.1"),
    key: str = "gid",
    has_slivers: bool = True,
    output: Path | None = None,
) -> tuple[Rows, Report]:
    """Carry columns and return the rows written, by key, and the report."""
    output = output or source.with_name("out.csv")
    report = reweight.reweight(
        warehouse,
        source,
        output,
        Columns.named(key, sums, means, weight),
        *releases,
        has_slivers=has_slivers,
        overwrite=True,
        of_datasets=catalog.rights_of_datasets(),
        warn_of_licences=pytest.fail,
    )
    if output.suffix != ".csv":
        return {}, report
    with output.open(encoding="utf-8", newline="") as file:
        return {row[key]: row for row in csv.DictReader(file)}, report


def numbers(rows: Rows, column: str) -> dict[str, float | None]:
    return {key: float(row[column]) if row[column] else None for key, row in rows.items()}


def test_amounts_are_divided_and_levels_averaged(warehouse: Warehouse, tmp_path: Path) -> None:
    source = table(
        tmp_path / "in.csv", "gid,people,income,note\nA,1000,10,x\nB,500,20,x\nC,400,30,x\nD,300,40,x\nE,100,80,x\n"
    )
    rows, report = carry(warehouse, source, sums=["people"], means=["income"])
    assert list(rows["F"]) == ["gid", "people", "income", "known_share"]
    assert numbers(rows, "people") == {"A1": 600, "A2": 400, "B": 500, "C": 300, "F": 400}
    assert numbers(rows, "income") == {"A1": 10, "A2": 10, "B": 20, "C": 30, "F": (40 * 30 + 80 * 90) / 120}
    assert report.left_out == ("note",)
    (total,) = report.totals
    assert (total.given, total.carried, total.outside, total.set_aside) == (2300, 2200, 100, 0)
    assert (report.partly_outside, report.wholly_outside) == (1, 0)


def test_a_column_weights_means_and_is_carried_with_them(warehouse: Warehouse, tmp_path: Path) -> None:
    source = table(tmp_path / "in.csv", "gid,households,income\nD,300,40\nE,100,80\n")
    rows, _ = carry(warehouse, source, means=["income"], weight="households")
    assert rows["F"] == {"gid": "F", "households": "400.0", "income": "50.0", "known_share": "1.0"}


def test_the_other_way_the_shares_are_those_of_the_other_side(warehouse: Warehouse, tmp_path: Path) -> None:
    source = table(tmp_path / "in.csv", "gid,people\nA1,600\nA2,400\nF,400\nG,7\n")
    rows, report = carry(warehouse, source, sums=["people"], releases=("4.1", "3.6"))
    assert numbers(rows, "people") == {"A": 1000, "D": 100, "E": 300}
    assert report.releases == ("4.1", "3.6")
    assert report.totals[0].outside == 7
    assert report.wholly_outside == 1


def test_what_is_not_known_is_not_zero(warehouse: Warehouse, tmp_path: Path) -> None:
    source = table(tmp_path / "in.csv", "gid,people,income\nA,NA,\nB,500,\nD,300,40\nE,,80\n")
    rows, report = carry(warehouse, source, sums=["people"], means=["income"])
    assert rows["F"]["people"] == "300.0"  # of D; of E nothing is known
    assert float(rows["F"]["income"]) == 70
    assert float(rows["F"]["known_share"]) == 0.25
    assert (rows["B"]["people"], rows["B"]["income"], rows["B"]["known_share"]) == ("500.0", "", "0.0")
    assert "A1" not in rows
    assert [(each.reason, each.rows, each.examples) for each in report.set_aside] == [("without a figure", 1, ("A",))]
    assert report.partly_known == 2


def test_ground_that_is_new_lowers_the_share_that_is_known(tmp_path: Path) -> None:
    with compared.opened([Piece("A", "A", 80.0), Piece(None, "A", 20.0)]) as warehouse:
        rows, _ = carry(warehouse, table(tmp_path / "in.csv", "gid,n\nA,8\n"), sums=["n"])
        assert rows["A"] == {"gid": "A", "n": "8.0", "known_share": "0.8"}


def test_every_row_is_carried_or_set_aside_with_a_reason(warehouse: Warehouse, tmp_path: Path) -> None:
    source = table(
        tmp_path / "in.csv",
        'gid,people\nA,1000\n,1\nB,2\nB,4\nC,"1,000"\nX,8\nY,16\nD,\nE,inf\n',
    )
    rows, report = carry(warehouse, source, sums=["people"])
    assert set(rows) == {"A1", "A2"}
    assert {each.reason: (each.rows, each.examples) for each in report.set_aside} == {
        "without a key": (1, ()),
        "whose key is in several rows": (2, ("B",)),
        "with what is not a number": (2, ("C", "E")),
        "whose key is not in 3.6": (2, ("X", "Y")),
        "without a figure": (1, ("D",)),
    }
    assert report.rows_in == report.rows_carried + sum(each.rows for each in report.set_aside) == 9
    assert report.totals[0].set_aside == 1 + 2 + 4 + 8 + 16


def test_a_unit_without_an_area_is_set_aside_as_such(tmp_path: Path) -> None:
    changes = [*compared.of_pieces(PIECES), compared.Change("kept", "both", "H", "H")]
    with compared.opened(PIECES, changes) as warehouse:
        _, report = carry(warehouse, table(tmp_path / "in.csv", "gid,n\nA,8\nH,1\n"), sums=["n"])
        assert [(each.reason, each.examples) for each in report.set_aside] == [
            ("of units without an area in 3.6", ("H",))
        ]


def test_a_key_of_the_other_release_is_not_known(warehouse: Warehouse, tmp_path: Path) -> None:
    with pytest.raises(SchemaDrift, match=r"no row can be carried \(1 read\): 1 whose key is not in 3.6.* F\."):
        carry(warehouse, table(tmp_path / "in.csv", "gid,n\nF,8\n"), sums=["n"])


def test_shares_are_those_at_the_level_of_the_key(tmp_path: Path) -> None:
    pieces = [
        Piece("S", "S", 100.0, 1, 1),
        Piece("S.1", "S.1", 60.0, 2, 2),
        Piece("S.2", "S.1", 20.0, 2, 2),
        Piece("S.2", "S.2", 20.0, 2, 2),
        Piece("L", "L", 50.0, 1, 1),  # ends at level 1 before, and goes on below it now
        Piece("L", "L.1", 30.0, 1, 2),
        Piece("L", "L.2", 20.0, 1, 2),
    ]
    with compared.opened(pieces) as warehouse:
        source = table(tmp_path / "in.csv", "gid,n\nS,100\nS.1,60\nS.2,40\nL,7\n")
        rows, _ = carry(warehouse, source, sums=["n"])
        assert numbers(rows, "n") == {"S": 100, "S.1": 80, "S.2": 20, "L": 7}


def test_rows_of_units_within_each_other_are_refused_where_both_would_count(tmp_path: Path) -> None:
    """The later release ends at level 1 where the earlier one has a level below."""
    pieces = [Piece("S.1", "S", 60.0, 2, 1), Piece("S.2", "S", 40.0, 2, 1)]
    with compared.opened([Piece("S", "S", 100.0, 1, 1), *pieces]) as warehouse:
        both = table(tmp_path / "both.csv", "gid,n\nS,100\nS.1,60\n")
        with pytest.raises(
            SchemaDrift, match=r"rows of units within each other: S of 4.1 .* levels 1 and 2 \(S, S.1\)"
        ):
            carry(warehouse, both, sums=["n"])


SLIVERS = (
    Piece("A", "A", 90.0),
    Piece("A", "B", 6.0, is_sliver=True),
    Piece("A", None, 4.0, is_sliver=True),
    Piece("B", "B", 24.0),
    Piece(None, "B", 10.0),
)


def test_without_slivers_what_is_left_of_a_unit_counts_as_all_of_it(tmp_path: Path) -> None:
    source = table(tmp_path / "in.csv", "gid,n,m\nA,1000,10\nB,10,20\n")
    with compared.opened(SLIVERS) as warehouse:
        rows, report = carry(warehouse, source, sums=["n"], means=["m"])
        assert numbers(rows, "n") == {"A": 900, "B": 70}
        assert report.totals[0].outside == 40
        rows, report = carry(warehouse, source, sums=["n"], means=["m"], has_slivers=False)
    assert numbers(rows, "n") == {"A": 1000, "B": 10}
    assert numbers(rows, "m") == {"A": 10, "B": 20}
    assert report.totals[0].outside == 0
    assert numbers(rows, "known_share") == {"A": 1, "B": pytest.approx(24 / 34)}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_parquet_is_read_and_written_as_well(warehouse: Warehouse, tmp_path: Path, suffix: str) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"gid": ["A", "B", "D"], "n": pa.array([1000, None, 3], pa.int64())}), source)
    output = tmp_path / f"out{suffix}"
    _, report = carry(warehouse, source, sums=["n"], output=output)
    assert report.rows_out == 3
    if suffix == ".parquet":
        written = pq.read_table(output)
        assert written.to_pydict() == {"gid": ["A1", "A2", "F"], "n": [600, 400, 3], "known_share": [1.0, 1.0, 0.25]}
        assert b"licence" in pq.read_metadata(output).metadata


def test_nan_is_unknown_and_infinity_is_no_number(warehouse: Warehouse, tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"gid": ["A", "B", "C"], "n": [1.0, math.nan, math.inf]}), source)
    _, report = carry(warehouse, source, sums=["n"])
    assert {each.reason: each.examples for each in report.set_aside} == {
        "with what is not a number": ("C",),
        "without a figure": ("B",),
    }


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ('gid,n\nA,1\nB,"2\nC,3\n', SourceDamaged, "quotation marks are not in pairs"),
        ("gid,n\nA,1,2\n", SourceDamaged, "Line: 2"),
        ("gid,n,n\nA,1,2\n", SchemaDrift, "several columns called n"),
        ("key,n\nA,1\n", SchemaDrift, "no column 'gid'"),
        ("gid,n\n", SchemaDrift, "has no rows"),
        ("", SourceDamaged, "is empty"),
    ],
)
def test_what_is_no_table_is_refused(
    warehouse: Warehouse, tmp_path: Path, text: str, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        carry(warehouse, table(tmp_path / "in.csv", text), sums=["n"])
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_of_a_table_with_another_separator_it_is_said_that_this_is_the_matter(
    warehouse: Warehouse, tmp_path: Path, mark: str, name: str
) -> None:
    with pytest.raises(SchemaDrift, match="no column 'gid'") as refused:
        carry(warehouse, table(tmp_path / "in.csv", f"gid{mark}n\nA{mark}1,5\n"), sums=["n"])
    assert refused.value.hint == f"Its columns seem to be separated by {name}: separate them by commas."


def test_keys_that_are_numbers_are_refused(warehouse: Warehouse, tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"gid": [1001], "n": [1.0]}), source)
    with pytest.raises(SchemaDrift, match="keys are text") as refused:
        carry(warehouse, source, sums=["n"])
    assert "leading zeros" in refused.value.hint


def test_a_negative_weight_is_no_weight(warehouse: Warehouse, tmp_path: Path) -> None:
    source = table(tmp_path / "in.csv", "gid,w,n\nD,-1,40\nE,1,80\n")
    rows, report = carry(warehouse, source, means=["n"], weight="w")
    assert rows["F"]["n"] == "80.0"
    assert report.set_aside[0].examples == ("D",)


def test_other_releases_are_refused_and_it_is_said_how_to_get_them(warehouse: Warehouse, tmp_path: Path) -> None:
    source = table(tmp_path / "in.csv", "gid,n\nA,1\n")
    with pytest.raises(ReleaseMissing, match=r"compare 3.6 with 4.1, not 4.0 with 4.1\.") as refused:
        carry(warehouse, source, sums=["n"], releases=("4.0", "4.1"))
    assert "--vars 'since: \"4.0\"'" in refused.value.hint


def test_where_nothing_was_before_it_is_said_what_to_do(tmp_path: Path) -> None:
    nothing = "hold one release, and nothing to compare it with"
    with compared.opened(earlier=None) as warehouse, pytest.raises(ReleaseMissing, match=nothing):
        carry(warehouse, table(tmp_path / "in.csv", "gid,n\nA,1\n"), sums=["n"])


def test_a_crosswalk_whose_shares_do_not_add_up_is_refused(tmp_path: Path) -> None:
    with compared.opened([Piece("A", "A1", 60.0), Piece("A", "A2", 40.0)]) as warehouse:
        warehouse.rows("delete from marts.admin_unit_crosswalk where to_gid = 'A2'")
        with pytest.raises(CountMismatch, match=r"n: 10 was to be carried, but 6 was, and 0 fell outside"):
            carry(warehouse, table(tmp_path / "in.csv", "gid,n\nA,10\n"), sums=["n"])


@pytest.mark.parametrize(
    ("sums", "means", "weight"),
    [(["n"], ["n"], None), (["gid"], [], None), ([], [], None), (["n"], [], "n"), ([], ["n"], "n")],
)
def test_columns_are_one_thing_only(sums: list[str], means: list[str], weight: str | None) -> None:
    with pytest.raises(UsageError):
        Columns.named("gid", sums, means, weight)


def test_the_command_says_what_became_of_the_rows(settings: Settings, tmp_path: Path, ingest: Ingest) -> None:
    compared.write(settings.home, PIECES)
    source = table(tmp_path / "in.csv", "gid,people,note\nC,400,x\nX,5,x\n")
    output = tmp_path / "out.csv"
    asked = ("reweight", str(source), "--key", "gid", "--from", "3.6", "--to", "4.1", "--sum", "people")
    code, said = ingest(*asked, "-o", str(output))
    assert code == 0
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert "people 405 300 100 5" in lines
    assert "warning: Set aside: 1 row whose key is not in 3.6: X." in lines
    assert "warning: Outside of 4.1 lies a part of 1 and all of 0 units of 3.6 that were carried." in lines
    assert f"{output}: 1 rows of 4.1, from 1 of 2 rows of 3.6." in lines
    assert "Not carried, as neither --sum nor --mean: note." in lines
    code, said = ingest(*asked, "-o", str(output))
    assert (code, "already exists" in said) == (2, True)
    code, said = ingest(*asked, "-o", str(tmp_path / "out.xlsx"))
    assert (code, "neither .csv nor .parquet" in said) == (1, True)


shares = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=4)
amounts = st.one_of(st.none(), st.floats(-1e12, 1e12, allow_subnormal=False))


@given(st.lists(st.tuples(shares, amounts), min_size=1, max_size=6), st.randoms(use_true_random=False))
@hypothesis_settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_there_and_back_totals_are_kept(parts: list[tuple[list[float], float | None]], random: object) -> None:
    """Every unit's shares add up to 1, over units of the other release and none."""
    pieces = [
        Piece(f"A{number}", random.choice(["B0", "B1", "B2", "B3", None]), area)  # type: ignore[attr-defined]
        for number, (areas, _) in enumerate(parts)
        for area in areas
    ]
    if all(value is None for _, value in parts):
        return
    size = sum(abs(value) for _, value in parts if value is not None)
    with tempfile.TemporaryDirectory() as folder, compared.opened(merged(pieces)) as warehouse:
        lines = [f"A{number},{'' if value is None else value!r}" for number, (_, value) in enumerate(parts)]
        source = table(Path(folder) / "in.csv", "\n".join(["gid,n", *lines]))
        rows, there = carry(warehouse, source, sums=["n"], output=Path(folder) / "there.csv")
        (total,) = there.totals
        known = math.fsum(value for _, value in parts if value is not None)
        assert total.carried + total.outside == pytest.approx(known, rel=0, abs=1e-9 * size)
        written = math.fsum(float(row["n"]) for row in rows.values() if row["n"])
        assert written == pytest.approx(total.carried, rel=0, abs=1e-9 * size)
        if any(row["n"] for row in rows.values()):
            back, again = carry(warehouse, Path(folder) / "there.csv", sums=["n"], releases=("4.1", "3.6"))
            returned = math.fsum(float(row["n"]) for row in back.values() if row["n"])
            assert returned + again.totals[0].outside == pytest.approx(written, rel=0, abs=1e-9 * size)


def merged(pieces: Sequence[Piece]) -> list[Piece]:
    """Return one piece for each pair of units."""
    areas: dict[tuple[str | None, str | None], float] = {}
    for piece in pieces:
        areas[piece.from_gid, piece.to_gid] = areas.get((piece.from_gid, piece.to_gid), 0.0) + piece.area_km2
    return [Piece(*pair, area) for pair, area in areas.items()]


def test_the_figures_are_those_of_tobler(tmp_path: Path) -> None:
    """Another program's areal interpolation of the same two sets of boxes, of which some lie outside of the other."""
    from tobler.area_weighted import area_interpolate

    random = np.random.default_rng(18)
    earlier, later = (
        [*product(np.cumsum(random.uniform(0.5, 2, n)), np.cumsum(random.uniform(0.5, 2, n)))] for n in (7, 6)
    )
    sides = [
        gpd.GeoDataFrame(
            {"gid": [f"{name}{at}" for at in range(len(corners))]}, geometry=boxes(corners), crs="EPSG:6933"
        )
        for name, corners in (("A", earlier), ("B", later))
    ]
    before, after = sides
    before["people"], before["income"] = random.uniform(0, 1e6, len(before)), random.uniform(1e3, 1e5, len(before))
    pieces = []
    for _, left in before.iterrows():
        common = after.geometry.intersection(left.geometry).area
        pieces += [Piece(left.gid, gid, area) for gid, area in zip(after.gid, common, strict=True) if area > 0]
        outside = left.geometry.area - common.sum()
        pieces += [Piece(left.gid, None, outside)] if outside > 1e-12 else []
    with compared.opened(pieces) as warehouse:
        source = table(tmp_path / "in.csv", before[["gid", "people", "income"]].to_csv(index=False))
        rows, report = carry(warehouse, source, sums=["people"], means=["income"])
        oracle = area_interpolate(before, after, ["people"], ["income"], allocate_total=False).assign(gid=after.gid)
        oracle = oracle[oracle.people > 0]
        assert report.partly_outside > 3
        assert numbers(rows, "people") == pytest.approx(dict(zip(oracle.gid, oracle.people, strict=True)), rel=1e-6)
        assert numbers(rows, "income") == pytest.approx(dict(zip(oracle.gid, oracle.income, strict=True)), rel=1e-6)


def boxes(corners: Sequence[tuple[float, float]]) -> list[shapely.Polygon]:
    """Return the boxes between the lines of a grid, given by its crossings."""
    xs, ys = (sorted({0.0, *axis}) for axis in zip(*corners, strict=True))
    return [
        shapely.box(west, south, east, north) for (west, east), (south, north) in product(pairwise(xs), pairwise(ys))
    ]


@pytest.mark.parametrize("releases", [("3.6", "4.1"), ("4.1", "3.6")])
@pytest.mark.parametrize("weight", [None, "people"])
@pytest.mark.parametrize("has_slivers", [True, False])
def test_the_macro_gives_the_same_numbers(
    tmp_path: Path, releases: tuple[str, str], weight: str | None, has_slivers: bool
) -> None:
    source = table(tmp_path / "in.csv", FIGURES)
    figures: dict[str, Any] = {"sums": ["people"], "means": ["income"], "weight": weight}
    select = MACRO("figures", slivers=has_slivers, backwards=releases[0] == "4.1", **figures)
    pieces = [*PIECES, Piece("B", "F", 2.0, is_sliver=True), Piece("E", None, 1.0, is_sliver=True)]
    with compared.opened(pieces) as warehouse:
        rows, report = carry(warehouse, source, releases=releases, has_slivers=has_slivers, **figures)
        warehouse.rows(f"create table figures as from read_csv('{source}', nullstr = '')")
        found = {gid: values for gid, *values in warehouse.rows(select)}
    outside = found.pop(None, None)
    (total,) = report.totals
    assert (outside[0] if outside else 0) == pytest.approx(total.outside + total.set_aside)
    assert found == {
        gid: [pytest.approx(float(value), rel=1e-12) if value else None for name, value in row.items() if name != "gid"]
        for gid, row in rows.items()
    }
