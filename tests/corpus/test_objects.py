"""Ready-made objects are found wherever they are, and nothing else is taken for one."""

from __future__ import annotations

import lzma
import subprocess
from typing import TYPE_CHECKING

import pytest

from nopfix.corpus import case, objects, plan, sources, toolchain

if TYPE_CHECKING:
    from pathlib import Path

TEXT = "\t.globl f\n\t.type f,@function\nf:\n\tbl g\n\tmr 3,4\n\tblr\n\t.size f,.-f\n"


@pytest.fixture
def obj(tmp_path: Path) -> Path:
    """An object with one call that lacks its slot."""
    try:
        tool = toolchain.binutil("as")
    except toolchain.ToolError as missing:
        pytest.skip(str(missing))
    path = tmp_path / "made" / "f.o"
    path.parent.mkdir()
    subprocess.run([tool, "-a64", "-mlittle", "-o", path, "-"], input=TEXT, text=True, check=True)
    return path


def library(path: Path, *members: Path) -> Path:
    subprocess.run([toolchain.binutil("ar"), "qc", path, *members], check=True)
    return path


def found(path: Path) -> list[str]:
    return [inner.name for inner in objects.found_in(path)]


def test_each_member_of_a_library_is_an_object_and_two_of_one_name_are_two(
    obj: Path, tmp_path: Path
) -> None:
    long = obj.with_name("a-name-longer-than-sixteen-characters.o")
    long.write_bytes(obj.read_bytes())
    path = library(tmp_path / "lib.a", obj, long, obj)
    assert found(path) == ["f.o", long.name, "f.o#2"]
    assert {objects.load(path, one.offset) for one in objects.found_in(path)} == {obj.read_bytes()}


def test_what_is_no_object_of_the_target_is_left_out(obj: Path, tmp_path: Path) -> None:
    bitcode = tmp_path / "bitcode.o"
    bitcode.write_bytes(b"BC\xc0\xde" + bytes(100))
    other = tmp_path / "other.o"
    other.write_bytes(obj.read_bytes().replace(b"\x15\0", b"\x3e\0", 1))
    assert found(library(tmp_path / "lib.a", bitcode, other)) == []
    assert found(bitcode) == []


def test_a_compressed_module_is_an_object(obj: Path, tmp_path: Path) -> None:
    path = tmp_path / "module.ko.xz"
    path.write_bytes(lzma.compress(obj.read_bytes()))
    assert objects.is_one(path)
    assert [objects.load(path, one.offset) for one in objects.found_in(path)] == [obj.read_bytes()]
    assert not objects.is_one(tmp_path / "source.tar.xz")


def test_the_objects_of_a_package_are_rewritten_verified_and_their_slots_counted(
    obj: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOPFIX_CACHE", str(tmp_path / "cache"))
    files = tmp_path / "cache/debian/sid-ppc64el/packages/libf-dev/usr/lib"
    files.mkdir(parents=True)
    library(files / "libf.a", obj)
    (files / "f.ko.xz").write_bytes(lzma.compress(obj.read_bytes()))
    cases = plan.cases(["debian:libf-dev@sid"], [])
    results = [case.run(one) for one in cases]
    assert [(one.source, one.verdict, one.nops) for one in results] == [
        ("libf-dev/usr/lib/f.ko.xz", "rewritten", 1),
        ("libf-dev/usr/lib/libf.a(f.o)", "rewritten", 1),
    ]
    assert {one.checks for one in results} == {"verify,slots"}


def test_a_package_without_an_object_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOPFIX_CACHE", str(tmp_path))
    (tmp_path / "debian/sid-ppc64el/packages/empty").mkdir(parents=True)
    (tmp_path / "debian/sid-ppc64el/packages/empty.depends").write_text("linux-image-7.2.1")
    with pytest.raises(sources.NoSources, match=r"no object.* depends on linux-image-7"):
        plan.cases(["debian:empty@sid"], [])
