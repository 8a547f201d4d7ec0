"""Distances in code that no relocation, or not enough of one, shows: refused where they change."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from nopfix import Refusal, rewrite
from nopfix.rewriter.object import elf
from nopfix.rewriter.object.program import Program
from nopfix.rewriter.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Assemble = Callable[..., bytes]

GCC, CLANG = shutil.which("powerpc64le-linux-gnu-gcc"), shutil.which("clang-19")

TEXT = """
    .abiversion 2
    .type f,@function
    .machine power10
f:  mflr 11
    bcl 20,31,$+4
.Lpc: mflr {register}
{body}
    mtlr 11
    blr
    .balign 4
.Lliteral: .long 4711
    .size f,.-f
    .type g,@function
g:  blr
    .size g,.-g
    .type here,@function
here:
    mflr 3
    blr
    .size here,.-here
"""

ACROSS = {
    "a load": "bl g; lwz 3,.Lliteral-.Lpc(31)",
    "a load of eight bytes": "bl g; ld 3,.Lliteral-.Lpc(31)",
    "a store": "bl g; stw 3,.Lliteral-.Lpc(31)",
    "an address": "bl g; addi 5,31,.Lliteral-.Lpc",
    "an address in two halves": "bl g; addis 5,31,0; addi 5,5,.Lliteral-.Lpc",
    "a copy": "mr 30,31; bl g; addi 5,30,.Lliteral-.Lpc",
    "a number in a register": "bl g; li 5,.Lliteral-.Lpc; add 6,31,5",
    "an index": "bl g; li 5,.Lliteral-.Lpc; lwzx 6,31,5",
    "a number in two halves": (
        "bl g; lis 5,(.Lliteral-.Lpc)@h; ori 5,5,(.Lliteral-.Lpc)@l; add 6,31,5"
    ),
    "a number that is shifted": "bl g; li 5,(.Lliteral-.Lpc)/4; sldi 5,5,2; lwzx 6,31,5",
    "a number that is multiplied": "bl g; li 5,(.Lliteral-.Lpc)/4; mulli 5,5,4; lwzx 6,31,5",
    "a number that is taken away": "bl g; li 5,.Lpc-.Lliteral; subf 6,5,31",
    "a number that was there before": "mr 30,31; li 5,.Lliteral-.Lpc; bl g; add 6,30,5",
    "a number with a carry": "bl g; addic 6,31,.Lliteral-.Lpc",
    "a prefixed number": "bl g; paddi 6,31,.Lliteral-.Lpc,0",
    "a prefixed load": "bl g; plwz 6,.Lliteral-.Lpc(31),0",
    "a load of a vector": "bl g; lxv 34,1f-.Lpc(31); nop; 1:",
    "over the stack": "std 31,40(1); bl g; ld 5,40(1); lwz 6,.Lliteral-.Lpc(5)",
    "over a frame": "std 31,40(1); stdu 1,-64(1); bl g; ld 5,104(1); lwz 6,.Lliteral-.Lpc(5)",
    "through CTR": "mtctr 31; bl g; mfctr 5; lwz 6,.Lliteral-.Lpc(5)",
    "through a special register": "mtspr 256,31; bl g; mfspr 5,256; lwz 6,.Lliteral-.Lpc(5)",
    "through a vector register": "mtvsrd 0,31; bl g; mfvsrd 5,0; lwz 6,.Lliteral-.Lpc(5)",
    "one of two": "bl g; isel 5,31,31,2; lwz 6,.Lliteral-.Lpc(5)",
    "in a block that lies in front": (
        "b 3f; 2: lwz 6,.Lliteral-.Lpc(30); b 4f; 3: mr 30,31; bl g; b 2b; 4:"
    ),
    "a literal that holds a distance": (
        "b 1f; 2: .8byte .Lliteral-.Lpc; 1: ld 5,2b-.Lpc(31); add 6,31,5; bl g"
    ),
    "addpcis": "lnia 31; 1: bl g; lwz 6,.Lliteral-1b(31)",
    "addpcis and a register more": "lnia 31; 1: bl g; li 5,.Lliteral-1b; lwzx 6,31,5",
    "a conditional branch over a word": (
        "bcl 20,31,1f; 2: nop; 1: mflr 30; bl g; lwz 6,.Lliteral-2b(30)"
    ),
    "a function that gives the return address": "bl here; 1: bl g; lwz 6,.Lliteral-1b(3)",
    "LR behind a call": "bl elsewhere; 1: mflr 5; bl g; lwz 6,.Lliteral-1b(5)",
    "backwards": "bl g; .Lbehind: addi 5,31,.Lbehind-.Lpc; addi 6,5,f-.Lbehind",
}


@pytest.mark.parametrize("body", ACROSS.values(), ids=ACROSS)
def test_a_distance_from_the_program_counter_across_a_slot_is_refused(
    assemble: Assemble, body: str
) -> None:
    with pytest.raises(Refusal, match="is added to the program counter"):
        rewrite(assemble(TEXT.format(register=31, body=body)))


RETURNED = """
    .abiversion 2
    .type front,@function
