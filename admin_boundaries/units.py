"""Units of the marts as objects: many of them as rows, one of them with its relations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from admin_boundaries.marts import GEOMETRY, Mart, quoted, relation
from admin_boundaries.rows import Rows
from admin_boundaries.warehouse import Warehouse, how_to_make
from ingest.errors import MartsMissing, UsageError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa
    from shapely.geometry.base import BaseGeometry

Shape: TypeAlias = Literal["full", "simplified"] | None
SHAPES = ("full", "simplified", None)
TOLERANCE = 0.01
LEVELS = range(6)
FIRST = ("gid", "admin_level")
OF_UNIT = (*FIRST, "parent_gid", "country_gid", "name", "path", "area_km2", "child_count", "is_leaf")


class Neighbour(NamedTuple):
    """A unit of the same level, and how long the border with it is."""

    unit: Unit
    border_km: float


class Zone(NamedTuple):
    """A time zone, and how much of a unit it covers.

    A share is 0 to 1. ``is_primary`` marks the zone of most of the unit, ``is_border_sliver`` one that only touches it
    because the two maps draw a border differently.
    """

    tzid: str
    is_primary: bool
    is_border_sliver: bool
    area_share: float | None


@dataclass(frozen=True)
class Marts:
    """What units are read from.

    Attributes
    ----------
    opened : callable
        Returns the warehouse; raises `UsageError` once it is closed.
    known : mapping of str to Mart
        The marts by name.
    """

    opened: Callable[[], Warehouse]
    known: Mapping[str, Mart]

    def named(self, name: str) -> str:
        """Return how SQL refers to a mart.

        Raises
        ------
        MartsMissing
            When it has not been built.
        """
        if name not in self.known:
            raise MartsMissing(f"The marts lack {name}.", how_to_make(self.opened()))
        return relation(self.known[name])

    def rows(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query; ``?`` stands for a parameter."""
        warehouse = self.opened()
        with warehouse.expected_failures():
            return warehouse.rows(query, parameters)

    def units(self, rest: str, parameters: Sequence[object]) -> list[Unit]:
        """Return units, by what follows ``select … from admin_units as facts`` in a query."""
        columns = ", ".join(f"facts.{name}" for name in OF_UNIT)
        query = f"select {columns} from {self.named('admin_units')} as facts {rest}"  # noqa: S608  it contains no value
        return [Unit(*(*row, self)) for row in self.rows(query, parameters)]

    def tolerance(self, wanted: float) -> float:
        """Return a tolerance of simplified geometry as the mart has it.

        Raises
        ------
        UsageError
            When it has no such.
        """
        query = f"select distinct tolerance_degrees from {self.named('admin_units_simplified')} order by 1"  # noqa: S608
        known = [float(each) for (each,) in self.rows(query)]
        for each in known:
            if math.isclose(each, wanted):
                return each
        raise UsageError(f"No geometry is simplified to {wanted} degrees.", f"Known: {', '.join(map(str, known))}.")


@dataclass(frozen=True)
class Condition:
    """Which rows of ``admin_units`` are meant, in SQL; ``?`` stands for a parameter."""

    sql: str = "true"
    parameters: tuple[object, ...] = ()

    def and_in(self, column: str, values: Sequence[object]) -> Condition:
        """Return the condition that also asks for one of several values in a column."""
        marks = ", ".join("?" * len(values))
        return Condition(f"{self.sql} and facts.{column} in ({marks})", (*self.parameters, *values))


