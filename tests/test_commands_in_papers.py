"""Every command that README and the documentation show is run by a test, or marked as long.

A command is a line of an indented block or of one between fences that begins with one of `WORDS`,
behind variables and a prompt, if it has them.  Those that `RUN` has are
run here, as they stand, in a folder with what they name; `LONG` says of the others where they are
run instead.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAPERS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
WORDS = r"(?:make|pip|nopfix[a-z-]*|python3?|git|kpatch[a-z-]*|diff|nm)"
VARIABLES = r"(?:[A-Z_]+=\S+ )*"
COMMAND = re.compile(rf"^ {{4,7}}(?:\$ )?({VARIABLES}{WORDS} .*?)(?: {{2,}}.*)?$", re.MULTILINE)
FENCED = re.compile(r"^( *)```(?:sh)?\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
RUN = re.compile(r"nopfix (?!<)|nopfix-verify ")
LONG = {
    rf"{VARIABLES}make .*(ARCH|CROSS_COMPILE)|make -C kpatch-build": "make kernel-test",
    r"make ": "tests/test_papers.py asks for the target; CI runs make test",
    r"pip install": "make package",
    r"python3? -m (venv|build)|python3? -m pip": "make package",
    r"nopfix-toolchain|nopfix-serve|nopfix-cc": "tests/rewriter/test_toolchain.py, make package",
    rf"{VARIABLES}kpatch": "make kpatch-test",
    r"nopfix-corpus": "tests/corpus, make corpus",
    r"python3? -m nopfix\.corpus": "tests/corpus, make corpus",
    r"python3? (-m )?(tests|samples)": "make kernel-test, make kpatch-test, make bench",
    r"git |diff |nm ": "not ours",
}


def commands() -> list[tuple[str, str]]:
    """Each command, with the name of the paper."""
    return [
        (paper.name, found[1])
        for paper in PAPERS
        for found in COMMAND.finditer(FENCED.sub(indented, paper.read_text()))
        if "nopfix: " not in found[1]
    ]


def indented(block: re.Match[str]) -> str:
    """A block between fences as one that is indented."""
    return textwrap.indent(textwrap.dedent(block[2]), 4 * " ")


HERE = sorted({command for _, command in commands() if RUN.match(command)})


def test_every_command_is_run_or_marked_as_long() -> None:
    assert len(HERE) > 10
    left = [
        f"{paper}: {command}"
        for paper, command in commands()
        if command not in HERE and not any(re.match(long, command) for long in LONG)
    ]
    assert left == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the objects, the library and the module that the papers name."""
    sample = ROOT / "samples" / "recursion.o"
    (tmp_path / "kernel" / "sched").mkdir(parents=True)
    for name in ("foo.o", "in.o", "before.o", "plain.o", "kernel/fork.o", "kernel/sched/core.o"):
        shutil.copy(sample, tmp_path / name)
    python = [sys.executable, "-m", "nopfix.rewriter", "-q"]
    for name in ("got.o", "after.o", "out.o", "foo.ko.xz"):
        subprocess.run([*python, sample, tmp_path / name], check=True)
    if (ar := shutil.which("powerpc64le-linux-gnu-ar")) is not None:
        subprocess.run([ar, "rcs", "libfoo.a", "foo.o"], cwd=tmp_path, check=True)
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    return tmp_path


@pytest.mark.parametrize("command", HERE)
def test_a_command_of_the_papers_does_what_it_says(command: str, folder: Path) -> None:
    if "libfoo.a" in command and not (folder / "libfoo.a").exists():
        pytest.skip("needs powerpc64le-linux-gnu-ar")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
    )
    assert (done.returncode, b"internal error" in done.stderr) == (0, False), done.stderr
