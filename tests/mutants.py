"""Wrong rules, one at a time, each of which a test has to notice.

    python tests/mutants.py [NAME...]

`mutants.toml` has them.  Each is put into a copy of the working tree, and the tests that are named
with it are run there; the copy is thrown away.  A line for each says "killed" or "survived"; exit
status 0 where all were killed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
FILE = Path(__file__).with_suffix(".toml")
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis")


class Mutant(NamedTuple):
    """``new`` in the place of ``old``, which ``file`` has once; one of ``tests`` has to fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def mutants() -> list[Mutant]:
    """All of the table."""
    table = tomllib.loads(FILE.read_text())
    return [
        Mutant(name, row["file"], row["old"], row["new"], tuple(row["tests"]))
        for name, row in table.items()
    ]


def is_killed(mutant: Mutant, tree: Path) -> bool:
    """Whether a test fails in ``tree``, a copy of this one, with the mutant in it."""
    path = tree / mutant.file
    text = path.read_text()
    assert text.count(mutant.old) == 1, f"{mutant.name}: {mutant.file} has changed"
    path.write_text(text.replace(mutant.old, mutant.new))
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, *mutant.tests], cwd=tree, capture_output=True, text=True, check=False
        )
    finally:
        path.write_text(text)
    # 1: tests failed.  Anything else but 0 is no answer.
    assert done.returncode in (0, 1), f"{mutant.name}: {done.stdout[-500:]}{done.stderr[-500:]}"
    return done.returncode == 1


def main() -> int:
    """Try the mutants named, or all."""
    parser = argparse.ArgumentParser(description="put wrong rules in and see that tests fail")
    parser.add_argument("names", nargs="*", metavar="NAME")
    names = parser.parse_args().names
    survived = 0
    with tempfile.TemporaryDirectory(prefix="nopfix-mutants-") as scratch:
        tree = Path(scratch) / "tree"
        shutil.copytree(ROOT, tree, symlinks=True, ignore=_LEFT_OUT)
        for mutant in mutants():
            if not names or mutant.name in names:
                killed = is_killed(mutant, tree)
                survived += not killed
                print(f"{'killed' if killed else 'survived':9} {mutant.name}", flush=True)
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
