"""Code that can't be followed is left as compiled where the user asks for it, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import nopfix
from nopfix.rewriter import command
from nopfix.rewriter.object import elf
from nopfix.rewriter.options import Options
from nopfix.verifier import verify
from tests.kpatch import left

if TYPE_CHECKING:
    from collections.abc import Callable

    Assemble = Callable[..., bytes]

PREFIX = "powerpc64le-linux-gnu-"
LEAVE = Options(leave_unproved=True)
KINDS = pytest.mark.parametrize("kind", left.KINDS)


def contents(data: bytes, name: str) -> bytes:
    obj = elf.read(data)
    return next(bytes(obj.contents(s.number)) for s in obj.sections if s.name == name)


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[..., bytes]:
    """Compiles a source with the kernel's flags."""
    if shutil.which(PREFIX + "gcc") is None:
        pytest.skip(f"needs {PREFIX}gcc")

    def compile_source(kind: str, *more: str) -> bytes:
        (tmp_path / "f.c").write_text(left.source(kind, 1))
        command = [PREFIX + "gcc", *left.FLAGS, *more, "-c", "f.c"]
        subprocess.run(command, cwd=tmp_path, check=True)
        return (tmp_path / "f.o").read_bytes()

    return compile_source


@KINDS
def test_only_the_unit_that_cannot_be_followed_is_left(
    compiled: Callable[..., bytes], kind: str
) -> None:
    data = compiled(kind)
    with pytest.raises(nopfix.Refusal) as caught:
        nopfix.rewrite(data)
    result = nopfix.rewrite(data, LEAVE)
    (kept,) = result.report.left
    assert (kept.function, kept.sections) == ("changed", [".text.changed"])
    assert kept.reason == caught.value.found
    assert kept.calls >= 2
    assert contents(result.data, ".text.changed") == contents(data, ".text.changed")
    assert {i.function for i in result.report.insertions} == {"other", "user"}
    assert verify(data, result.data).verified


