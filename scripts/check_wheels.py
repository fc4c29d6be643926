"""Say for which systems and versions of Python every locked package has a wheel: ``python scripts/check_wheels.py``.

Nothing is installed or downloaded but the registry's lists of files. uv names one package without a wheel at a time, so
each is left out and the rest is asked for again. Where the result is stated: docs/operations.md, "Where it runs"; a
difference ends with 1, and so does one between what has no wheel on ARM and what the image builds there from source.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "operations.md"
DOCKERFILE = ROOT / "docker" / "Dockerfile"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# as uv calls them
SYSTEMS = {
    "Linux, x86-64": "x86_64-manylinux_2_28",
    "Linux, ARM": "aarch64-manylinux_2_28",
    "macOS 14, ARM": "aarch64-apple-darwin",
}
ARM, OF_IMAGE = "Linux, ARM", "3.11"
LACKING = re.compile(r"Because ([\w.-]+)(?:\[[^]]*\])?(?:\{[^}]*\})?==\S+ has no (?:usable )?wheels")


def lacking(python: str, system: str) -> list[str]:
    """Return the packages of the lock that have no wheel for a version of Python and a system."""
    found: list[str] = []
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = re.findall(r"^(\S+==\S+(?: ;[^\\\n]+)?)", lock, re.MULTILINE)
    env = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"}
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "wanted.txt"
        asked = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--no-deps", "--only-binary", ":all:"]
        asked += ["--target", folder, "--python-version", python, "--python-platform", system, "-r", str(wanted)]
        while True:
            names = {re.split(r"[\[=]", pin)[0]: pin for pin in pins}
            kept = [pin for pin in pins if re.split(r"[\[=]", pin)[0] not in found]
            wanted.write_text("\n".join(kept), encoding="utf-8")
            done = subprocess.run(asked, env=env, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return sorted(found)
            named = LACKING.search(" ".join(done.stderr.split()))
            if named is None or named[1] not in names or named[1] in found:
                raise SystemExit(f"uv says of Python {python} on {system}: {done.stderr}")
            found.append(named[1])


def lacking_everywhere() -> dict[tuple[str, str], list[str]]:
    """Return what lacks a wheel by system and version of Python."""
    cells = [(name, python) for name in SYSTEMS for python in PYTHONS]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(cells, pool.map(lambda cell: lacking(cell[1], SYSTEMS[cell[0]]), cells), strict=True))


def table(found: dict[tuple[str, str], list[str]]) -> str:
    """Return what lacks a wheel, as a table in Markdown: a row for each system, a column for each version of Python."""
    lines = [f"| wheels | {' | '.join(PYTHONS)} |", "|---|" + "---|" * len(PYTHONS)]
    for name in SYSTEMS:
        lines.append(f"| {name} | {' | '.join(', '.join(found[name, python]) or 'all' for python in PYTHONS)} |")
    return "\n".join(lines)


def built_on_arm() -> list[str]:
    """Return the packages that the image builds from source on ARM."""
    (names,) = re.findall(r"build_wheels\.sh \S+ /wheels (\w.*)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    return sorted(names.split())


if __name__ == "__main__":
    everywhere = lacking_everywhere()
    made = table(everywhere)
    print(made)
    if everywhere[ARM, OF_IMAGE] != built_on_arm():
        sys.exit(f"{DOCKERFILE.relative_to(ROOT)} builds {', '.join(built_on_arm())} on ARM.")
    if made not in DOCUMENT.read_text(encoding="utf-8"):
        sys.exit(f"{DOCUMENT.relative_to(ROOT)} says something else.")