front:
    li 4,0
{end}
    .size front,.-front
    .type reads,@function
reads:
    mflr 0
    bcl 20,31,$+4
.Lpc: mflr 30
    mtlr 0
    blr
    .size reads,.-reads
    .type f,@function
f:  mflr 11
    bl {callee}
    SLOT
    bl g
    SLOT
    lwz 6,{distance}(30)
    mtlr 11
    blr
.Lliteral: .long 4711
    .size f,.-f
    .type g,@function
g:  blr
    .size g,.-g
"""


@pytest.mark.parametrize(
    ("callee", "end"), [("reads", " blr"), ("front", ""), ("front", " nop"), ("front", " bl g")]
)
def test_the_program_counter_comes_back_from_a_function_or_from_one_that_goes_on_to_it(
    assemble: Assemble, callee: str, end: str
) -> None:
    text = RETURNED.format(callee=callee, end=end, distance=".Lliteral-.Lpc").replace("SLOT", "")
    with pytest.raises(Refusal, match="is added to the program counter"):
        rewrite(assemble(text))


@pytest.mark.parametrize("end", [" blr", " blr\n .balign 16", " b g", " blr\n .long 0,0x900,0"])
def test_it_does_not_come_back_from_a_function_that_ends_in_front_of_it(
    assemble: Assemble, end: str
) -> None:
    text = RETURNED.format(callee="front", end=end, distance=48)
    assert rewrite(assemble(text.replace("SLOT", ""))).data == assemble(text.replace("SLOT", "nop"))


NEVER_RETURNS = TEXT.replace("mflr 11", "nop").replace("    mtlr 11\n    blr", "    b .")
"""A function that doesn't keep LR, which a branch over data changes."""

BETWEEN = {
    "a load from behind": "bl 1f; 2: .long 7; 1: mflr 30; bl g; lwz 6,.Lliteral-2b(30)",
    "a branch that changes": "bl 1f; b 2f; 1: mflr 5; bl g; 2:",
    "what looks like a call": "bl 1f; .long 0x48000009; 1: mflr 5; bl g",
    "a distance": "bl 1f; .long .Lliteral-.; 1: mflr 5; bl g",
    "a distance from the return address": "bcl 20,31,1f; 2: .long 1, .Lliteral-2b; 1: mflr 5; bl g",
}


@pytest.mark.parametrize("body", BETWEEN.values(), ids=BETWEEN)
def test_what_may_count_from_the_return_address_behind_its_branch_is_refused(
    assemble: Assemble, body: str
) -> None:
    with pytest.raises(Refusal, match=r"(may count from|is added to) the program counter"):
        rewrite(assemble(NEVER_RETURNS.format(register=31, body=body)))


def test_a_number_that_a_branch_to_read_lr_leads_over_is_no_distance(assemble: Assemble) -> None:
    text = NEVER_RETURNS.format(
        register=31, body="bl 1f; .long 4711; 1: mflr 5; lwz 6,0(5); bl g; SLOT"
    )
    wanted = assemble(text.replace("SLOT", "nop"))
    assert rewrite(assemble(text.replace("SLOT", ""))).data == wanted


WITHIN = {
    "a load in front of the slot": "ld 3,.Lnear-.Lpc(31); .Lnear: bl g; SLOT",
    "another register": "bl g; SLOT; addi 5,30,64",
    "a pointer that was loaded": "ld 9,0(31); bl g; SLOT; lwz 3,100(9)",
    "a register that holds something else": "li 31,0; bl g; SLOT; lwz 5,64(31)",
    "a pointer that walks": (
        "bl g; SLOT; addi 5,31,.Lnear-.Lpc-8; 1: lwzu 6,4(5); bdnz 1b; .Lnear: bl g; SLOT"
    ).replace("bl g; SLOT; addi", "addi"),
    "LR that was kept": "std 11,16(1); bl g; SLOT; ld 11,16(1); lwz 5,100(6)",
    "nothing added": "bl g; SLOT; addi 5,31,0",
}


@pytest.mark.parametrize("body", WITHIN.values(), ids=WITHIN)
def test_a_distance_that_stays_is_no_reason(assemble: Assemble, body: str) -> None:
    text = TEXT.format(register=31, body=body).replace(".Lliteral: .long 4711", "")
    wanted = assemble(text.replace("SLOT", "nop"))
    assert rewrite(assemble(text.replace("SLOT", ""))).data == wanted