class Units(Rows):
    """Units, as rows that are read when they are asked for.

    ``len(units)`` counts them, ``for unit in units`` gives them as objects, without their geometry. `arrow`,
    `to_pandas` and `to_geopandas` return them by level and key, `reader` in no order.

    Parameters
    ----------
    marts : Marts
        What they are read from.
    levels : sequence of int
        The levels that they may be of.
    condition : Condition
        Which of them.
    columns : sequence of str, optional
        Columns of ``admin_level_N`` and ``admin_units``; ``gid`` and ``admin_level`` always come first. By default
        all that the levels have, and ``path``.
    geometry : {"full", "simplified", None}
        Which geometry to add, as column ``geom``.
    tolerance : float
        Of simplified geometry, in degrees.

    Raises
    ------
    UsageError
        When there is no such column, geometry or tolerance.
    MartsMissing
        When there is no simplified geometry.
    """

    def __init__(
        self,
        marts: Marts,
        levels: Sequence[int],
        condition: Condition,
        columns: Sequence[str] | None = None,
        geometry: Shape = "full",
        tolerance: float = TOLERANCE,
    ) -> None:
        super().__init__(self._units, lambda: marts.opened().expected_failures(), ("admin_level", "gid"))
        self._marts, self._levels, self._condition = marts, tuple(levels), condition.and_in("admin_level", levels)
        self._names = self._chosen(columns)
        if geometry not in SHAPES:
            raise UsageError(f"There is no geometry {geometry!r}.", "Known: 'full', 'simplified', None.")
        self._geometry = geometry
        self._tolerance = marts.tolerance(tolerance) if geometry == "simplified" else tolerance

    def __len__(self) -> int:
        query = f"select count(*) from {self._marts.named('admin_units')} as facts where {self._condition.sql}"  # noqa: S608
        ((count,),) = self._marts.rows(query, self._condition.parameters)
        return int(count)

    def __iter__(self) -> Iterator[Unit]:
        found = self._marts.units(f"where {self._condition.sql}", self._condition.parameters)
        return iter(sorted(found, key=lambda unit: (unit.level, unit.gid)))

    def __repr__(self) -> str:
        levels = ", ".join(map(str, self._levels))
        return f"<{len(self)} units of level {levels}: {', '.join(self._names)}>"

    def _chosen(self, columns: Sequence[str] | None) -> tuple[str, ...]:
        of_levels = dict.fromkeys(each for level in self._levels for each in self._mart(level).columns)
        of_levels.pop(GEOMETRY, None)
        if columns is None:
            return tuple(dict.fromkeys((*FIRST, "name", "path", *of_levels)))
        known = {*of_levels, *self._marts.known["admin_units"].columns}
        for name in columns:
            if name == GEOMETRY:
                raise UsageError(f"{GEOMETRY} is not chosen by name.", "Say geometry='full' or geometry='simplified'.")
            if name not in known:
                raise UsageError(f"Units have no column {name!r}.", did_you_mean(name, known))
        return tuple(dict.fromkeys((*FIRST, *columns)))

    def _mart(self, level: int) -> Mart:
        name = f"admin_level_{level}"
        self._marts.named(name)
        return self._marts.known[name]

    def _query(self, level: int) -> tuple[str, tuple[object, ...]]:
        """Return the query of a level and its parameters."""
        mart, warehouse = self._mart(level), self._marts.opened()
        sources = {
            **dict.fromkeys(self._marts.known["admin_units"].columns, "facts.{}"),
            **dict.fromkeys(mart.columns, "units.{}"),
        }
        selected = [
            f"{sources.get(name, 'cast(null as text)').format(quoted(name))} as {quoted(name)}" for name in self._names
        ]
        joins, parameters = [f"inner join {self._marts.named('admin_units')} as facts on units.gid = facts.gid"], []
        if self._geometry == "full":
            selected.append(f"{warehouse.as_wkb}(units.{GEOMETRY}) as {GEOMETRY}")
        if self._geometry == "simplified":
            selected.append(f"{warehouse.as_wkb}(shapes.{GEOMETRY}) as {GEOMETRY}")
            joins.append(
                f"left join {self._marts.named('admin_units_simplified')} as shapes "
                "on units.gid = shapes.gid and shapes.tolerance_degrees = ?"
            )
            parameters.append(self._tolerance)
        query = (
            f"select {', '.join(selected)} from {relation(mart)} as units {' '.join(joins)} "  # noqa: S608
            f"where {self._condition.sql} and facts.admin_level = {level}"
        )
        return query, (*parameters, *self._condition.parameters)

    def _units(self) -> pa.RecordBatchReader:
        import pyarrow as pa

        from admin_boundaries.geometry import marked

        warehouse, (first, *others) = self._marts.opened(), self._levels
        reader = warehouse.stream(*self._query(first))
        schema = pa.schema([marked(each.name) if each.name == GEOMETRY else each for each in reader.schema])

        def batches() -> Iterator[pa.RecordBatch]:
            yield from (_like(batch, schema) for batch in reader)
            for level in others:
                yield from (_like(batch, schema) for batch in warehouse.stream(*self._query(level)))

        return pa.RecordBatchReader.from_batches(schema, batches())


