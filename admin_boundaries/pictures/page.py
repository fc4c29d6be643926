"""Complete the docs page that dbt writes: pictures, the loaded releases, phones, the dark, and colours to be read."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ingest.errors import UsageError

# What models/docs/overview.md says until it is replaced: which releases are loaded, and the pictures.
LOADED = "`make docs` writes here which releases are loaded."
MAP, TABLES, CONTENT = (
    "`make docs` draws a map here.",
    "`make docs` draws the tables and their keys here.",
    "`make docs` draws what is loaded here.",
)
FIRST = ("level_2.png", "level_1.png", "level_0.png", "level_3.png", "level_4.png", "level_5.png", "timezones.png")
TITLES = {
    "counts.svg": "Units per level, and countries with most units",
    "level_0.png": "Map of the countries",
    **{f"level_{level}.png": f"Map of the units of level {level}" for level in range(1, 6)},
    "timezones.png": "Map of the time zones",
    "entities.svg": "The marts with their primary and foreign keys",
}
TABLES_OF = "entities.svg"
MANIFEST = re.compile(r"\{manifest:(?=\{)")
MEDIA_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}

ON_THE_MAP = "[On the map](http://127.0.0.1:5556/map/{place}), which `python -m ingest map` serves."
# The marts whose pages begin with a picture, the first that there is, and with a link to what the map shows of them.
SHOWN: Mapping[str, tuple[Sequence[str], str | None]] = {
    **{f"admin_level_{level}": ((f"level_{level}.png",), f"#level={level}") for level in range(6)},
    **dict.fromkeys(("admin_units", "admin_unit_neighbours", "admin_units_simplified"), (FIRST, "")),
    **dict.fromkeys(("admin_unit_timezones", "timezone_overlaps", "timezones"), (("timezones.png",), "#colour=zone")),
    **dict.fromkeys(("internal_level_counts", "internal_country_counts"), (("counts.svg",), None)),
    **{"admin_anomalies": ((), "#colour=anomaly"), "admin_unit_changes": ((), "#colour=change")},
}
# What is wrong in the page of dbt 1.11, and what is right. A test looks for each of them in the page that dbt has.
FAULTS = (
    # It requests two files that no server has: an icon by an unfilled template, and a path of its own build.
    ('<use xlink:href="{{', '<use ng-attr-href="{{'),
    ("\"${require('./assets/favicons/favicon.ico')}\"", '"data:,"'),
    # It shows the source text of the descriptions of columns, and the one line of it that there is room for.
    ("{{ column.description }}</span>", '</span><span ng-show="!column.expanded" marked="column.description"></span>'),
    # A constraint of a column has no name and no expression.
    *(
        (
            f'<dt class="detail-label">{label}</dt>\\n                                                '
            f'<dd class="detail-value">{{{{ constraint.{name} }}}}</dd>',
            f'<dt class="detail-label" ng-if="constraint.{name}">{label}</dt>'
            f'<dd class="detail-value" ng-if="constraint.{name}">{{{{ constraint.{name} }}}}</dd>',
        )
        for label, name in (("Name", "name"), ("Expression", "expression"))
    ),
    # It has a place for the owner and the version of a table where there is none.
    ("(function(e){return void 0!==e.value}))}(t)", '(function(e){return null!=e.value&&""!==e.value}))}(t)'),
    # Its tables scroll, which the keyboard cannot do.
    ('style="max-height: 800px; overflow-y: scroll;"', 'tabindex="0" style="overflow-x: auto;"'),
    # The graph of a project has many data tests in it, and lines of almost the colour of its ground.
    ("return t||n||o}))", "return t}))"),
    (
        '("test"!=o.resource_type||!o.hasOwnProperty("test_metadata"))',
        '"test"!=o.resource_type&&"unit_test"!=o.resource_type',
    ),
    ('"target-arrow-color":"#006f8a"', '"target-arrow-color":"#8fd0dc"'),
    ('"line-color":"#006f8a"', '"line-color":"#8fd0dc"'),
    ('"target-arrow-color":"#027599"', '"target-arrow-color":"#8fd0dc"'),
    ('"line-color":"#027599"', '"line-color":"#8fd0dc"'),
    ('rankDir:"LR",rankSep:200,edgeSep:30,nodeSep:50', 'rankDir:"LR",rankSep:60,edgeSep:2,nodeSep:10'),
    (
        'padding:"12px",content:"data(label)","font-weight":300',
        'padding:"6px",content:"data(label)","font-weight":500',
    ),
    ('"font-size":"24px",shape:"roundrectangle"', '"font-size":"36px",shape:"roundrectangle"'),
    *(
        (
            f'{{"background-color":"{pale}","border-color":"{pale}"}}',
            f'{{"background-color":"{dark}","border-color":"{dark}"}}',
        )
        for pale, dark in (("#5fb825", "#3f7d14"), ("#ff694b", "#c43c22"))
    ),
)
# Each selector begins with `html` to win over dbt's own rules, which come later.
STYLE = """<style>
html .app-details img { max-width: 100%; height: auto; }
html .app-details pre { overflow-x: auto; }
html .app-menu .switches .switch .switch-label { padding-left: 7px; padding-right: 7px; font-size: 12px; }
html .app-menu .switches { margin-right: 20px; }
html .app-menu .switches .switch .switch-label .icn { display: none; }
html .app-details .detail-group { overflow: visible; white-space: normal; }
html .app-details .detail-body { display: flex; flex-wrap: wrap; row-gap: 12px; overflow: visible; }
html .app-details .detail-body { white-space: normal; }
html .app-details .table-responsive { max-height: none !important; overflow: auto visible !important; }
html .app-details .column-expanded div:has(> .detail-group):not(:has(dl)) { display: none; }
html .app-details .column-row > td { vertical-align: top; }
html .app-details .column-row > td:nth-child(3) {
  white-space: normal !important; max-width: none !important; overflow: visible !important;
  width: 50%; min-width: 260px;
}
html .app-details .column-row p { margin: 0; }
html .app :is(.filename-normal, .switch-label.btn, .detail-label, th, small, [title="Primary Key"]) { color: #56616a; }
html .app input::placeholder { color: #56616a; opacity: 1; }
html .app-content a:not(.btn) { color: #00717a; }
html .app-details :is(p, td, dd) a { text-decoration: underline; }
html .app-details .token.comment { color: #6b6b5f; }
html .app-details .token.keyword { color: #00719b; }
@media (prefers-color-scheme: dark) {
  html { background: #fff; filter: invert(0.91) hue-rotate(180deg); }
  html canvas { filter: invert(1) hue-rotate(180deg); }
}
@media (max-width: 760px) {
  html body { min-width: 0; }
  html .app.app-row { flex-direction: column; position: static; width: auto; height: auto; min-width: 0; }
  html .app-menu.app-column, html .app-content.app-column { width: 100%; height: auto; display: block; min-width: 0; }
  html .app-menu.app-column { max-height: 210px; overflow: hidden auto; border-bottom: 1px solid #d5dbe1; }
  html .app-menu > .app-header { display: none; }
  html .app-body, html .app-scroll { position: static; width: auto; height: auto; overflow: visible; }
  html .app-details .app-frame, html .app-details .app-body { min-width: 0; }
  html .app-content > .app-body { overflow-x: clip; }
  html .app-content .app-pad { padding-left: 14px; padding-right: 14px; }
  html .app-details table { display: block; overflow-x: auto; }
  html .app-details table:has(.column-row) thead { display: none; }
  html .app-details table:has(.column-row) :is(tbody, tr, .column-expanded) { display: block; }
  html .app-details .column-row { border-top: 1px solid #e4e8ec; padding: 8px 0; }
  html .app-details .column-row > td { display: inline-block; padding: 0 10px 0 0; }
  html .app-details .column-row > td:nth-child(1) { font-weight: bold; }
  html .app-details .column-row > td:nth-child(3) { display: block; width: auto; min-width: 0; padding: 2px 0 4px; }
  html .app-details .column-expanded { white-space: normal !important; }
  html .app-details .column-expanded > div { margin-left: 4px; padding: 0 8px !important; }
}
</style></head>"""


def finish(page: Path, pictures: Sequence[Path], loaded: str) -> None:
    """Embed pictures in a docs page, so that the page is a single file.

    Parameters
    ----------
    page : Path
        ``target/static_index.html``, as ``dbt docs generate --static`` writes it. A ``manifest.json`` beside it gets
        the same pictures: ``dbt docs serve`` copies a page of dbt's own, which reads its texts from there.
    pictures : sequence of Path
        Files of pictures, of the names in `TITLES`.
    loaded : str
        Markdown that replaces `LOADED`.

    Raises
    ------
    UsageError
        When the page does not exist, or has no place for the pictures.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"There is no page {page}.", "Run `dbt docs generate --static`, which writes it.") from error
    if CONTENT not in text:
        raise UsageError(f"{page} has no place for pictures.", "Run `dbt docs generate --static` to write it again.")
    shown = {path.name: f"![{TITLES[path.name]}]({_data_uri(path)})" for path in pictures}
    text = _filled(text, shown, loaded)
    for wrong, right in FAULTS:
        text = text.replace(wrong, right)
    text = text.replace("</head>", STYLE, 1)
    place = MANIFEST.search(text)
    if place:
        manifest, end = json.JSONDecoder().raw_decode(text, place.end())
        text = text[: place.end()] + _with_maps(manifest, shown) + text[end:]
    _write(page, text)
    beside = page.with_name("manifest.json")
    if beside.exists():
        manifest = json.loads(_filled(beside.read_text(encoding="utf-8"), shown, loaded))
        _write(beside, _with_maps(manifest, shown))


def _filled(text: str, shown: Mapping[str, str], loaded: str) -> str:
    """Return a text that holds the overview as JSON, with the pictures in their places."""
    first = next((name for name in FIRST if name in shown), "")
    rest = [shown[name] for name in TITLES if name in shown and name not in (first, TABLES_OF)]
    for place, markdown in (
        *((LOADED, loaded), (MAP, shown.get(first, "")), (TABLES, shown.get(TABLES_OF, ""))),
        (CONTENT, "\n\n".join(rest)),
    ):
        text = text.replace(place, json.dumps(markdown)[1:-1])
    return text


def _with_maps(manifest: dict[str, Any], shown: Mapping[str, str]) -> str:
    """Return a manifest in which marts begin with their pictures and links; in the database, they do not."""
    for node in manifest["nodes"].values():
        if node.get("resource_type") != "model" or node["name"] not in SHOWN:
            continue
        names, place = SHOWN[node["name"]]
        picture = next((shown[name] for name in names if name in shown), None)
        link = None if place is None else ON_THE_MAP.format(place=place)
        node["description"] = "\n\n".join(filter(None, (picture, link, node.get("description"))))
    return json.dumps(manifest)


def _write(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _data_uri(path: Path) -> str:
    return f"data:{MEDIA_TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
