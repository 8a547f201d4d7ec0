"""Who names a place: each kind of claim to a no-op, against what the assembler makes of it.

``SLOT`` in a text is nothing in the object that is rewritten, and a nop in the wanted one.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from nopfix import Refusal, rewrite
from nopfix.rewriter import command
from nopfix.rewriter.object import claims, elf
from nopfix.rewriter.object.program import Program
from nopfix.rewriter.options import Options
from nopfix.verifier import verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Assemble = Callable[..., bytes]

GCC = shutil.which("powerpc64le-linux-gnu-gcc")
needs_gcc = pytest.mark.skipif(GCC is None, reason="powerpc64le-linux-gnu-gcc is not installed")

FUNCTION = """
    .abiversion 2
    .type f,@function
f:  mflr 0
{body}
    blr
    .size f,.-f
    .type g,@function
g:  blr
    .size g,.-g
{behind}
"""

NOP = 0x60000000


def function(body: str, behind: str = "") -> str:
    """The text of a function with ``body`` in it, and of a function g to call."""
    return FUNCTION.format(body=body, behind=behind)


def plain_and_wanted(assemble: Assemble, text: str) -> tuple[bytes, bytes]:
    """The object that lacks the slots of ``text``, and the one that has them."""
    return assemble(text.replace("SLOT", "")), assemble(text.replace("SLOT", "nop"))


CLAIMS = {
    "a symbol": "    .globl entry\nentry: nop\n",
    "a local symbol": "entry: nop\n",
    "a probe's note, which isn't loaded": (
        '1:  nop\n    .pushsection .note.stapsdt,"",@note; .8byte 1b; .popsection\n'
    ),
    "another note": ('1:  nop\n    .pushsection .note.probes,"a",@note; .8byte 1b; .popsection\n'),
    "a patch site in read-only data": (
        '1:  nop\n    .pushsection .rodata,"a"; site: .4byte 1b - .; .popsection\n'
    ),
    "a distance of eight bytes in data": (
        '1:  nop\n    .pushsection .data.site,"aw"; site: .8byte 1b - .; .popsection\n'
    ),
    "a static key": (
        '1:  nop\n    .pushsection __jump_table,"aw"; .long 1b - ., 2f - .; .8byte key - .\n'
        "    .popsection\n2:\n    .pushsection .data; key: .8byte 0; .popsection\n"
    ),
    "a branch": "1:  nop\n    b 1b\n",
    "a branch from another section": (
        '1:  nop\n    .pushsection .text.other,"ax"; b 1b; .popsection\n'
    ),
}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_a_nop_that_somebody_names_is_no_calls_slot(assemble: Assemble, claim: str) -> None:
    text = function("    bl g\n    SLOT\n" + claim + "    mr 3,3\n" * 8 + "    bl g\n    SLOT\n")
    plain, wanted = plain_and_wanted(assemble, text)
    assert rewrite(plain).data == wanted


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS.values() if "1b - ." not in claim])
def test_a_nop_that_somebody_names_in_front_of_an_aligned_loop_is_no_padding(
    assemble: Assemble, claim: str
) -> None:
    """Two slots in front of it would take the place of two nops of padding, and need none."""
    body = "    bl g\n    SLOT\n" + "    mr 3,3\n" * 10 + claim
    body += "    nop\n    nop\n.Lloop: addi 3,3,-1\n    cmpdi 3,0\n    bne .Lloop\n"
    text = function(body).replace("    .abiversion 2", "    .abiversion 2\n    .p2align 4")
    plain, _ = plain_and_wanted(assemble, text)
    old, new = elf.read(plain), elf.read(rewrite(plain).data)
    count = bytes(old.contents(1)).count(NOP.to_bytes(4, "little"))
    assert bytes(new.contents(1)).count(NOP.to_bytes(4, "little")) >= count


WHO = {
    "a branch": "a branch",
    "a symbol": "symbol entry",
    "a probe's note, which isn't loaded": ".note.stapsdt+0x0",
    "a static key": "__jump_table+0x0",
    "a branch from another section": ".text.other+0x0",
}


@pytest.mark.parametrize("claim", WHO)
def test_a_list_of_calls_says_who_names_the_nop_that_is_no_slot(
    assemble: Assemble, claim: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.o"
    path.write_bytes(assemble(function("    bl g\n" + CLAIMS[claim] + "    bl g\n")))
    assert command.main(["--list", str(path)]) == 0
    first, second = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert first[3:] == ["insert", f"the no-op behind it is named by {WHO[claim]}"]
    assert second[3:] == ["insert"]


def test_a_nop_that_nobody_names_is_the_slot_of_the_call_in_front_of_it(
    assemble: Assemble,
) -> None:
    data = assemble(function("    bl g\n    nop\n    bl g\n    nop\n"))
    assert rewrite(data).data == data


def test_what_is_patched_as_a_whole_is_held_from_its_first_word_to_its_last(
    assemble: Assemble,
) -> None:
    body = """
1:  mr 3,3
    nop
2:  bl g
    .pushsection __ftr_alt_97,"a"
3:  isync
    nop
4:  .popsection
    .pushsection __ftr_fixup,"a"
