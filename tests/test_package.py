"""The wheel: all that the commands need is in it, and nothing else."""

from __future__ import annotations

import configparser
import email
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from corpus import sources, toolchain

ROOT = Path(__file__).parents[1]
PACKAGES = ("rewriter", "dwarf", "verifier", "corpus")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: a build leaves things behind where it is made."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--no-build-isolation", "-w", "made", "."], cwd=folder, check=True)
    (made,) = (folder / "made").iterdir()
    return made


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    here = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if ".dist-info/" not in name} == here
    assert "corpus/baseline.toml" in here


def test_the_wheel_names_its_licence_and_holds_it(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
    assert email.message_from_bytes(archive.read(metadata))["License"] == "MIT"
    (licence,) = (name for name in archive.namelist() if name.endswith("/LICENSE"))
    assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
    assert b"The nopfix developers" in archive.read(licence)


def test_every_command_of_the_wheel_answers_from_an_empty_folder(
    wheel: Path, tmp_path: Path
) -> None:
    archive = zipfile.ZipFile(wheel)
    archive.extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    points = configparser.ConfigParser()
    (name,) = (name for name in archive.namelist() if name.endswith("/entry_points.txt"))
    points.read_string(archive.read(name).decode())
    commands = dict(points["console_scripts"])
    assert commands == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    for command, entry in commands.items():
        module, _, function = entry.partition(":")
        code = f"import sys; from {module} import {function} as main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", code, "--help"],
            cwd=tmp_path / "empty",
            env=os.environ | {"PYTHONPATH": str(tmp_path / "site"), "NOPFIX_CC": "echo"},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, ""), command


def test_nopfix_corpus_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """An expected refusal: the list of those lies beside the modules."""
    try:
        source = sources.testsuite() / "gcc.c-torture/execute/pr70460.c"
        toolchain.compiler("gcc-12")
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
            [sys.executable, "-m", "corpus.command", *arguments],
            cwd=tmp_path / "empty",
            env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        said.append(done.stdout)
    row = said[1].splitlines()[1].split()
    columns = said[1].splitlines()[0].replace("to fix", "to-fix").replace("by rule", "by-rule")
    assert dict(zip(columns.split(), row, strict=True))["expected"] == "1"
    assert said[1] in said[0]