@dataclass(frozen=True, repr=False)
class Unit:
    """A unit. Its relations and its geometry are read when they are asked for.

    Attributes
    ----------
    gid : str
        The key.
    level : int
        0 for a country, up to 5.
    parent_gid, country_gid : str or None
        Keys of the unit above, and of the one at the top.
    name, path : str
        The name, and all names from the country to it: ``Puerto Rico > San Juan``.
    area_km2 : float
        On the ellipsoid.
    child_count : int
        Units that have it as their parent.
    is_leaf : bool
        Whether there is none.
    """

    gid: str
    level: int
    parent_gid: str | None
    country_gid: str | None
    name: str
    path: str
    area_km2: float
    child_count: int
    is_leaf: bool
    _marts: Marts = field(compare=False)

    def __repr__(self) -> str:
        return f"Unit({self.gid!r}, {self.path!r})"

    def children(
        self, columns: Sequence[str] | None = None, geometry: Shape = "full", tolerance: float = TOLERANCE
    ) -> Units:
        """Return the units that have this one as their parent; see `Units`."""
        condition = Condition().and_in("parent_gid", [self.gid])
        query = f"select distinct admin_level from {self._marts.named('admin_units')} as facts where {condition.sql}"  # noqa: S608
        levels = [level for (level,) in self._marts.rows(query, condition.parameters)]
        return Units(self._marts, sorted(levels) or [min(self.level + 1, 5)], condition, columns, geometry, tolerance)

    @property
    def parent(self) -> Unit | None:
        """The unit above; None for a country."""
        return (
            next(iter(self._marts.units("where facts.gid = ?", [self.parent_gid])), None) if self.parent_gid else None
        )

    @property
    def ancestors(self) -> tuple[Unit, ...]:
        """The units above, from the country to the parent."""
        join = f"inner join {self._marts.named('admin_unit_ancestors')} as above on facts.gid = above.ancestor_gid"
        found = self._marts.units(f"{join} where above.gid = ? and above.distance > 0", [self.gid])
        return tuple(sorted(found, key=lambda unit: unit.level))

    @property
    def neighbours(self) -> tuple[Neighbour, ...]:
        """The units of the same level that share a border with it, the longest border first.

        Raises
        ------
        MartsMissing
            When the build left them out.
        """
        neighbours = self._marts.named("admin_unit_neighbours")
        query = f"select neighbour_gid, border_km from {neighbours} where gid = ?"  # noqa: S608  it contains no value
        lengths = {gid: float(length) for gid, length in self._marts.rows(query, [self.gid])}
        within = f"where facts.gid in (select neighbour_gid from {neighbours} where gid = ?)"  # noqa: S608
        found = [Neighbour(unit, lengths[unit.gid]) for unit in self._marts.units(within, [self.gid])]
        return tuple(sorted(found, key=lambda each: (-each.border_km, each.unit.gid)))

    @property
    def zones(self) -> tuple[Zone, ...]:
        """The time zones that it lies in, that of most of it first."""
        columns, mart = ", ".join(Zone._fields), self._marts.named("admin_unit_timezones")
        query = f"select {columns} from {mart} where gid = ?"  # noqa: S608  it contains no value
        found = [Zone(*row) for row in self._marts.rows(query, [self.gid])]
        return tuple(sorted(found, key=lambda zone: (not zone.is_primary, -(zone.area_share or 0), zone.tzid)))

    @property
    def geometry(self) -> BaseGeometry:
        """Its geometry as published: longitude and latitude on WGS 84."""
        return self._shape(f"admin_level_{self.level}", "gid = ?", [self.gid])

    def simplified(self, tolerance: float = TOLERANCE) -> BaseGeometry:
        """Return its geometry for a map, whose borders fit those of its neighbours.

        Parameters
        ----------
        tolerance : float
            In degrees; which there are is said where there is none such.

        Raises
        ------
        MartsMissing
            When the build left simplified geometry out.
        """
        values = [self.gid, self._marts.tolerance(tolerance)]
        return self._shape("admin_units_simplified", "gid = ? and tolerance_degrees = ?", values)

    def _shape(self, mart: str, where: str, values: Sequence[object]) -> BaseGeometry:
        import shapely

        as_wkb = f"{self._marts.opened().as_wkb}({GEOMETRY})"
        query = f"select {as_wkb} from {self._marts.named(mart)} where {where}"  # noqa: S608  it contains no value
        ((wkb,),) = self._marts.rows(query, values)
        return shapely.from_wkb(bytes(wkb))

    @property
    def attributes(self) -> dict[str, Any]:
        """All that ``admin_level_N`` says of it, its geometry left out: local names, type, codes, licence …"""  # noqa: D400
        name = f"admin_level_{self.level}"
        relation_ = self._marts.named(name)
        columns = [column for column in self._marts.known[name].columns if column != GEOMETRY]
        query = f"select {', '.join(map(quoted, columns))} from {relation_} where gid = ?"  # noqa: S608
        (row,) = self._marts.rows(query, [self.gid])
        return dict(zip(columns, row, strict=True))


def _like(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch with the types of a schema."""
    import pyarrow as pa

    columns = [
        (column.storage if isinstance(column, pa.ExtensionArray) else column).cast(each.type)
        for column, each in zip(batch.columns, schema, strict=True)
    ]
    return pa.record_batch(columns, schema=schema)
