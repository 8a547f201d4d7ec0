"""Roots of other releases: which mirror, which compilers, what is said where none can be made."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from nopfix.corpus import chroot, debian, roots

if TYPE_CHECKING:
    from pathlib import Path

DEB822 = "Types: deb\n# a comment\nURIs: http://mirror.example/debian/\nSuites: bookworm\n"
SECURITY = "Types: deb\nURIs: http://mirror.example/debian-security\nSuites: bookworm-security\n"
ONE_LINE = "# deb http://old.example/debian stable main\ndeb [arch=amd64] {} stable main\n"


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of /etc/apt."""
    (tmp_path / "sources.list.d").mkdir()
    places = (str(tmp_path / "sources.list"), str(tmp_path / "sources.list.d"))
    monkeypatch.setattr(debian, "_SOURCES", places)
    return tmp_path


def test_the_mirror_is_the_one_that_this_systems_apt_takes_debian_from(apt: Path) -> None:
    (apt / "sources.list.d/a.sources").write_text(SECURITY)
    (apt / "sources.list.d/b.sources").write_text(DEB822)
    assert debian.mirror() == "http://mirror.example/debian"
    (apt / "sources.list").write_text(ONE_LINE.format("https://first.example/debian"))
    assert debian.mirror() == "https://first.example/debian"


def test_a_system_without_a_mirror_of_debian_is_told_to_name_one(apt: Path) -> None:
    (apt / "sources.list").write_text(ONE_LINE.format("https://other.example/ubuntu"))
    with pytest.raises(debian.AptError, match="--mirror"):
        debian.mirror()


def test_the_compilers_of_a_root_are_named_as_cc_takes_them(tmp_path: Path) -> None:
    folder = tmp_path / "usr/bin"
    folder.mkdir(parents=True)
    for name in ("gcc-9", "gcc-16", "gcc-ar-16", "g++-16", "gcc"):
        (folder / f"powerpc64le-linux-gnu-{name}").touch()
    for name in ("clang-23", "clang-cl-23", "gcc-16", "x86_64-linux-gnu-gcc-16"):
        (folder / name).touch()
    assert roots.compilers(tmp_path) == ["clang-23", "gcc-9", "gcc-16"]


def test_who_isnt_root_is_told_so_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(chroot.RootError, match="needs to be root"):
        roots.make(tmp_path / "sid", "sid")
    assert not (tmp_path / "sid").exists()


def test_an_archive_that_is_out_of_date_is_told_with_what_helps() -> None:
    said = "Release file for http://mirror.example/debian/dists/sid/InRelease is expired"
    assert "Check-Valid-Until" in debian.explained(said)
    assert debian.explained("Unable to locate package x") == "Unable to locate package x"
