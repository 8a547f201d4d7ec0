"""Only what an insertion needs is proved: which code is left alone, and which isn't."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

import nopfix
from nopfix.rewriter import command, pipeline
from nopfix.rewriter.layout import units
from nopfix.rewriter.layout.needs import Needs
from nopfix.rewriter.object import elf
from nopfix.rewriter.object.program import Program
from nopfix.rewriter.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Assemble = Callable[..., bytes]

# An indirect branch that nothing can follow, in a function that needs no slot.
JUMP = """\
 .abiversion 2
 .section .text.jumps,"ax",@progbits
 .type jumps,@function
jumps: addi 3,3,4
 mtctr 3
 bctr
{more} .size jumps,.-jumps
"""
CALL = """\
 .section .text.calls,"ax",@progbits
 .type calls,@function
calls: mflr 0
 bl callee
{more} mtlr 0
.Linside: blr
 .size calls,.-calls
 .section .text.callee,"ax",@progbits
 .type callee,@function
callee: blr
 .size callee,.-callee
"""


def text(in_jumps: str = "", in_calls: str = "", rest: str = "") -> str:
    return JUMP.format(more=in_jumps) + CALL.format(more=in_calls) + rest


def contents(data: bytes, name: str) -> bytes:
    obj = elf.read(data)
    return next(bytes(obj.contents(s.number)) for s in obj.sections if s.name == name)


def refused(data: bytes) -> str:
    with pytest.raises(nopfix.Refusal) as caught:
        nopfix.rewrite(data)
    return str(caught.value)


def test_a_section_of_its_own_without_insertion_needs_no_proof(assemble: Assemble) -> None:
    data = assemble(text())
    result = nopfix.rewrite(data)
    assert len(result.report.insertions) == 1
    assert contents(result.data, ".text.jumps") == contents(data, ".text.jumps")


def test_an_insertion_in_its_own_section_needs_the_proof(assemble: Assemble) -> None:
    assert "can't be followed" in refused(assemble(text(" bl callee\n blr\n")))


def test_an_insertion_that_the_caller_asks_for_needs_the_proof(assemble: Assemble) -> None:
    data = assemble(text())
    assert nopfix.rewrite(data, insertions=[(".text.callee", 4)]).report.insertions
    with pytest.raises(nopfix.Refusal, match="can't be followed"):
        nopfix.rewrite(data, insertions=[(".text.jumps", 4)])


TOGETHER = {
    "a branch into the middle": text(" b .Linside\n"),
    "a branch into the middle, from the other one": text(".Lmine: blr\n", " b .Lmine\n"),
    "an address of the middle": text(" addis 9,2,.Linside@toc@ha\n addi 9,9,.Linside@toc@l\n"),
    "an address of the middle in .toc": text(
        " ld 9,.LC0@toc(2)\n", rest=' .section .toc,"aw"\n.LC0: .quad .Linside\n'
    ),
    "an address of the middle behind a pointer": text(
        " ld 9,.LC0@toc(2)\n",
        rest=' .section .toc,"aw"\n.LC0: .quad names\n'
        ' .section .data.rel.ro,"aw"\n .quad 0\nnames: .quad 0, .Linside\n',
    ),
    "a table with entries in both": text(
        ".Lmine: blr\n", rest=' .section .rodata,"a"\n.Lt: .long .Lmine-.Lt, .Linside-.Lt\n'
    ),
    "a table of addresses in both": text(
        ".Lmine: blr\n", rest=' .section .data.rel.ro,"aw"\n .quad .Lmine\n .quad .Linside\n'
    ),
    "a distance that code of one holds": text(".Lt: .long calls-.Lt\n"),
    "a part that was moved elsewhere": text(
        rest=' .section .text.unlikely,"ax",@progbits\n .type jumps.cold,@function\n'
        "jumps.cold: bl callee\n blr\n .size jumps.cold,.-jumps.cold\n"
    ),
    "a section between them": text(
        " b .Lother\n",
        rest=' .section .text.other,"ax",@progbits\n nop\n.Lother: b .Linside\n',
    ),
}


@pytest.mark.parametrize("source", TOGETHER.values(), ids=TOGETHER.keys())
def test_code_is_proved_where_an_insertion_is_tied_to_it_by(
    assemble: Assemble, source: str
) -> None:
    assert "can't be followed" in refused(assemble(source))


APART = {
    "a tail call": text(" b calls\n"),
    "an address of a function": text(" addis 9,2,calls@toc@ha\n addi 9,9,calls@toc@l\n"),
    "a variable of both": text(
        " addis 9,2,shared@toc@ha\n lwz 9,shared@toc@l(9)\n",
        " addis 9,2,shared@toc@ha\n lwz 9,shared@toc@l(9)\n",
        ' .section .data,"aw"\nshared: .quad calls, jumps\n',
    ),
    "a .toc of both": text(
        " ld 9,.LC0@toc(2)\n",
        " ld 9,.LC1@toc(2)\n",
        ' .section .toc,"aw"\n.LC0: .quad jumps+4\n.LC1: .quad .Linside\n',
    ),
    "a table of the kernel's with entries for both": text(
        ".Lmine: blr\n",
        rest=' .section __ex_table,"a"\n .long jumps+4-., .Lmine-.\n'
        " .long .Linside-., .Linside-.\n",
    ),
    "lists of functions": text(
        rest=' .section .init_array,"aw"\n .quad calls\n .quad jumps\n'
        ' .section __mcount_loc,"a"\n .quad calls+4\n .quad jumps+4\n'
    ),
}


@pytest.mark.parametrize("source", APART.values(), ids=APART.keys())
def test_code_is_not_tied_together_by(assemble: Assemble, source: str) -> None:
    assert nopfix.rewrite(assemble(source)).report.insertions


def test_a_nop_behind_a_call_of_its_own_is_not_believed_to_be_a_slot_without_proof(
    assemble: Assemble,
) -> None:
    assert "can't be followed" in refused(assemble(text(" bl callee\n nop\n blr\n")))
    # Nothing else needs anything, and still it isn't known.
    alone = JUMP.format(more=" bl jumps\n nop\n blr\n")
    assert "can't be followed" in refused(assemble(alone))


@pytest.mark.parametrize("callee", ["outside", "weak"])
def test_a_nop_behind_a_call_that_the_linker_binds_is_its_slot(
    assemble: Assemble, callee: str
) -> None:
    weak = ' .section .text.weak,"ax",@progbits\n .weak weak\n .type weak,@function\nweak: blr\n'
    data = assemble(text(f" bl {callee}\n nop\n blr\n", rest=weak))
    assert len(nopfix.rewrite(data).report.insertions) == 1


def test_a_toc_load_behind_a_call_is_its_slot(assemble: Assemble) -> None:
    data = assemble(text(" bl callee\n ld 2,24(1)\n blr\n"))
    assert len(nopfix.rewrite(data).report.insertions) == 1


def test_a_nop_that_a_branch_leads_to_is_no_slot(assemble: Assemble) -> None:
    assert "can't be followed" in refused(assemble(text(" bl outside\n0: nop\n b 0b\n")))


def test_a_word_that_looks_like_a_call_is_taken_for_one(assemble: Assemble) -> None:
    assert "can't be followed" in refused(assemble(text(" .long 0x4bfffff1\n")))
    # And behind one that looks like a prefix, as a name in a traceback table may.
    assert "can't be followed" in refused(assemble(text(" .long 0x06000000, 0x4bfffff1\n")))
    hidden = " bl outside\n0: nop\n blr\n .long 0x06000000\n b 0b\n"
    assert "can't be followed" in refused(assemble(text(hidden)))


def test_data_that_is_not_understood_stays_as_it_is_where_nothing_is_inserted(
    assemble: Assemble,
) -> None:
    data = assemble(text(" .long 1\n .long 0x48f00000\n"))
    assert len(nopfix.rewrite(data).report.insertions) == 1
    beside = (
        ' .section .text.calls,"ax"\n .type more,@function\n'
        "more: .long 1, 0x48f00000\n .size more,.-more\n"
    )
    assert "data that isn't understood" in refused(assemble(text(rest=beside)))


def test_what_is_not_followed_is_explained(assemble: Assemble) -> None:
    program = Program(elf.read(assemble(text())))
    analysis, _, _ = pipeline.take_apart(program, Needs(program, Options()).of)
    (line,) = [branch.explain() for branch in analysis.branches if branch.function == "jumps"]
    assert line.startswith(".text.jumps+0x8 (in jumps): not followed: nothing is inserted")


def test_sections_are_in_exactly_one_unit(assemble: Assemble) -> None:
    program = Program(elf.read(assemble(TOGETHER["a section between them"])))
    found = units.find(program)
    assert sorted(section for unit in found for section in unit) == sorted(program.code)
    names = {frozenset(program.name(section) for section in unit) for unit in found}
    assert names == {
        frozenset((".text.jumps", ".text.calls", ".text.other")),
        frozenset((".text.callee",)),
    }


INTERPRETER = """\
extern long outside(long);
static __attribute__((noinline)) long helper(long v) { return outside(v) + v; }
long run(const unsigned char *code, long a, long b) {
  static const void *const jump[256] = { [0 ... 255] = &&bad, OPCODES };
  goto *jump[*code];
#define OP(n) op##n: a = a * n + b; b ^= a; code++; goto *jump[*code];
  BODIES
bad: return a;
}
long other(long v) { return helper(v) * helper(v + 1); }
"""


def test_an_interpreter_stays_as_compiled_in_a_section_of_its_own(tmp_path: Path) -> None:
    compiler = shutil.which("powerpc64le-linux-gnu-gcc")
    if compiler is None:
        pytest.skip("needs powerpc64le-linux-gnu-gcc")
    opcodes = ", ".join(f"[{n}] = &&op{n}" for n in range(200))
    bodies = " ".join(f"OP({n})" for n in range(200))
    source = INTERPRETER.replace("OPCODES", opcodes).replace("BODIES", bodies)
    flags = ["-O2", "-ffunction-sections", "-fdata-sections", "-mcmodel=large", "-fno-gcse"]
    output = tmp_path / "run.o"
    subprocess.run(
        [compiler, *flags, "-x", "c", "-c", "-o", output, "-"], input=source.encode(), check=True
    )
    data = output.read_bytes()
    result = nopfix.rewrite(data)
    assert {insertion.function for insertion in result.report.insertions} == {"other"}
    assert contents(result.data, ".text.run") == contents(data, ".text.run")


def test_what_need_not_be_followed_does_not_keep_the_rest_from_being_listed(
    assemble: Assemble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.o"
    path.write_bytes(assemble(text()))
    assert command.main(["--explain", "--list", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith("callee\tinsert") for line in lines)
    assert any("not followed" in line for line in lines)
