"""Run the cells of docs/tour.ipynb and keep what they show: python scripts/run_tour.py, with the sample built.

Jupyter itself would do the same with thirty packages more, of which nothing else here needs one.
"""

from __future__ import annotations

import ast
import base64
import io
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

from ingest.settings import PROJECT_ROOT

TOUR = PROJECT_ROOT / "docs" / "tour.ipynb"


def outputs(notebook: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Return what each cell of code shows, as the format of notebooks has it: the value of its last expression."""
    mpl.use("agg")
    names: dict[str, Any] = {}
    return [_shown("".join(cell["source"]), names) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _shown(source: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "tour", "exec"), names)  # noqa: S102  it is the notebook of this repository
    value = eval(compile(ast.Expression(last.value), "tour", "eval"), names) if last else None  # type: ignore[attr-defined]  # noqa: S307
    if value is None:
        return []
    data: dict[str, Any] = {"text/plain": repr(value).splitlines(keepends=True)}
    if hasattr(value, "savefig"):
        picture = io.BytesIO()
        value.savefig(picture, format="png", dpi=60, metadata={"Software": None})
        data = {"image/png": base64.b64encode(picture.getvalue()).decode(), "text/plain": ["<Figure>"]}
    return [{"output_type": "execute_result", "data": data, "metadata": {}}]


def main(path: Path = TOUR) -> None:
    """Write the outputs into the notebook."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, (cell, shown) in enumerate(zip(code, outputs(notebook), strict=True), 1):
        cell["execution_count"] = number
        cell["outputs"] = [{**each, "execution_count": number} for each in shown]
    path.write_text(json.dumps(notebook, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