VECTORS = """
    .abiversion 2
    .text
    .p2align 4
    .globl f
    .type f,@function
f:  mflr 0
    std 0,16(1)
    bl g
    SLOT
    bcl 20,31,.+4
.Lpc:
    mflr 9
    addi 9,9,.Ltable-.Lpc
    {load}
    ld 0,16(1)
    mtlr 0
    blr
    .size f,.-f
    {between}
.Ltable:
    .quad 1, 2, 3, 4
"""


@pytest.mark.parametrize(
    "load", ["lvx 0,0,9", "li 10,16; lvx 0,10,9", "lvewx 0,9,10", "stvx 1,0,9"]
)
def test_what_vectors_are_read_from_stays_aligned_or_is_refused(
    assemble: Assemble, load: str
) -> None:
    text = VECTORS.format(load=load, between=".space 64 - (. - f)")
    with pytest.raises(Refusal, match=r"a vector is read from 0x\d0, which is aligned to 16"):
        rewrite(assemble(text.replace("SLOT", "")))


@pytest.mark.parametrize("load", ["lxvd2x 0,0,9", "lwz 4,0(9)"])
def test_what_reads_from_any_address_needs_no_alignment(assemble: Assemble, load: str) -> None:
    plain = assemble(VECTORS.format(load=load, between=".space 64 - (. - f)").replace("SLOT", ""))
    assert rewrite(plain).report.insertions


@pytest.mark.parametrize("word", ["outside-.Lpc", "elsewhere+4-.Lpc"])
@pytest.mark.parametrize("directive", [".long", ".quad"])
def test_a_word_that_counts_from_a_base_across_a_slot_is_refused(
    assemble: Assemble, word: str, directive: str
) -> None:
    body = f"bl g; b .Lout; {directive} {word}; .Lout:"
    other = '    .section .text.other,"ax"\n    nop\nelsewhere: nop\n    nop\n'
    text = TEXT.format(register=31, body=body) + other
    with pytest.raises(Refusal, match="counts from another place than its own"):
        rewrite(assemble(text))


def test_a_word_that_counts_from_itself_moves(assemble: Assemble) -> None:
    text = TEXT.format(register=31, body="bl g; SLOT; b .Lout; .long outside-.; .Lout:")
    wanted = assemble(text.replace("SLOT", "nop"))
    assert rewrite(assemble(text.replace("SLOT", ""))).data == wanted
    plain = TEXT.format(register=31, body="bl g; b .Lout; .long g-.-4; .Lout:")
    assert rewrite(assemble(plain), Options(plain_sections=[".text"])).report.insertions


PLUS = """
extern int ext(int);
static __attribute__((noinline)) int h(int x) { return ext(x) * 3 + 1; }
void *address;
int f(int x)
{
    address = &&a + %s;
    x = h(x);
a:  x = h(x);
    if (x == 9) goto *address;
    return x;
}
"""


