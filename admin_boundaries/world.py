"""The published boundaries of a dataset, open for reading: what ``admin_boundaries.open()`` returns.

The examples are of the bundled sample, and are tested on it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from admin_boundaries import edition, what_changed
from admin_boundaries.compared_releases import CROSSWALK, compared
from admin_boundaries.edition import Edition
from admin_boundaries.locate import COLUMNS, check_degrees
from admin_boundaries.marts import relation
from admin_boundaries.rows import Rows, with_plain_geometry
from admin_boundaries.units import LEVELS, TOLERANCE, Condition, Marts, Shape, Unit, Units
from admin_boundaries.warehouse import Warehouse, known_marts, open_warehouse
from ingest.errors import UnitUnknown, UsageError, did_you_mean
from ingest.settings import Settings, build_command, settings_of_reader

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from admin_boundaries.find import Name

SIMILAR = 5_000  # keys that a wrong one is compared with


class MartsStale(UserWarning):
    """Other data has been published than the marts were built from."""


@dataclass(frozen=True)
class Place:
    """What is at a point.

    Attributes
    ----------
    status : str
        ``one unit``, ``several units`` on a border or where the source overlaps, or ``no unit``.
    gid, path : str or None
        Key and names of the deepest unit; the first by key of several.
    gids : tuple of str
        Keys of all of them.
    tzid : str or None
        The time zone.
    tzids : tuple of str
        All of them.
    answer : dict
        All columns of the answer; see docs/locate.md.
    """

    status: str
    gid: str | None
    path: str | None
    gids: tuple[str, ...]
    tzid: str | None
    tzids: tuple[str, ...]
    answer: Mapping[str, Any] = field(repr=False)
    _world: World = field(repr=False, compare=False)

    @property
    def unit(self) -> Unit | None:
        """The unit; None if there is none."""
        return self._world[self.gid] if self.gid else None


class World:
    """The boundaries of a dataset, open for reading. Use one in one thread at a time.

    Each question is answered by one build of the marts. On PostgreSQL, the next may be answered by a newer one.

    Parameters
    ----------
    settings : Settings
        Of the target and the dataset.

    Attributes
    ----------
    settings : Settings
        The same.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._stack = ExitStack()
        self._warehouse: Warehouse | None = self._stack.enter_context(open_warehouse(settings))
        try:
            self._marts = Marts(self._opened, known_marts(self._warehouse))
            self.editions: list[Edition] = self._warehouse.editions()
        except BaseException:
            self.close()
            raise

    def _opened(self) -> Warehouse:
        if self._warehouse is None:
            raise UsageError("This world is closed.", "Open it again: admin_boundaries.open().")
        return self._warehouse

    def close(self) -> None:
        """Close the connection. What was read stays."""
        self._warehouse = None
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        releases = ", ".join(f"{each.dataset} {each.run.release}" for each in self.editions if each.run)
        return f"<World on {self.settings.target}: {releases or self.settings.boundaries}>"

    @property
    def warehouse(self) -> Warehouse:
        """The connection itself, for what is not here.

        Raises
        ------
        UsageError
            When the world is closed.
        """
        return self._opened()

    @property
    def marts(self) -> dict[str, tuple[str, ...]]:
        """The columns of each mart, by its name."""
        return {name: mart.columns for name, mart in self._marts.known.items()}

    def units(
        self,
        level: int | Sequence[int] | None = None,
        country: str | Sequence[str] | None = None,
        *,
        columns: Sequence[str] | None = None,
        geometry: Shape = "full",
        tolerance: float = TOLERANCE,
    ) -> Units:
        """Return units, which are read when they are asked for.

        Parameters
        ----------
        level : int or sequence of int, optional
            Their level, 0 to 5; all if left out.
        country : str or sequence of str, optional
            Key of their country, or several; all if left out.
        columns : sequence of str, optional
            Which columns to read; ``gid`` and ``admin_level`` always come first.
        geometry : {"full", "simplified", None}
            Which geometry to add as column ``geom``.
        tolerance : float
            Of simplified geometry, in degrees.

        Returns
        -------
        Units

        Raises
        ------
        UsageError
            When there is no such level, column, geometry or tolerance.
        UnitUnknown
            When there is no such country.

        Examples
        --------
        >>> states = world.units(level=1, country="DZA", columns=["name", "area_km2"], geometry=None)
        >>> len(states)
        69
        >>> states.arrow().slice(0, 1).to_pylist()
        [{'gid': 'DZA.10_1', 'admin_level': 1, 'name': 'Béchar', 'area_km2': 49617.78...}]
        >>> world.units(level=1, country="DZA", geometry="simplified").to_geopandas().geom_type.unique().tolist()
        ['MultiPolygon']
        """
        levels = LEVELS if level is None else [level] if isinstance(level, int) else list(level)
        for each in levels:
            if each not in LEVELS:
                raise UsageError(f"There is no level {each!r}.", "Levels are 0 to 5.")
        if not levels:
            raise UsageError("No level is chosen.", "Leave it out for all levels.")
        condition = Condition()
        if country is not None:
            countries = [country] if isinstance(country, str) else list(country)
            self._check_countries(countries)
            condition = condition.and_in("country_gid", countries) if countries else Condition("false")
        return Units(self._marts, sorted(set(levels)), condition, columns, geometry, tolerance)

    def __getitem__(self, gid: str) -> Unit:
        """Return a unit by its key.

        Raises
        ------
        UnitUnknown
            When there is none; it is a `KeyError`, too.

        Examples
        --------
        >>> unit = world["PRI.65_1"]
        >>> unit, unit.level, unit.parent
        (Unit('PRI.65_1', 'Puerto Rico > San Juan'), 1, Unit('PRI', 'Puerto Rico'))
        >>> [each.tzid for each in unit.zones]
        ['America/Puerto_Rico']
        >>> unit.neighbours[0].unit.name
        'Guaynabo'
        >>> len(unit.parent.children()), world["DZA.1.1_1"].ancestors
        (78, (Unit('DZA', 'Algeria'), Unit('DZA.1_1', 'Algeria > Adrar')))
        """
        found = self._marts.units("where facts.gid = ?", [gid]) if isinstance(gid, str) else []
        if not found:
            raise UnitUnknown(f"No unit has the key {gid!r}.", self._similar(str(gid)))
        return found[0]

    def __contains__(self, gid: object) -> bool:
        return isinstance(gid, str) and bool(self._marts.units("where facts.gid = ?", [gid]))

    def find(self, name: str, limit: int = 20) -> list[Name]:
        """Find units by key, code, or name or its beginning, in any known spelling; accents do not count.

        Parameters
        ----------
        name : str
            The name, or how it begins; or a key or a code, such as ``US-CA``.
        limit : int
            How many to return at most.

        Returns
        -------
        list of Name
            Keys and codes first, then whole names; none if nobody is called so.

        Examples
        --------
        >>> [(found.gid, found.path) for found in world.find("san juan", limit=2)]
        [('PRI.65_1', 'Puerto Rico > San Juan'), ('USA.6.57_1', 'United States > Colorado > San Juan')]
        """
        if limit < 1:
            raise UsageError(f"A limit of {limit} leaves nothing.", "Give 1 or more.")
        warehouse = self._opened()
        with warehouse.expected_failures():
            return warehouse.find(name, limit)

    def locate(self, lon: float, lat: float) -> Place:
        """Return the unit and the time zone at a point.

        Parameters
        ----------
        lon, lat : float
            Degrees on WGS 84.

        Raises
        ------
        UsageError
            When they are out of range, as when they are swapped.

        Examples
        --------
        >>> place = world.locate(-66.1, 18.4)
        >>> place.status, place.path, place.tzid
        ('one unit', 'Puerto Rico > San Juan', 'America/Puerto_Rico')
        >>> place.unit.parent.name
        'Puerto Rico'
        """
        check_degrees(lon, lat)
        warehouse = self._opened()
        with warehouse.expected_failures():
            answer = dict(zip(COLUMNS, warehouse.locate(float(lon), float(lat)), strict=True))
        gids, tzids = (tuple(answer[name] or ()) for name in ("gids", "tzids"))
        return Place(answer["status"], answer["gid"], answer["path"], gids, answer["tzid"], tzids, answer, self)

    def locate_many(self, points: Any, lats: npt.ArrayLike | None = None, *, nearest: str | None = None) -> pa.Table:
        """Return the units and time zones at many points.

        More than 50,000 are answered from an index, which is made once per build, in a minute or two for the world.

        Parameters
        ----------
        points : table or array
            A table of Arrow, pandas, GeoPandas, Polars or anything else that gives Arrow, with columns ``lon`` and
            ``lat`` or with points; or the longitudes alone, in degrees on WGS 84.
        lats : array, optional
            The latitudes, if ``points`` are the longitudes.
        nearest : str, optional
            For points in no unit, add the nearest within this distance, such as ``25km``. That needs the index.

        Returns
        -------
        pyarrow.Table
            The columns of the table, if there is one, and those of the answer; see docs/locate.md.

        Raises
        ------
        SchemaDrift
            When there are no coordinates, or none that can be used.
        MartsReplaced
            When a build replaced the marts meanwhile.

        Examples
        --------
        >>> world.locate_many([-66.1, -30.0], [18.4, 40.0]).select(["located_status", "gid"]).to_pylist()
        [{'located_status': 'one unit', 'gid': 'PRI.65_1'}, {'located_status': 'no unit', 'gid': None}]
        """
        from admin_boundaries import points as many
        from admin_boundaries.locate.distance import metres_of
        from admin_boundaries.locate.index import Index

        metres = None if nearest is None else metres_of(nearest)
        table = many.table_of(points, lats)
        warehouse = self._opened()
        with warehouse.expected_failures():
            answers = many.locate_table(warehouse, Index(self.settings, warehouse), table, nearest=metres)
        if lats is not None:
            return answers
        for each in answers.schema:
            table = table.append_column(each, answers.column(each.name))
        return table

    def sql(self, statement: str) -> Rows:
        """Return the rows of a statement of SQL, as the target understands it. Nothing can be changed.

        Raises
        ------
        QueryFailed
            When the rows are read, if the database refuses the statement.

        Examples
        --------
        >>> world.sql("select count(*) as units from marts.admin_units").arrow().to_pylist()
        [{'units': 5658}]
        >>> world.sql("select gid, geom from marts.admin_level_0")
        <Rows, not read yet: .to_pandas(), .to_geopandas(), .arrow() or .reader()>
        """
        return self._rows(lambda warehouse: with_plain_geometry(warehouse.query(statement)))

    def changes(
        self,
        *,
        country: str | Sequence[str] = (),
        level: int | None = None,
        types: Sequence[str] = (),
    ) -> Rows:
        """Return what changed since the release before, as rows of ``admin_unit_changes``.

        Parameters
        ----------
        country : str or sequence of str
            Key of the country, or several; all if empty.
        level : int, optional
            Only this level.
        types : sequence of str
            Values of ``change_type``, such as ``split``; all but ``kept`` if empty.

        Raises
        ------
        ReleaseMissing
            When the marts compare no releases.
        UsageError
            When there is no such country or type.
        """
        wanted = what_changed.Wanted((country,) if isinstance(country, str) else tuple(country), level, tuple(types))
        what_changed.check_types(types)
        with self._opened().expected_failures():
            what_changed.check(self._opened(), wanted)
        return self._rows(lambda warehouse: what_changed.rows(warehouse, wanted), "change_key")

    def crosswalk(self, *, level: int | None = None, slivers: bool = True) -> Rows:
        """Return which ground of the release before is where now, as rows of ``admin_unit_crosswalk``.

        Parameters
        ----------
        level : int, optional
            Only this level.
        slivers : bool
            Whether to return also what units have in common only because borders were drawn anew.

        Raises
        ------
        ReleaseMissing
            When the marts compare no releases.
        """
        with self._opened().expected_failures():
            _, known = compared(self._opened())
        where = "true" if slivers else "not is_sliver"
        where, values = (where, ()) if level is None else (f"{where} and admin_level = ?", (level,))
        query = f"select * from {relation(known[CROSSWALK])} where {where}"  # noqa: S608  it contains no value
        return self._rows(lambda warehouse: warehouse.stream(query, values), "crosswalk_key")

    def _rows(self, read: Any, *order: str) -> Rows:
        return Rows(lambda: read(self._opened()), lambda: self._opened().expected_failures(), order)

    def _check_countries(self, countries: Sequence[str]) -> None:
        query = f"select gid, name from {self._marts.named('admin_level_0')}"  # noqa: S608  it contains no value
        names = dict(self._marts.rows(query))
        for country in countries:
            if country not in names:
                called = [gid for gid, name in names.items() if str(name).casefold() == str(country).casefold()]
                hint = f"Did you mean {called[0]!r}?" if called else did_you_mean(str(country).upper(), names)
                raise UnitUnknown(f"{country!r} is no country in the marts of {self.settings.boundaries}.", hint)

    def _similar(self, gid: str) -> str:
        """Return a hint for a key that nobody has: one that is similar, or the unit of this name."""
        above, dot, _ = gid.upper().rpartition(".")
        begins = above + dot if dot else gid.upper()[:2]
        relation_ = self._marts.named("admin_units")
        query = f"select gid from {relation_} where substr(upper(gid), 1, ?) = ? limit {SIMILAR}"  # noqa: S608
        known = [each for (each,) in self._marts.rows(query, [len(begins), begins])]
        near = did_you_mean(gid.upper(), known)
        if near.startswith("Did you mean"):
            return near
        found = self.find(gid, 1)
        return f"Did you mean {found[0].gid!r}, {found[0].path}?" if found else "Look it up by name with find()."