5:  .8byte 1, 2, 1b-5b, 2b-5b, 3b-5b, 4b-5b
    .popsection
"""
    obj = elf.read(assemble(function(body)))
    found = claims.collect(Program(obj), {1}, {})[1]
    assert found.held == {4, 8}
    assert {4, 12} <= found.named.keys()


def test_a_base_relative_addend_names_its_target(assemble: Assemble) -> None:
    body = '    nop\n1:  nop\n    .pushsection .rodata,"a"; 5: .4byte 0, 1b - 5b; .popsection\n'
    obj = elf.read(assemble(function(body)))
    table = next(s.number for s in obj.sections if s.name == ".rodata")
    assert 12 in claims.collect(Program(obj), {1}, {})[1].named
    proved = claims.collect(Program(obj), {1}, {(table, 4): 0})[1].named
    assert 8 in proved
    assert 12 not in proved


RETURNS = {
    "a pointer": ".8byte {label}",
    "a pointer of four bytes": ".4byte {label}",
    "a pointer among others": ".8byte f, {label}, g",
    "a pointer that needn't be aligned": ".byte 0; .8byte {label}",
}


@pytest.mark.parametrize("data", RETURNS.values(), ids=RETURNS)
@pytest.mark.parametrize("nop", ["", "    nop\n"])
def test_the_address_of_the_word_behind_a_call_in_data_is_refused(
    assemble: Assemble, data: str, nop: str
) -> None:
    """A return address stays with the call, a label moves away from it."""
    behind = f'    .section .data.frames,"aw"\nframes: {data.format(label=".Lback")}\n'
    text = function("    bl g\n.Lback:\n" + nop, behind)
    with pytest.raises(Refusal, match="a return address and a label") as caught:
        rewrite(assemble(text))
    assert caught.value.section == ".data.frames"
    assert rewrite(assemble(text), Options(exempt=["g"])).report.insertions == []


def test_the_entry_of_a_function_behind_a_call_is_nobodys_return_address(
    assemble: Assemble,
) -> None:
    text = function("    bl g\n    SLOT\n", "    .data\n    .8byte g, h\n    .text\nh:  blr\n")
    text = text.replace("    blr\n    .size f,.-f", "    .size f,.-f").replace("h:", ".globl h\nh:")
    plain, wanted = plain_and_wanted(assemble, text)
    assert rewrite(plain).data == wanted


LABELS = """
extern int ext(void **);
static __attribute__((noinline)) int h(void **x) { return ext(x) * 3 + 1; }
int f(int n)
{
    static void *labels[] = { &&a };
    h(labels);
a:  return n;
}
"""


@needs_gcc
@pytest.mark.parametrize("options", [["-O0"], ["-O0", "-fdata-sections"], ["-O1"]])
def test_what_a_variable_declared_in_a_function_holds_are_labels(
    tmp_path: Path, options: list[str]
) -> None:
    """No branch here reads them: the program hands them on."""
    assert GCC is not None
    source = tmp_path / "f.c"
    source.write_text(LABELS)
    output = tmp_path / "f.o"
    subprocess.run([GCC, *options, "-c", source, "-o", output], check=True)
    assert rewrite(output.read_bytes()).report.insertions


FRAME_TABLE = """
    .data
    .globl {name}
{name}:
    .8byte 1, .Lback
    .short 64, 0