@pytest.mark.skipif(GCC is None, reason="powerpc64le-linux-gnu-gcc is not installed")
@pytest.mark.parametrize("number", ["1", "77", "-3"])
@pytest.mark.parametrize("model", ["medium", "large"])
def test_the_address_of_a_label_and_a_number_that_is_no_instructions_is_refused(
    tmp_path: Path, number: str, model: str
) -> None:
    assert GCC is not None
    (tmp_path / "f.c").write_text(PLUS % number)
    command = [GCC, "-O2", f"-mcmodel={model}", "-c", "f.c", "-o", "f.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    data = (tmp_path / "f.o").read_bytes()
    assert _holds_odd_address(data)
    with pytest.raises(Refusal, match="a label and a number"):
        rewrite(data)


INTO_A_TABLE = """
.abiversion 2
.section .data.rel.ro.local,"aw"
.quad .La+{number}
.text
.type f,@function
f: addis 2,12,.TOC.-f@ha; addi 2,2,.TOC.-f@l; .localentry f,.-f
.La: bl g; bl g; blr
.long 0; .byte 0,0,0,1,128,0,0,0
.size f,.-f
.type g,@function
g: blr
.size g,.-g
"""


@pytest.mark.parametrize("number", [13, 16, 17, 20, 23])
def test_a_label_and_a_number_that_lead_into_a_traceback_table_are_refused(
    assemble: Assemble, number: int
) -> None:
    with pytest.raises(Refusal, match="no instruction's: a label and a number"):
        rewrite(assemble(INTO_A_TABLE.format(number=number)))


@pytest.mark.parametrize("number", [0, 12, 24])
def test_where_code_ends_and_where_the_table_does_have_addresses(
    assemble: Assemble, number: int
) -> None:
    assert rewrite(assemble(INTO_A_TABLE.format(number=number))).report.insertions


def _holds_odd_address(data: bytes) -> bool:
    """Whether a relocation makes an address of code that is no multiple of 4."""
    program = Program(elf.read(data))
    return any(
        reference.offset & 3
        for number in program.obj.relocations
        for reference in program.references_to_code_from(number)
    )


SLEDS = """
extern int g(int);
static __attribute__((noinline)) int h(int x) { return g(x) * 3 + 1; }
int f1(int x) { return h(x) + h(x + 1) + 1; }
int f2(int x) { return h(x) - h(x + 2) * 5; }
int f3(int x) { return h(x) * h(x + 3) + 7 + h(x + 5); }
int f4(int x) { if (x) return h(x) * h(x + 3) + 9; return h(x) + 2; }
"""


@pytest.mark.skipif(CLANG is None, reason="clang-19 is not installed")
@pytest.mark.parametrize("level", ["-O1", "-O2", "-Os"])
def test_the_sleds_of_a_tracer_stay_aligned(tmp_path: Path, level: str) -> None:
    assert CLANG is not None
    (tmp_path / "f.c").write_text(SLEDS)
    options = ["-fxray-instrument", "-fxray-instruction-threshold=1", "-c", "f.c", "-o", "f.o"]
    target = "--target=powerpc64le-linux-gnu"
    subprocess.run([CLANG, target, level, *options], cwd=tmp_path, check=True)
    result = rewrite((tmp_path / "f.o").read_bytes())
    assert result.report.insertions
    program = Program(elf.read(result.data))
    table = next(s.number for s in program.obj.sections if s.name == "xray_instr_map")
    sleds = [r.offset for r in program.references_from(table) if r.place % 32 == 0]
    assert sleds
    assert not any(offset % 8 for offset in sleds)


# clang -mcmodel=large: a register that held a number takes an entry of a table of distances.
ENTRY = """
 .text
 .type f,@function
f: li 3,52
 stvx 2,1,3
 bl .+4
.Lp: mflr 5
.Lloop: ld 6,.LC0@toc(2)
 cmplwi 4,1
 bgt .Lb
 rldic 3,4,2,30
 BEHIND
 add 3,3,5
 mtctr 3
 bctr
.La: bl g
 SLOT
 b .Lloop
.Lb: bl g
 SLOT
 blr
 .size f,.-f
 .section .rodata
.Lt: .long .La-.Lp, .Lb-.Lp
 .section .toc,"aw"
.LC0: .quad .Lt
"""


def test_what_was_just_read_is_no_number_that_the_register_held_before(assemble: Assemble) -> None:
    text = ENTRY.replace("BEHIND", "lwax 3,3,6")
    wanted = assemble(text.replace("SLOT", "nop"))
    assert rewrite(assemble(text.replace("SLOT", ""))).data == wanted


@pytest.mark.parametrize(
    "number",
    {
        "straight on": "li 3,.Lb-.Lpc; nop;",
        "on one of two ways": "li 3,.Lb-.Lpc; cmpwi 4,1; beq .Lin; lwz 3,0(4); .Lin:",
        "in two steps": "li 3,.Lb-.Lpc-4; b .Lin; .Lin: addi 3,3,4;",
        "carried on": "li 6,.Lb-.Lpc; mr 3,6;",
    }.values(),
)
def test_a_number_that_reaches_the_sum_on_some_way_is_followed(
    assemble: Assemble, number: str
) -> None:
    text = TEXT.format(register=5, body=f"{number} add 3,3,5; lwz 3,0(3); bl g; .Lb: mr 4,3")
    with pytest.raises(Refusal, match="added to the program counter"):
        rewrite(assemble(text))


ADDED_TO_A_LABEL = """
static __attribute__((noinline)) int g(int x) {{ __asm__ volatile("" : "+r"(x)); return x + 1; }}
long f(int x)
{{
  if (x == 9) goto *(void *)(long)x;
a: x = g(x);
b: x = g(x);
  if (x == {number}) goto *(&&a + x);
  if (x > 100) goto a;
  if (x > 90) goto b;
  return (char *)&&b - (char *)&&a;
}}
"""


@pytest.mark.skipif(GCC is None, reason="needs powerpc64le-linux-gnu-gcc")
@pytest.mark.parametrize("options", ["-O2", "-Os", "-O2 -g"])
@pytest.mark.parametrize("number", [-8, 4, 8, 12, 40, 76, 77])
def test_a_number_that_is_added_to_a_labels_address_is_refused(
    number: int, options: str, tmp_path: Path
) -> None:
    """GCC folds ``&&a + 8`` into one address, and takes the 8 off again for ``&&b - &&a``."""
    source, made = tmp_path / "f.c", tmp_path / "f.o"
    source.write_text(ADDED_TO_A_LABEL.format(number=number))
    subprocess.run([str(GCC), *options.split(), "-w", "-c", source, "-o", made], check=True)
    data = made.read_bytes()
    reasons = "number is added|of unknown origin is added|no instruction's"
    with pytest.raises(Refusal, match=reasons):
        rewrite(data)
