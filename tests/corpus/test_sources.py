"""GCC's testsuite is taken from wherever its sources are."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from nopfix.corpus import plan, sources

if TYPE_CHECKING:
    from pathlib import Path

FOLDERS = ("gcc.c-torture/execute", "g++.dg/eh", "gcc.dg/torture", "gcc.target/powerpc")
CORPUS = "gcc.c-torture/execute"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOPFIX_CACHE", str(tmp_path / "cache"))


def gcc(top: Path, *names: str) -> Path:
    """The sources of some GCC with tests of these names."""
    for folder in FOLDERS:
        (top / "gcc/testsuite" / folder).mkdir(parents=True)
    for name in names:
        (top / "gcc/testsuite" / CORPUS / name).write_text("int x;\n")
    return top


def names(where: str, new_since: str = "") -> list[str]:
    return [one.name for one in plan.sources_of(CORPUS, plan.Suite(where, new_since))]


def test_a_folder_of_sources_and_a_tarball_of_them_give_the_same_cases(tmp_path: Path) -> None:
    if shutil.which("xz") is None:
        pytest.skip("needs xz, with which tar opens Debian's sources (xz-utils)")
    top = gcc(tmp_path / "gcc-16.2.0", "a.c", "b.c")
    archive = tmp_path / "gcc-16.2.0-dfsg.tar.xz"
    subprocess.run(["tar", "-C", tmp_path, "-cJf", archive, top.name], check=True)
    expected = [f"{CORPUS}/a.c", f"{CORPUS}/b.c"]
    assert names(str(top)) == names(str(archive)) == names(str(top / "gcc/testsuite")) == expected
    for where in (top, archive):
        assert sources.version(sources.suite_folder(str(where))) == "gcc-16.2.0"


def test_only_the_files_are_taken_that_other_sources_dont_have(tmp_path: Path) -> None:
    old, new = gcc(tmp_path / "old", "a.c"), gcc(tmp_path / "new", "a.c", "b.c")
    assert names(str(new), str(old)) == [f"{CORPUS}/b.c"]


def test_a_package_that_isnt_installed_is_named_with_what_helps() -> None:
    with pytest.raises(sources.NoSources, match=r"install Debian's gcc-4-source.*--sources"):
        sources.suite_folder("gcc-4-source")


def test_what_is_neither_folder_nor_tarball_nor_package_is_said(tmp_path: Path) -> None:
    with pytest.raises(sources.NoSources, match="no GCC sources"):
        sources.suite_folder(str(tmp_path))


def test_a_seed_of_which_csmith_makes_nothing_is_a_case_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on with the next one, and the next run doesn't wait for it again."""
    fake = tmp_path / "csmith"
    fake.write_text('#!/bin/sh\n[ $2 != 2 ] || exec sleep 60\necho "int x;" >$4\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for seconds in (1.0, 0.0):
        monkeypatch.setattr(plan, "CSMITH_SECONDS", seconds)
        texts = [one.path.read_text() for one in plan.sources_of("csmith:1-3")]
        assert texts == ["int x;\n", '#error "csmith --seed 2: csmith: no end after 1.0 s"\n'] + [
            "int x;\n"
        ]