@KINDS
def test_the_linker_refuses_a_call_that_was_left_when_it_leaves_the_module(
    compiled: Callable[..., bytes], kind: str, tmp_path: Path
) -> None:
    # Without the tracer's calls, whose slots aren't the linker's.
    data = compiled(kind, "-mno-profile-kernel", "-fno-profile")
    (tmp_path / "f.o").write_bytes(nopfix.rewrite(data, LEAVE).data)
    command = [PREFIX + "objcopy", "--globalize-symbol=helper", "f.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    link = [PREFIX + "ld", "-shared", "-o", "f.so", "f.o"]
    linked = subprocess.run(link, cwd=tmp_path, capture_output=True, text=True)
    assert linked.returncode
    complaints = [line for line in linked.stderr.splitlines() if "lacks nop" in line]
    assert len(complaints) >= 2
    assert all("(.text.changed+" in line for line in complaints)


# -- where it stays an error -----------------------------------------------------------------------

JUMP = """\
 .abiversion 2
 .section .text.callee,"ax",@progbits
 .type callee,@function
callee: blr
 .size callee,.-callee
 .section .text.jumps,"ax",@progbits
 .type jumps,@function
jumps: bl callee
{more} addi 3,3,4
 mtctr 3
 bctr
 .size jumps,.-jumps
{rest}
"""
CALL = """\
 .section .text.calls,"ax",@progbits
 .type calls,@function
calls: bl callee
 blr
 .size calls,.-calls
"""


def jumps(more: str = "", rest: str = "") -> str:
    return JUMP.format(more=more, rest=rest + CALL)


SOMEBODY_ELSES = {
    "of a call of its own": jumps(" bl callee\n nop\n"),
    "of a static key": jumps(
        " bl callee\n0: nop\n", ' .section __jump_table,"aw"\n .long 0b-., jumps-.\n .quad 0\n'
    ),
    "that a branch leads to": jumps(" bl outside\n0: nop\n bne 0b\n"),
    "that a table names": jumps(" bl outside\n0: nop\n", ' .section .rodata,"a"\n .quad 0b\n'),
    "old compilers'": jumps(" bl callee\n cror 31,31,31\n"),
}


@pytest.mark.parametrize("source", SOMEBODY_ELSES.values(), ids=SOMEBODY_ELSES.keys())
def test_code_is_not_left_where_a_no_op_would_be_taken_for_a_slot(
    assemble: Assemble, source: str
) -> None:
    with pytest.raises(
        nopfix.Refusal, match="nor can it be left as it is: the no-op behind"
    ) as refused:
        nopfix.rewrite(assemble(source), LEAVE)
    assert "--leave-unproved" not in str(refused.value)  # was asked for


CERTAIN = {
    "undefined": " bl outside\n nop\n",
    "a TOC load": " bl callee\n ld 2,24(1)\n",
}


@pytest.mark.parametrize("more", CERTAIN.values(), ids=CERTAIN.keys())
def test_a_certain_slot_does_not_keep_code_from_being_left(assemble: Assemble, more: str) -> None:
    result = nopfix.rewrite(assemble(jumps(more)), LEAVE)
    assert [(kept.calls, kept.function) for kept in result.report.left] == [(1, "jumps")]
    assert len(result.report.insertions) == 1


def test_all_that_belongs_together_is_left(assemble: Assemble) -> None:
    cold = (
        ' .section .text.unlikely,"ax"\n .type jumps.cold,@function\njumps.cold: bl callee\n blr\n'
        " .size jumps.cold,.-jumps.cold\n"
    )
    data = assemble(jumps(rest=cold))
    result = nopfix.rewrite(data, LEAVE)
    (kept,) = result.report.left
    assert (sorted(kept.sections), kept.calls) == ([".text.jumps", ".text.unlikely"], 2)
    assert contents(result.data, ".text.unlikely") == contents(data, ".text.unlikely")
    assert [i.function for i in result.report.insertions] == ["calls"]


def test_two_units_are_left_each_for_its_own_reason(assemble: Assemble) -> None:
    more = (
        ' .section .text.more,"ax"\n .type more,@function\nmore: bl callee\n mtspr 815,3\n'
        " .long 0x4e800460\n .size more,.-more\n"
    )
    report = nopfix.rewrite(assemble(jumps(rest=more)), LEAVE).report
    assert [kept.function for kept in report.left] == ["jumps", "more"]
    assert len({kept.reason for kept in report.left}) == 2
    assert len(report.insertions) == 1


def test_an_object_of_nothing_else_comes_back_as_it_was(assemble: Assemble) -> None:
    data = assemble(JUMP.format(more="", rest=""))
    result = nopfix.rewrite(data, LEAVE)
    assert result.data == data
    assert [kept.calls for kept in result.report.left] == [1]


def test_what_needs_no_slot_is_no_reason_to_warn(assemble: Assemble) -> None:
    data = assemble(jumps().replace("jumps: bl callee\n", "jumps: nop\n"))
    result = nopfix.rewrite(data, LEAVE)
    assert (len(result.report.insertions), result.report.left) == (1, [])


def test_an_insertion_that_the_caller_asks_for_is_never_left_out(assemble: Assemble) -> None:
    with pytest.raises(nopfix.Refusal, match="can't be followed"):
        nopfix.rewrite(assemble(jumps()), LEAVE, insertions=[(".text.jumps", 4)])


# -- what the user hears ---------------------------------------------------------------------------


def test_the_command_warns_in_one_line_and_reports_what_was_left(
    assemble: Assemble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out, report = (str(tmp_path / name) for name in ("in.o", "out.o", "r.json"))
    Path(path).write_bytes(assemble(jumps()))
    assert command.main([path, out]) == 1
    capsys.readouterr()
    words = ["--leave-unproved", "--report", report, "--verify", path, out]
    assert command.main(words) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"nopfix: {path}: warning: .text.jumps+0xc (in jumps): left as compiled")
    assert "1 call that lacks a slot" in line
    (entry,) = json.loads(Path(report).read_text())["left"]
    assert entry["sections"] == [".text.jumps"]
    assert (entry["function"], entry["offset"], entry["calls"]) == ("jumps", 0xC, 1)
    assert "can't be followed" in entry["reason"]
    assert command.main(["-q", *words]) == 0
    assert capsys.readouterr().err == ""


def test_calls_that_are_left_are_listed_as_such(
    assemble: Assemble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.o"
    path.write_bytes(assemble(jumps()))
    assert command.main(["--list", "--leave-unproved", str(path)]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [(function, action) for _, function, _, action in lines] == [
        ("jumps", "left"),
        ("calls", "insert"),
    ]


def test_each_member_of_an_archive_warns_for_itself(
    assemble: Assemble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.o").write_bytes(assemble(jumps()))
    subprocess.run([PREFIX + "ar", "rc", "in.a", "in.o"], cwd=tmp_path, check=True)
    words = [str(tmp_path / "in.a"), str(tmp_path / "out.a")]
    assert command.main(words) == 1
    capsys.readouterr()
    assert command.main(["--leave-unproved", *words]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "in.a(in.o): warning: .text.jumps+0xc (in jumps): left as compiled" in line


COMPILER = '#!/bin/sh\nshift $(($# - 1))\ncp "$OBJECT" "$1"\n'
RUN = "import sys; from nopfix.rewriter.build.{}; sys.exit(main())"


@pytest.mark.parametrize("front", ["wrapper", "server"])
def test_the_wrapper_leaves_code_when_the_environment_says_so(
    assemble: Assemble, tmp_path: Path, front: str
) -> None:
    (tmp_path / "in.o").write_bytes(assemble(jumps(rest=' .section .comment\n .ascii "GCC"\n')))
    compiler = tmp_path / "cc"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    words = [sys.executable, "-c", RUN.format("wrapper import main"), str(compiler)]
    words += ["-c", "f.c", "-o", "f.o"]
    if front == "server":
        words = [sys.executable, "-c", RUN.format("server import main"), *words]
    root = str(Path(nopfix.__file__).parents[1])
    settings = os.environ | {"PYTHONPATH": root, "OBJECT": "in.o", "TMPDIR": "/tmp"}

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        environment = settings | more
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert run().returncode == run(NOPFIX_LEAVE_UNPROVED="0").returncode == 1
    done = run(NOPFIX_LEAVE_UNPROVED="1")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("nopfix: f.o: warning: .text.jumps+0xc (in jumps): left as compiled")
    expected = nopfix.rewrite((tmp_path / "in.o").read_bytes(), LEAVE)
    assert (tmp_path / "f.o").read_bytes() == expected.data
