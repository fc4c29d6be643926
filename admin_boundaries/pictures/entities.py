"""Draw a diagram of the marts and their keys from dbt's manifest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from admin_boundaries.pictures import style

BOX_WIDTH, ROW, HEAD = 1.84, 0.19, 0.29  # inches
GAP_X, GAP_Y, SIDE, TOP = 0.26, 0.5, 0.25, 1.45
ARC = 0.13  # height of an arc as a share of its length
FILLS = {
    "admin": "#d8ebf1",
    "timezones": "#fdebc8",
    "quality": "#e8e3f3",
    "lookup": "#dcf2e4",
    "concordance": "#f7dfe5",
    "changes": "#eef0cb",
}
OTHER_FILL = "#e6eaed"


@dataclass(frozen=True)
class Entity:
    """A mart in the diagram.

    Attributes
    ----------
    name, folder : str
        Names of the model and of its folder.
    key : tuple of str
        Columns of the primary key.
    links : tuple of (str, str)
        Column and the mart that it refers to.
    others : int
        Number of other columns.
    """

    name: str
    folder: str
    key: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    others: int

    @property
    def rows(self) -> list[tuple[str, str]]:
        """The lines of the box: a column and its role."""
        targets: dict[str, list[str]] = {}
        for column, to in self.links:
            targets.setdefault(column, []).append(to)
        keys = [
            (column, ", ".join(["key", *("→ " + _brief(to) for to in targets.get(column, []))])) for column in self.key
        ]
        rest = [(column, "→ " + ", ".join(map(_brief, to))) for column, to in targets.items() if column not in self.key]
        return [*keys, *rest, (f"and {self.others} more columns", "")]

    @property
    def height(self) -> float:
        """Height of the box, in inches."""
        return HEAD + ROW * len(self.rows) + 0.08


def diagram(manifest: Mapping[str, Any]) -> Figure:
    """Draw the marts.

    Parameters
    ----------
    manifest : mapping
        dbt's ``manifest.json``.
    """
    found = entities(manifest)
    rows = _rows(found)
    columns = max(map(len, rows))
    width = 2 * SIDE + columns * BOX_WIDTH + (columns - 1) * GAP_X
    height = TOP + sum(max(entity.height for entity in row if entity) + GAP_Y for row in rows)
    figure = style.canvas(width, height)
    style.title(figure, "The marts and their keys", "Arrows lead from a foreign key to the table that it refers to")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    places = _places(rows, height)
    for entity in found:
        _box(axes, entity, *places[entity.name])
    for entity in found:
        for to in dict.fromkeys(to for _, to in entity.links):
            if to in places and to != entity.name:
                _arrow(axes, entity, to, places, {each.name: each for each in found})
    return figure


def entities(manifest: Mapping[str, Any]) -> list[Entity]:
    """Return the marts that a manifest declares, by name."""
    marts = {key: node for key, node in manifest["nodes"].items() if _is_mart(node)}
    links = _links(manifest, marts)
    found = []
    for identifier, node in marts.items():
        key = [each["columns"] for each in node["constraints"] if each["type"] == "primary_key"]
        own = [name for name, column in node["columns"].items() if _is_key(column)]
        columns = tuple(key[0] if key else own)
        named = {*columns, *(column for column, _ in links[identifier])}
        others = len(set(node["columns"]) - named)
        found.append(Entity(node["name"], node["fqn"][-2], columns, tuple(links[identifier]), others))
    return sorted(found, key=lambda entity: entity.name)


def _is_mart(node: Mapping[str, Any]) -> bool:
    return node["resource_type"] == "model" and "marts" in node["fqn"]


def _links(manifest: Mapping[str, Any], marts: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """Return the foreign keys of each mart: as in the database, one for each test of a relationship between two."""
    links: dict[str, list[tuple[str, str]]] = {identifier: [] for identifier in marts}
    for node in manifest["nodes"].values():
        if (node.get("test_metadata") or {}).get("name") != "relationships":
            continue
        child = node["attached_node"]
        parent = next((each for each in node["depends_on"]["nodes"] if each != child), child)
        if child in marts and parent in marts:
            links[child].append((node["column_name"], marts[parent]["name"]))
    order = {(key, column): at for key, mart in marts.items() for at, column in enumerate(mart["columns"])}
    return {key: sorted(found, key=lambda link: (order[key, link[0]], link[1])) for key, found in links.items()}


def _is_key(column: Mapping[str, Any]) -> bool:
    return any(each["type"] == "primary_key" for each in column.get("constraints", []))


def _rows(found: Sequence[Entity]) -> list[list[Entity | None]]:
    """Arrange the boxes in rows: the longest chain of references, other linked ones by folder, and the rest."""
    graph = nx.DiGraph()
    graph.add_nodes_from(entity.name for entity in found)
    graph.add_edges_from((to, entity.name) for entity in found for _, to in entity.links if to != entity.name)
    by_name = {entity.name: entity for entity in found}
    chain = [by_name[name] for name in nx.dag_longest_path(graph) if name in by_name]
    columns = max(len(chain), 4)
    rest = [entity for entity in found if entity not in chain]
    rest.sort(key=lambda entity: (not graph.degree[entity.name], entity.folder, entity.name))
    rows: list[list[Entity | None]] = [list(chain)]
    for start in range(0, len(rest), columns):
        rows.append(list(rest[start : start + columns]))
    return rows


def _places(rows: Sequence[Sequence[Entity | None]], height: float) -> dict[str, tuple[float, float]]:
    """Return the upper left corner of every box."""
    places = {}
    top = height - TOP - GAP_Y / 2
    for row in rows:
        for number, entity in enumerate(row):
            if entity:
                places[entity.name] = (SIDE + number * (BOX_WIDTH + GAP_X), top)
        top -= max(entity.height for entity in row if entity) + GAP_Y
    return places


def _box(axes: Axes, entity: Entity, left: float, top: float) -> None:
    fill = FILLS.get(entity.folder, OTHER_FILL)
    frame = FancyBboxPatch(
        (left, top - entity.height),
        BOX_WIDTH,
        entity.height,
        boxstyle="round,pad=0,rounding_size=0.06",
        facecolor="white",
        edgecolor=style.LINE,
        linewidth=0.9,
        zorder=3,
    )
    axes.add_patch(frame)
    head = Rectangle((left, top - HEAD), BOX_WIDTH, HEAD, facecolor=fill, edgecolor="none", zorder=4)
    head.set_clip_path(frame)
    axes.add_patch(head)
    axes.text(left + 0.08, top - HEAD / 2, entity.name, size=8.2, weight="bold", va="center", zorder=5)
    for number, (column, what) in enumerate(entity.rows):
        y = top - HEAD - 0.04 - ROW * (number + 0.5)
        is_key = what.startswith("key")
        is_more = not what
        axes.text(
            left + 0.08,
            y,
            column,
            size=7.2,
            va="center",
            zorder=5,
            weight="bold" if is_key else "normal",
            color=style.QUIET if is_more else style.INK,
        )
        axes.text(left + BOX_WIDTH - 0.08, y, what, size=6.4, va="center", ha="right", color=style.QUIET, zorder=5)


def _arrow(
    axes: Axes, entity: Entity, to: str, places: Mapping[str, tuple[float, float]], by_name: Mapping[str, Entity]
) -> None:
    """Draw a reference: straight to a neighbour or another row, in an arc over the boxes of the same row."""
    (x, top), (to_x, to_top) = places[entity.name], places[to]
    middle, colour = BOX_WIDTH / 2, style.QUIET
    if top == to_top:
        steps = round((x - to_x) / (BOX_WIDTH + GAP_X))
        if abs(steps) == 1:
            y = top - HEAD / 2
            start, end, bend = (
                ((x, y), (to_x + BOX_WIDTH, y), 0.0) if steps > 0 else ((x + BOX_WIDTH, y), (to_x, y), 0.0)
            )
        else:
            start, end, bend = (x + middle, top), (to_x + middle + 0.1 * steps, top), math.copysign(ARC, steps)
            colour = style.FAINT
    elif top < to_top:
        start, end, bend = (x + middle, top), (to_x + middle, to_top - by_name[to].height), 0.0
    else:
        start, end, bend = (x + middle, top - entity.height), (to_x + middle, to_top), 0.0
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=6,
            linewidth=0.8,
            color=colour,
            zorder=2,
            connectionstyle=f"arc3,rad={bend}",
            shrinkA=0,
            shrinkB=0,
        )
    )


def _brief(name: str) -> str:
    return name.removeprefix("admin_").replace("level_", "level ")