def open_world(target: str = "", dataset: str = "", *, home: str | Path | None = None) -> World:
    """Open the published boundaries of a dataset for reading.

    Parameters
    ----------
    target : str
        ``embedded`` or ``postgres``; by default ``WAREHOUSE_TARGET``, else ``embedded``. The connection to PostgreSQL
        is that of libpq's variables: ``PGHOST``, ``PGUSER`` …
    dataset : str
        The dataset; by default ``BOUNDARIES``, else ``gadm``.
    home : str or Path, optional
        Folder of the embedded warehouse; by default ``WAREHOUSE_HOME``, else ``.warehouse`` of the project.

    Returns
    -------
    World
        A context manager; `World.close` ends it as well.

    Raises
    ------
    MartsMissing
        When the marts have not been built.
    TargetUnavailable
        When the database does not answer.
    SettingsError
        When a variable is invalid.

    Warns
    -----
    MartsStale
        When other data has been published than the marts were built from.

    Examples
    --------
    >>> import admin_boundaries as ab
    >>> with ab.open() as world:
    ...     len(world.units(level=1))
    222
    """
    opened = World(settings_of_reader(target, dataset, home))
    for text in edition.faults(opened.editions):
        hint = f"Run `{build_command(opened.settings.boundaries)}`."
        warnings.warn(f"{text} {hint}", MartsStale, stacklevel=2)
    return opened