"""


@pytest.mark.parametrize("name", ["camlM__frametable", "caml_system__frametable"])
def test_a_frame_tables_nop_is_the_slot_of_its_call(assemble: Assemble, name: str) -> None:
    text = function("    bl g\n.Lback:\n    nop\n    bl g\n    SLOT\n", FRAME_TABLE)
    plain, wanted = plain_and_wanted(assemble, text.format(name=name))
    assert rewrite(plain).data == wanted


def test_a_frame_table_whose_call_has_no_nop_is_refused(assemble: Assemble) -> None:
    text = function("    bl g\n.Lback:\n    ld 2,40(1)\n", FRAME_TABLE)
    with pytest.raises(Refusal, match="a table of return addresses names the call of g"):
        rewrite(assemble(text.format(name="camlM__frametable")))


COMPUTED_GOTO = """
extern int ext(int);
static __attribute__((noinline)) int h(int x) { return ext(x) * 3 + 1; }
int f(int i, int n)
{
    static STATIC_TYPE labels[] = { &&a, &&b, &&c };
    goto *labels[i];
a:  n += h(n);
b:  n = h(n + 1); asm volatile("");
c:  return n;
}
"""


@needs_gcc
@pytest.mark.parametrize("kind", ["void *const", "void *"])
@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2", "-Os"])
def test_labels_that_a_computed_goto_reads_are_no_return_addresses(
    tmp_path: Path, kind: str, level: str
) -> None:
    assert GCC is not None
    source = tmp_path / "f.c"
    source.write_text(COMPUTED_GOTO.replace("STATIC_TYPE", kind))
    output = tmp_path / "f.o"
    subprocess.run([GCC, level, "-c", source, "-o", output], check=True)
    assert rewrite(output.read_bytes()).report.insertions


INLINE_DATA = {
    "a relocated word": "    bl 1f\n    .long ext - .\n1:  mflr 9\n    lwa 4,0(9)\n",
    "a plain word": "    bl 1f\n    .long 1234\n1:  mflr 9\n    lwz 4,0(9)\n",
    "words that look like code": "    bl 1f\n    .long 0x60000001\n1:  mflr 12\n",
    "nothing": "    bl 1f\n1:  mflr 9\n",
    "a string": '    bl 1f\n    .asciz "message"\n1:  mflr 3\n',
}


@pytest.mark.parametrize("body", INLINE_DATA.values(), ids=INLINE_DATA)
def test_a_branch_to_a_label_that_reads_lr_is_no_call(assemble: Assemble, body: str) -> None:
    plain, wanted = plain_and_wanted(assemble, function("    bl g\n    SLOT\n" + body))
    assert rewrite(plain).data == wanted


KEEPING = {
    "in a register": "1:  mflr 0\n    bcl 20,31,.+4\n    mflr 6\n    addi 6,6,8\n"
    "    mtlr 0\n    blr\n",
    "where the ABI keeps it": "1:  mflr 0\n    std 31,-8(1)\n    std 0,16(1)\n    lwz 4,0(3)\n"
    "    ld 0,16(1)\n    mtlr 0\n    blr\n",
}


@pytest.mark.parametrize("subroutine", KEEPING.values(), ids=KEEPING)
@pytest.mark.parametrize("where", ["in the function", "behind it"])
def test_a_subroutine_that_only_keeps_lr_is_called(
    assemble: Assemble, subroutine: str, where: str
) -> None:
    body = "    bl 1f\n    SLOT\n    bl g\n    SLOT\n"
    if where == "behind it":
        text = function(body) + subroutine
    else:
        text = function(f"{body}    b 2f\n{subroutine}2:\n")
    plain, wanted = plain_and_wanted(assemble, text)
    assert rewrite(plain).data == wanted
    assert verify(plain, wanted, need_slots=True).verified


@pytest.mark.parametrize("recursion", ["f", "f+8"])
def test_a_function_that_calls_itself_is_called(assemble: Assemble, recursion: str) -> None:
    text = function(f"    bl {recursion}\n    SLOT\n")
    text = text.replace("f:  mflr 0", "f:  nop\n    nop\n    .localentry f,8\n    mflr 0")
    plain, wanted = plain_and_wanted(assemble, text)
    assert rewrite(plain).data == wanted


@pytest.mark.parametrize("word", [".long ext - .", ".8byte ext", ".long 77"])
def test_data_behind_a_call_of_a_function_is_refused(assemble: Assemble, word: str) -> None:
    with pytest.raises(Refusal, match="the call of g has data behind it"):
        rewrite(assemble(function(f"    bl g\n    {word}\n    mr 3,3\n")))


@pytest.mark.parametrize("name", ["__morestack", "__morestack_non_split"])
def test_morestack_counts_from_its_return_address(assemble: Assemble, name: str) -> None:
    body = f"    bl {name}\n    ld 0,16(1)\n    mtlr 0\n    blr\n    bl g\n    SLOT\n"
    plain, wanted = plain_and_wanted(assemble, function(body))
    assert rewrite(plain).data == wanted


@pytest.mark.parametrize("branch", ["blt", "b", "bdnz"])
def test_a_relocation_that_fills_nothing_doesnt_hide_a_branch(
    assemble: Assemble, branch: str
) -> None:
    body = f".Lagain:\n    bl g\n    SLOT\n    .reloc .,R_PPC64_NONE,keep\n    {branch} .Lagain\n"
    plain, wanted = plain_and_wanted(assemble, function(body))
    assert rewrite(plain).data == wanted


OBJECTS = {
    "templates": ".long 0x7c0802a6, 0x48000001, 0x48000009, 0x4bfffff9, 0x4e800020",
    "a string": '.ascii "HKLK"',
    "an address among numbers": ".long 0x48000009; .8byte g; .long 0x4bfffff9",
}


@pytest.mark.parametrize("data", OBJECTS.values(), ids=OBJECTS)
@pytest.mark.parametrize("first", [True, False])
def test_what_a_symbol_declares_an_object_is_data(
    assemble: Assemble, data: str, first: bool
) -> None:
    table = f"    .type table,@object\n    .balign 4\ntable: {data}\n    .size table,.-table\n"
    calling = function("    bl g\n    SLOT\n    bl g\n    SLOT\n")
    head, tail = "    .abiversion 2\n", calling.replace("    .abiversion 2\n", "")
    text = head + (table + tail if first else tail + table)
    plain, wanted = plain_and_wanted(assemble, text)
    assert rewrite(plain).data == wanted


def test_an_object_that_a_branch_leads_to_is_code(assemble: Assemble) -> None:
    """GHC declares its code as objects."""
    code = "    .type table,@object\n    .globl table\ntable: bl g\n    SLOT\n    blr\n"
    text = function("    bl table\n    SLOT\n", code + "    .size table,.-table\n")
    plain, wanted = plain_and_wanted(assemble, text)
    assert rewrite(plain).data == wanted
