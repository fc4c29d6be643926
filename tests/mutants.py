"""Put small faults into the code, one at a time, and see whether the tests notice.

    python -m tests.mutants [--only TEXT] [--jobs 2]

``tests/mutants.yaml`` lists the faults: the text to replace, its replacement, what a user would suffer, and the tests
that should notice. Each fault is put into a copy of the checkout, never into the checkout itself. It counts as noticed
when a test fails or does not end in time. The command ends with 1 when fewer than 95 of 100 faults are noticed.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
LIST = Path(__file__).with_suffix(".yaml")
SECONDS = 300
WANTED = 0.95


@dataclass(frozen=True)
class Mutant:
    """A fault.

    Attributes
    ----------
    file : str
        Where it is put, from the root of the project.
    old, new : str
        Text that occurs once in the file, and what takes its place.
    harm : str
        What a user would suffer.
    tests : tuple of str
        What pytest is given: the tests that are to notice.
    """

    file: str
    old: str
    new: str
    harm: str
    tests: tuple[str, ...]

    def put_into(self, root: Path) -> None:
        """Change the file in a copy of the project."""
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} has {text.count(self.old)} times, and not once: {self.old!r}")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


def listed() -> list[Mutant]:
    """Return the faults of the list, in its order."""
    entries = yaml.safe_load(LIST.read_text(encoding="utf-8"))
    return [Mutant(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]


def by_module(mutants: Sequence[Mutant]) -> list[tuple[str, ...]]:
    """Return the tests of all faults, those of a module together."""
    found: dict[str, set[str]] = {}
    for name in sorted({name for mutant in mutants for name in mutant.tests}):
        found.setdefault(name.partition("::")[0], set()).add(name)
    return [(module,) if module in names else tuple(sorted(names)) for module, names in found.items()]


def failure(root: Path, tests: Sequence[str]) -> str | None:
    """Run tests in a copy of the project; return what failed, None where all passed."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-n", "0", *tests]
    env = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command, cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    ) as pytest:
        try:
            printed, _ = pytest.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(pytest.pid, signal.SIGKILL)  # with the processes that the tests have started
            return f"no end after {SECONDS} s"
    if pytest.returncode == 0:
        return None
    failed = [line for line in printed.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return failed[0].partition(" - ")[0] if failed else f"pytest ended with {pytest.returncode}"


@contextmanager
def copies(count: int) -> Iterator[queue.Queue[Path]]:
    """Yield copies of the project, to be taken and put back."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        found: queue.Queue[Path] = queue.Queue()
        for number in range(count):
            copy = Path(folder) / str(number) / "project"
            for name in filter(None, names):
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                if (ROOT / name).exists():
                    shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
            if (ROOT.parent / "shared").is_dir():
                (copy.parent / "shared").symlink_to(ROOT.parent / "shared")
            found.put(copy)
        yield found


def main() -> int:
    """Run the list and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="faults whose file, harm or tests hold this text")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="copies of the project to work in")
    options = parser.parse_args()
    mutants = [each for each in listed() if options.only in f"{each.file} {each.harm} {' '.join(each.tests)}"]
    if not mutants:
        parser.error(f"no fault in {LIST.name} holds {options.only!r}")
    with copies(options.jobs) as free, ThreadPoolExecutor(options.jobs) as pool:

        def sound(tests: tuple[str, ...]) -> str | None:
            copy = free.get()
            try:
                return failure(copy, tests)
            finally:
                free.put(copy)

        def tried(mutant: Mutant) -> str | None:
            copy = free.get()
            before = (copy / mutant.file).read_bytes()
            try:
                mutant.put_into(copy)
                return failure(copy, mutant.tests)
            finally:
                (copy / mutant.file).write_bytes(before)
                free.put(copy)

        for tests, found in zip(modules := by_module(mutants), pool.map(sound, modules), strict=True):
            if found:
                print(f"Without any fault, {' '.join(tests)} fails already: {found}", file=sys.stderr)
                return 2
        noticed = 0
        for mutant, found in zip(mutants, pool.map(tried, mutants), strict=True):
            noticed += found is not None
            print(
                f"{'noticed  ' if found else 'UNNOTICED'} {mutant.file}: {mutant.harm}"
                + (f" [{found}]" if found else ""),
                flush=True,
            )
    print(f"{noticed} of {len(mutants)} faults were noticed.")
    return 0 if noticed >= WANTED * len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
