"""Complete the docs page that dbt writes: pictures, the loaded releases, and a layout for phones."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path

from ingest.errors import UsageError

FOLDER = "docs/images"  # the folder of the pictures in models/docs/overview.md
LOADED = "`make docs` writes here which releases are loaded."  # in the same file, to be replaced
MEDIA_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}

# dbt 1.11's page requests two files that no server has: an icon by an unfilled template, and a path of its own build.
FAULTS = (
    ('<use xlink:href="{{', '<use ng-attr-href="{{'),
    ("\"${require('./assets/favicons/favicon.ico')}\"", '"data:,"'),
)
# Each selector begins with `html` to win over dbt's own rules, which come later.
STYLE = """<style>
html .app-details img { max-width: 100%; height: auto; }
html .app-details pre { overflow-x: auto; }
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
}
</style></head>"""


def finish(page: Path, pictures: Sequence[Path], loaded: str) -> None:
    """Embed pictures in a docs page, so that the page is a single file.

    Parameters
    ----------
    page : Path
        ``target/static_index.html``, as ``dbt docs generate --static`` writes it.
    pictures : sequence of Path
        Files of the pictures; the page refers to them as ``docs/images/<name>``.
    loaded : str
        Markdown that replaces `LOADED`.

    Raises
    ------
    UsageError
        When the page does not exist, or refers to none of the pictures.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"There is no page {page}.", "Run `dbt docs generate --static`, which writes it.") from error
    by_name = {path.name: path for path in pictures}
    address = re.compile(rf"{FOLDER}/({'|'.join(map(re.escape, by_name))})")
    text, count = address.subn(lambda match: _data_uri(by_name[match[1]]), text)
    if not count:
        raise UsageError(
            f"{page} refers to none of the pictures.", "Run `dbt docs generate --static` to write it again."
        )
    text = text.replace(LOADED, json.dumps(loaded)[1:-1])  # the page holds its texts as JSON
    for wrong, right in FAULTS:
        text = text.replace(wrong, right)
    text = text.replace("</head>", STYLE, 1)
    draft = page.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(page)


def _data_uri(path: Path) -> str:
    return f"data:{MEDIA_TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
