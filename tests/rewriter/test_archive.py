"""Archives: objects are rewritten, the index follows, everything else stays byte for byte."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nopfix import rewrite
from nopfix.rewriter import command
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object import archive

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLES = Path(__file__).parents[2] / "samples"
LONG = "a-member-whose-name-does-not-fit-into-sixteen-bytes.o"
PREFIX = "powerpc64le-linux-gnu-"


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}")
    return found


def run(folder: Path, *words: str) -> str:
    command = [tool(words[0]), *words[1:]]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def members(tmp_path: Path) -> Path:
    """A folder with objects, one of them under two names, and files that are none."""
    folder = tmp_path / "members"
    (folder / "again").mkdir(parents=True)
    shutil.copy(SAMPLES / "recursion.o", folder / "recursion.o")
    shutil.copy(SAMPLES / "dispatch.o", folder / LONG)
    shutil.copy(SAMPLES / "cleanup.o", folder / "again" / "recursion.o")
    (folder / "odd.txt").write_bytes(b"odd")
    (folder / "empty").write_bytes(b"")
    return folder


NAMES = ("odd.txt", "recursion.o", LONG, "again/recursion.o", "empty")


def made(members: Path, *options: str, ar: str = f"{PREFIX}ar") -> Path:
    run(members, ar, *(options or ("rcs",)), "in.a", *NAMES)
    return members / "in.a"


def wanted(members: Path, *options: str, ar: str = f"{PREFIX}ar") -> bytes:
    """What ar makes of members that nopfix has rewritten one by one."""
    for name in NAMES:
        path = members / name
        if name.endswith(".o"):
            path.write_bytes(rewrite(path.read_bytes()).data)
    run(members, ar, *(options or ("rcs",)), "want.a", *NAMES)
    return (members / "want.a").read_bytes()


def rewritten(source: Path, *options: str) -> bytes:
    out = source.parent / "out.a"
    assert command.main(["--sibling-calls=ignore", "-q", *options, str(source), str(out)]) == 0
    return out.read_bytes()


@pytest.mark.parametrize("options", ["rcsD", "rcSD"])
def test_an_archive_is_the_one_that_ar_makes_of_rewritten_members(
    members: Path, options: str
) -> None:
    assert rewritten(made(members, options)) == wanted(members, options)


def test_llvms_archives_are_rewritten_as_well(members: Path) -> None:
    tool("llvm-ar-19")
    assert rewritten(made(members, ar="llvm-ar-19")) == wanted(members, ar="llvm-ar-19")


def test_names_in_bsds_form_are_known(members: Path) -> None:
    source = made(members, "--format=bsd", "rcS", ar="llvm-ar-19")
    before, after = archive.read(source.read_bytes()), archive.read(rewritten(source))
    assert [member.name for member in after] == [member.name for member in before]
    assert LONG in [member.name for member in after]
    for old, new in zip(before, after, strict=True):
        is_object = old.name.endswith(".o")
        assert new.data.rstrip(b"\n") == (
            bytes(rewrite(old.data).data) if is_object else old.data
        ).rstrip(b"\n")


def test_the_index_leads_to_the_members_that_define_its_symbols(members: Path) -> None:
    source = made(members)
    before = run(members, f"{PREFIX}nm", "-s", "in.a").partition("\n\n")[0]
    rewritten(source)
    after = run(members, f"{PREFIX}nm", "-s", "out.a").partition("\n\n")[0]
    assert "balance in recursion.o" in before
    assert after == before


def test_an_archive_without_work_comes_back_byte_for_byte(members: Path) -> None:
    (members / "done.a").write_bytes(rewritten(made(members)))
    data = (members / "done.a").read_bytes()
    assert rewritten(members / "done.a") == data


def test_a_refused_member_is_named_and_nothing_is_written(
    members: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = members / "again" / "recursion.o"
    path.write_bytes(path.read_bytes()[:-70])
    source = made(members, "rcS")
    (members / "out.a").write_bytes(b"before")
    assert command.main(["-q", str(source), str(members / "out.a")]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"nopfix: {source}(recursion.o, number 2): ")
    assert said.count("\n") == 1
    assert (members / "out.a").read_bytes() == b"before"


def test_the_report_and_the_list_name_the_member(
    members: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = made(members)
    rewritten(source, "--report", str(members / "r.json"))
    report = json.loads((members / "r.json").read_text())
    assert [member["member"] for member in report["members"]] == [
        "recursion.o", LONG, "recursion.o, number 2",
    ]  # fmt: skip
    assert len(report["members"][0]["insertions"]) == 4
    assert command.main(["--list", str(source)]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert any(line.startswith("(recursion.o).text") for line in listed)
    assert any(line.startswith("(recursion.o, number 2).text") for line in listed)


def damaged(members: Path, kind: str) -> tuple[bytes, str]:
    if kind == "thin":
        return made(members, "rcsT").read_bytes(), "a thin archive"
    if kind == "bsd index":
        return made(members, "--format=bsd", "rcs", ar="llvm-ar-19").read_bytes(), "BSD's"
    data = made(members).read_bytes()
    if kind == "truncated":
        return data[: len(data) - 2000], "ends outside the file"
    if kind == "no header":
        return data + b"more", "no member's header"
    if kind == "bitcode":
        (members / "odd.txt").write_bytes(b"BC\xc0\xde" + bytes(60))
        return made(members, "rcS").read_bytes(), "LLVM bitcode"
    assert kind == "stale index"
    at = 8 + 60 + 4
    return data[:at] + b"\0\0\0\x11" + data[at + 4 :], "the index names a member"


@pytest.mark.parametrize(
    "kind", ["thin", "bsd index", "truncated", "no header", "bitcode", "stale index"]
)
def test_what_is_no_archive_of_gnus_form_is_refused_by_name(members: Path, kind: str) -> None:
    data, found = damaged(members, kind)
    with pytest.raises(Refusal, match=found):
        archive.rewrite("in.a", data, lambda _, contents: bytes(rewrite(contents).data))


def test_a_program_links_against_a_rewritten_library(
    tmp_path: Path, assemble: Callable[..., bytes]
) -> None:
    text = (
        " .abiversion 2\n .globl {0}\n .type {0},@function\n{0}: bl {1}\n blr\n .size {0},.-{0}\n"
    )
    (tmp_path / "x.o").write_bytes(assemble(text.format("_start", "one")))
    (tmp_path / "a.o").write_bytes(assemble(text.format("one", "two")))
    (tmp_path / "b.o").write_bytes(assemble(text.format("two", "two")))
    run(tmp_path, f"{PREFIX}ar", "rcs", "in.a", "a.o", "b.o")
    rewritten(tmp_path / "in.a")
    run(tmp_path, f"{PREFIX}ld", "-o", "x", "x.o", "out.a")
    assert " one" in run(tmp_path, f"{PREFIX}nm", "x")
    assert run(tmp_path, f"{PREFIX}objdump", "-d", "x").count("nop") >= 2
