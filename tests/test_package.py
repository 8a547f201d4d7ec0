"""The wheel: all that the commands need is in it, and nothing else."""

from __future__ import annotations

import ast
import configparser
import email
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nopfix.corpus import sources, toolchain

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
PACKAGES = ("rewriter", "dwarf", "verifier", "corpus")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCRIPTS: dict[str, str] = PROJECT["scripts"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
SAMPLE = ROOT / "samples" / "recursion.o"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: a build leaves things behind where it is made."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "nopfix"):
        ignored = shutil.ignore_patterns("__pycache__", *(PACKAGES if name == "nopfix" else ()))
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for name in ("man", "completions"):
        shutil.copytree(ROOT / "docs" / name, folder / "docs" / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--no-build-isolation", "-w", "made", "."], cwd=folder, check=True)
    (made,) = (folder / "made").iterdir()
    return made


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    here = {
        "nopfix/" + path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    front = {"nopfix/__init__.py", "nopfix/py.typed"}
    ours = {name for name in names if not re.match(r"nopfix-[^/]*\.(dist-info|data)/", name)}
    assert ours == here | front
    assert "nopfix/corpus/baseline.toml" in here


def test_each_command_has_a_manual_page_and_completions_in_the_wheel(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    shared = {name.partition(".data/data/share/")[2] for name in names} - {""}
    for command in SCRIPTS:
        assert f"man/man1/{command}.1" in shared
        assert f"bash-completion/completions/{command}" in shared
    zsh = list((ROOT / "docs/completions/zsh").iterdir())
    assert {f"zsh/site-functions/{path.name}" for path in zsh} < shared
    served = " ".join(path.read_text().splitlines()[0] for path in zsh).split()
    assert set(SCRIPTS) <= set(served)


def test_the_wheel_names_its_licence_and_holds_it(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
    assert email.message_from_bytes(archive.read(metadata))["License"] == "MIT"
    (licence,) = (name for name in archive.namelist() if name.endswith("/LICENSE"))
    assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
    assert b"The nopfix developers" in archive.read(licence)


@pytest.fixture
def bare(wheel: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command of the wheel from an empty folder, with nothing but Python beside it."""
    site, empty = tmp_path / "site", tmp_path / "empty"
    archive = zipfile.ZipFile(wheel)
    archive.extractall(site)
    empty.mkdir()
    points = configparser.ConfigParser()
    (name,) = (name for name in archive.namelist() if name.endswith("/entry_points.txt"))
    points.read_string(archive.read(name).decode())
    commands = dict(points["console_scripts"])
    assert commands == SCRIPTS

    def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        module, _, function = commands[command].partition(":")
        code = (
            f"import sys; sys.path[:0] = [{str(site)!r}]; sys.argv[0] = {command!r}\n"
            f"from {module} import {function} as main; sys.exit(main())"
        )
        return subprocess.run(
            [sys.executable, "-IS", "-c", code, *arguments],
            cwd=empty,
            env={"PATH": os.environ["PATH"], "NOPFIX_CC": "echo"},
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.parametrize("command", SCRIPTS)
def test_every_command_of_the_wheel_answers_with_python_alone(
    bare: Callable[..., subprocess.CompletedProcess[str]], command: str
) -> None:
    done = bare(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_main_job_needs_python_alone(
    bare: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = bare("nopfix", str(SAMPLE), str(tmp_path / "out.o"))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out.o").read_bytes() != SAMPLE.read_bytes()


@pytest.mark.parametrize("command", [["nopfix", "--verify"], ["nopfix-verify", "--slots"]])
def test_the_second_opinion_needs_python_alone(
    bare: Callable[..., subprocess.CompletedProcess[str]], command: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out.o"
    if command[0] == "nopfix-verify":
        assert bare("nopfix", str(SAMPLE), str(out)).returncode == 0
    done = bare(*command, str(SAMPLE), str(out))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("options", "library", "extra"),
    [
        (["run", "--corpus", str(SAMPLE.parent)], "rich", "corpus"),
        (["report", "--html", "page.html"], "rich", "corpus"),
    ],
)
def test_without_an_extra_one_line_says_which_to_install(
    bare: Callable[..., subprocess.CompletedProcess[str]],
    options: list[str],
    library: str,
    extra: str,
) -> None:
    done = bare("nopfix-corpus", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"there is no module {library}; pip install 'nopfix[{extra}]', or" in done.stderr
    assert "the system's package python3-" in done.stderr
    assert done.stderr.count("\n") == 1
    assert extra in EXTRAS


def test_what_the_packages_import_is_what_the_extras_name() -> None:
    """Each library that a package imports comes with an extra, and each that one names is used."""
    imported = set()
    for path in (path for name in PACKAGES for path in (ROOT / name).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    imported -= {*sys.stdlib_module_names, "nopfix"}
    named = {
        word.partition(">")[0].partition("[")[0]
        for extra in ("verify", "corpus", "cluster")
        for word in EXTRAS[extra]
    } - {"nopfix"}
    assert imported == {"elftools" if name == "pyelftools" else name for name in named}


def test_nopfix_corpus_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """An expected refusal: the list of those lies beside the modules."""
    try:
        source = sources.suite_folder() / "gcc.c-torture/execute/pr70460.c"
        toolchain.compiler(toolchain.Tools("gcc-12"))
    except (sources.NoSources, toolchain.ToolError) as error:
        pytest.skip(str(error))
    assert source.is_file()
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    said = []
    for arguments in (
        ["run", "--corpus", "gcc.c-torture/execute/pr70460.c", "--flags=-O0"],
        ["report"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "nopfix.corpus.command", *arguments],
            cwd=tmp_path / "empty",
            env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        said.append(done.stdout)
    row = said[1].splitlines()[1].split()
    columns = said[1].splitlines()[0].replace("to fix", "to-fix").replace("by ", "by-")
    assert dict(zip(columns.split(), row, strict=True))["expected"] == "1"
    assert said[1] in said[0]
