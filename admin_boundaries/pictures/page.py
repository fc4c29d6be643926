"""Complete the docs page that dbt writes: pictures, the loaded releases, phones, the dark, and colours to be read."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

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
MANIFEST = re.compile(r"\{manifest:(?=\{)")
MEDIA_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}

# The marts whose pages begin with a picture.
SHOWN = {
    **{f"admin_level_{level}": f"level_{level}.png" for level in range(6)},
    **{"timezones": "timezones.png", "internal_level_counts": "counts.svg"},
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
html .app-menu .switch-label { padding-left: 7px; padding-right: 7px; font-size: 12px; }
html .app-menu .switch-label .icn { display: none; }
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
        ``target/static_index.html``, as ``dbt docs generate --static`` writes it. An ``index.html`` beside it, which
        ``dbt docs serve`` opens, becomes the same.
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
    tables = shown.pop("entities.svg", "")
    first = next((name for name in FIRST if name in shown), "")
    rest = [shown[name] for name in TITLES if name in shown and name != first]
    for place, markdown in (
        *((LOADED, loaded), (MAP, shown.get(first, "")), (TABLES, tables)),
        (CONTENT, "\n\n".join(rest)),
    ):
        text = text.replace(place, json.dumps(markdown)[1:-1])  # the page holds its texts as JSON
    for wrong, right in FAULTS:
        text = text.replace(wrong, right)
    text = _with_maps(text.replace("</head>", STYLE, 1), shown)
    served = page.with_name("index.html")
    for each in {page, served} if served.exists() else {page}:
        draft = each.with_suffix(".draft")
        draft.write_text(text, encoding="utf-8")
        draft.replace(each)


def _with_maps(text: str, shown: Mapping[str, str]) -> str:
    """Return a page in which the descriptions of marts begin with their pictures; in the database, they do not."""
    place = MANIFEST.search(text)
    if place is None:
        return text
    manifest, end = json.JSONDecoder().raw_decode(text, place.end())
    for node in manifest["nodes"].values():
        picture = shown.get(SHOWN.get(node["name"], "")) if node["resource_type"] == "model" else None
        if picture:
            node["description"] = f"{picture}\n\n{node['description']}"
    return text[: place.end()] + json.dumps(manifest) + text[end:]


def _data_uri(path: Path) -> str:
    return f"data:{MEDIA_TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
