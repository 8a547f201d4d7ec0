"""What lies between functions: padding in any style, and words that belong to the second one."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from nopfix import rewrite
from nopfix.rewriter.layout import gaps
from nopfix.rewriter.layout.layout import Alignment
from nopfix.rewriter.object import elf
from nopfix.rewriter.object.program import Functions
from nopfix.verifier import verify

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Assemble

NOP = 0x60000000
GROUP = 0x60420000
LI = 0x38600000
BLR = 0x4E800020


def test_the_gap_between_functions_is_padding_if_it_is_exactly_the_assemblers() -> None:
    words = [LI, BLR, NOP, GROUP, LI, BLR, LI, LI, BLR]
    functions = Functions([0, 16, 32], [8, 24, 36], ["f", "g", "h"])
    found = gaps.function_gaps(words, functions, [])
    assert found == [Alignment(8, 16, 1), Alignment(24, 32, 1, filler=LI)]


def test_what_somebody_names_in_a_gap_begins_the_function() -> None:
    words = [LI, BLR, NOP, NOP, NOP, LI, BLR]
    functions = Functions([0, 20], [8, 28], ["f", "g"])
    assert gaps.function_gaps(words, functions, [], {16}) == [Alignment(8, 16, 1)]
    assert gaps.function_gaps(words, functions, [], {8, 16}) == [Alignment(8, 8, 1)]


def test_functions_that_share_a_gap_size_share_the_alignment() -> None:
    between = [Alignment(8, 16, 1), Alignment(32, 32, 1), Alignment(60, 64, 1)]
    found = gaps.function_alignments(between, 16, 0)
    assert [gap.alignment for gap in found] == [16, 16, 16]


def test_functions_off_the_grid_are_not_aligned() -> None:
    between = [Alignment(20, 20, 1), Alignment(32, 32, 1)]
    assert gaps.function_alignments(between, 16, 0) == []


def test_functions_account_for_a_sections_alignment_that_nothing_else_does() -> None:
    between = [Alignment(56, 64, 1), Alignment(192, 192, 1)]
    found = gaps.function_alignments(between, 64, 32)
    assert [gap.alignment for gap in found] == [64, 64]
    found = gaps.function_alignments(between, 32, 32)
    assert [gap.alignment for gap in found] == [16, 16]
    found = gaps.function_alignments(between, 32, 16)
    assert [gap.alignment for gap in found] == [32, 32]
    off = [*between, Alignment(204, 208, 1)]
    found = gaps.function_alignments(off, 64, 0)
    assert [gap.alignment for gap in found] == [16, 16, 16]


def test_labels_account_for_no_more_than_compilers_align_loops_to() -> None:
    assert gaps.accounted_alignment({4, 24, 100}, []) == 0
    assert gaps.accounted_alignment({4, 48}, []) == 16
    assert gaps.accounted_alignment({48, 96}, []) == 32
    assert gaps.accounted_alignment({256}, []) == 32
    assert gaps.accounted_alignment({4}, [Alignment(8, 8, 8)]) == 8


def test_llvm_aligns_short_loops_and_those_in_loops_to_more_than_others() -> None:
    def found(*branches: tuple[int, int]) -> set[int]:
        return gaps.aligned_by_llvm(branches)

    assert found((40, 32), (96, 64), (160, 200)) == set()
    assert found((48, 32), (92, 64)) == {32, 64}
    assert found((220, 32), (140, 64), (300, 40)) == {64}
    assert found((140, 64), (220, 64), (260, 64)) == set()


def test_functions_are_aligned_as_the_compiler_was_told_where_they_lie_on_that_grid() -> None:
    between = [Alignment(56, 64, 1), Alignment(192, 192, 1)]
    found = gaps.function_alignments(between, 64, 64, 64)
    assert [gap.alignment for gap in found] == [64, 64]
    for section, told in ((32, 64), (128, 128)):
        found = gaps.function_alignments(between, section, 128, told)
        assert [gap.alignment for gap in found] == [16, 16]


def test_alignment_is_capped_by_the_sections_own() -> None:
    between = [Alignment(64, 64, 1)]
    assert gaps.function_alignments(between, 4, 0) == []


FUNCTION = """
    .globl {name}
    .type {name},@function
{name}:
    mflr 0
    stdu 1,-32(1)
    bl ext
    SLOT
    addi 1,1,32
    mtlr 0
{more}
    blr
    .size {name},.-{name}
"""


def functions(between: str, *sizes: int) -> str:
    """A function in front of each of ``between``, and one behind; of so many more words each."""
    texts = [
        FUNCTION.format(name=f"f{index}", more="    li 4,0\n" * size)
        for index, size in enumerate((*sizes, 0))
    ]
    return "    .abiversion 2\n" + between.join(texts)


def moved(assemble: Assemble, text: str) -> tuple[dict[str, int], elf.Object]:
    """Where each symbol lies in the rewritten object, and that."""
    plain = assemble(text.replace("SLOT", ""))
    new = elf.read(rewrite(plain).data)
    symbols = new.symbols
    return {symbols.name(i): value for i, value in enumerate(symbols.values)}, new


FILLERS = {
    "traps": ".balignl 32,0x7fe00008",
    "traps, to 64": ".balignl 64,0x7fe00008",
    "traps, as bytes are": ".p2alignl 4,0x7fe00008",
    "zeros": ".balign 32,0",
    "zeros, to 16": ".p2align 4,0",
    "halfwords": ".balignw 32,0x1234",
    "bytes of a no-op": ".balign 16,0x60",
    "returns": ".balignl 32,0x4e800020",
}


@pytest.mark.parametrize("directive", [own for own in FILLERS.values() if "7fe00008" in own])
def test_traps_between_functions_are_padding(assemble: Assemble, directive: str) -> None:
    text = functions(f"    {directive}\n", 0, 1, 2, 3, 4, 5)
    plain, wanted = assemble(text.replace("SLOT", "")), assemble(text.replace("SLOT", "nop"))
    assert rewrite(plain).data == wanted
    assert verify(plain, wanted, need_slots=True).verified


INTO_THE_NEXT = """
    .p2align 5
    .type f,@function
f:  blr
    .size f,.-f
    .balignl 32,0x7fe00008
    .type g,@function
g:  mflr 0
    bl ext
SLOT
    mtlr 0
    addi 3,3,1
    addi 3,3,1
    addi 3,3,1
    addi 3,3,1
{last}
    .size g,.-g
{align}
    .type h,@function
h:  blr
    .size h,.-h
"""


@pytest.mark.parametrize("last", ["    li 3,1", "    bl ext\nSLOT", "    bne 0,h"])
def test_code_that_goes_on_to_the_next_function_gets_no_traps_on_its_way(
    assemble: Assemble, last: str
) -> None:
    plain = assemble(INTO_THE_NEXT.format(last=last, align="").replace("SLOT", ""))
    result = rewrite(plain).data
    assert verify(plain, result, need_slots=True).verified
    new = elf.read(result)
    number = next(section.number for section in new.sections if section.name == ".text")
    words = bytes(new.contents(number))[32:]
    assert gaps.TRAP.to_bytes(4, "little") not in words
    filled = INTO_THE_NEXT.format(last=last, align="    .balignl 32,0x7fe00008")
    assert not verify(plain, assemble(filled.replace("SLOT", "nop"))).verified


LLVMS = """
    .abiversion 2
    .p2align 5
    .type f,@function
f:  mflr 0
    bl ext
SLOT
    bl ext
SLOT
    mtlr 0
    li 4,0
    li 4,0
    li 4,0
{loops}
    blr
    .size f,.-f
    .p2align {power}
    .type g,@function
g:  blr
    .size g,.-g
    .ident "clang version 19.1.7"
"""
LOOP = "    .p2align {}\n{}:\n    .rept {}\n    addi 4,4,1\n    .endr\n{}    bdnz {}\n"
LOOPS = {
    "13 long": (LOOP.format(4, "a", 13, "", "a"), 5),
    "12 long": (LOOP.format(4, "a", 12, "", "a"), 5),
    "6 long": (LOOP.format(5, "a", 6, "", "a"), 4),
    "one in another": (
        LOOP.format(4, "a", 5, LOOP.format(5, "b", 14, "", "b"), "a"),
        4,
    ),
}


@pytest.mark.parametrize(("loops", "power"), LOOPS.values(), ids=LOOPS)
def test_a_loop_that_llvm_aligns_to_16_accounts_for_no_more(
    assemble: Assemble, loops: str, power: int
) -> None:
    """What fills the gaps is gas's here and would be LLVM's: where things lie is compared."""
    text = LLVMS.format(loops=loops, power=power)
    found, _ = moved(assemble, text)
    wanted = elf.read(assemble(text.replace("SLOT", "nop"))).symbols
    assert found == {wanted.name(i): value for i, value in enumerate(wanted.values)}


ENTERED_TRAPS = """
    .p2align 4
    .type f,@function
f:  mflr 0
    bl ext
SLOT
    cmpdi 3,0
    bne {label}
    mtlr 0
    {last}
    .size f,.-f
1:  .rept {count}
    trap
    .endr
{align}
    .type g,@function
g:  blr
    .size g,.-g
"""


@pytest.mark.parametrize(("label", "last"), [("1f", "blr"), (".+12", "mtctr 3")])
def test_traps_that_a_branch_leads_to_or_code_goes_on_to_are_no_padding(
    assemble: Assemble, label: str, last: str
) -> None:
    text = ENTERED_TRAPS.replace("{label}", label).replace("{last}", last)
    plain = assemble(text.format(count=2, align="").replace("SLOT", ""))
    result = rewrite(plain).data
    assert verify(plain, result, need_slots=True).verified
    gone = text.format(count=1, align="").replace("SLOT", "nop")
    assert not verify(plain, assemble(gone)).verified
    new = elf.read(result)
    number = next(section.number for section in new.sections if section.name == ".text")
    assert bytes(new.contents(number)).count(gaps.TRAP.to_bytes(4, "little")) == 2


@pytest.mark.parametrize("directive", FILLERS.values(), ids=FILLERS)
@pytest.mark.parametrize("sizes", [(3,), (0, 1, 2, 3, 4, 5)], ids=["one", "several"])
def test_behind_a_filler_of_ones_own_a_function_stays_aligned(
    assemble: Assemble, directive: str, sizes: tuple[int, ...]
) -> None:
    text = functions(f"    {directive}\n", *sizes)
    places, _ = moved(assemble, text)
    plain = assemble(text.replace("SLOT", ""))
    assert verify(plain, rewrite(plain).data, need_slots=True).verified
    alignment = 16 if "p2align" in directive or "16," in directive else 32
    assert [places[f"f{i + 1}"] % alignment for i in range(len(sizes))] == [0] * len(sizes)


def test_behind_a_label_at_a_functions_end_zeros_stay_with_the_next_one(
    assemble: Assemble,
) -> None:
    for label in ("", "f0_end:\n", "    .type f0_end,@function\nf0_end:\n"):
        text = functions(f"{label}    .balign 16,0\n", 4)
        places, new = moved(assemble, text)
        (number,) = (section.number for section in new.sections if section.name == ".text")
        code = bytes(new.contents(number))
        assert places["f1"] % 16 == 0
        assert code[places["f1"] - 4 : places["f1"]] == bytes(4)


BRANCHES = ".long 0x48000011, 0x41820008, 0x48000010, 5"
PREFIXES = {
    "numbers": ".long 1, 2, 3, 4",
    "one number again and again": ".long 7, 7, 7, 7",
    "zeros": ".quad 0, 0",
    "zeros that end off the grid": ".long 0, 0, 0",
    "what looks like a call and branches": BRANCHES,
    "an address": ".quad f0, 0",
    "an address behind a number": ".quad 9, f0",
    "a distance": ".long f0 - ., 1, 2, 3",
}


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
@pytest.mark.parametrize("directive", ["", ".p2align 4", ".p2align 5"])
def test_what_lies_in_front_of_a_function_stays_there(
    assemble: Assemble, prefix: str, directive: str
) -> None:
    text = functions(f"    {directive}\n    {prefix}\n", 1, 1, 3)
    plain = assemble(text.replace("SLOT", ""))
    old = elf.read(plain)
    places, new = moved(assemble, text)
    size = 12 if prefix == ".long 0, 0, 0" else 16
    for index in range(1, 4):
        name = f"f{index}"
        was = next(v for i, v in enumerate(old.symbols.values) if old.symbols.name(i) == name)
        (number,) = (s.number for s in old.sections if s.name == ".text")
        before = bytes(old.contents(number))[was - size : was]
        after = bytes(new.contents(number))[places[name] - size : places[name]]
        assert after == before
        assert places[name] % 16 == was % 16 or not directive
    if prefix != BRANCHES:  # nopfix-verify takes such words for code, and says no
        assert verify(plain, rewrite(plain).data, need_slots=True).verified


LLVM = """
target triple = "powerpc64le-unknown-linux-gnu"
declare void @ext()
define internal void @callee() nounwind noinline {{
  call void @ext()
  ret void
}}
define dso_local void @f() nounwind prefix {data} {{
  call void @callee()
  call void @callee()
  ret void
}}
define dso_local void @g() nounwind prefix {data} {{
  call void @callee()
  call void @callee()
  ret void
}}
"""
LLVM_PREFIXES = {
    "numbers": "[4 x i32] [i32 1, i32 2, i32 3, i32 4]",
    "zeros": "[4 x i32] zeroinitializer",
    "an address": "<{ ptr, i64 }> <{ ptr @ext, i64 5 }>",
}


@pytest.mark.parametrize("data", LLVM_PREFIXES.values(), ids=LLVM_PREFIXES)
def test_prefix_data_that_llvm_writes_stays_with_its_function(data: str, tmp_path: Path) -> None:
    clang = shutil.which("clang-19")
    if clang is None:
        pytest.skip("needs clang-19")
    (tmp_path / "f.ll").write_text(LLVM.format(data=data))
    command = [clang, "--target=powerpc64le-linux-gnu", "-O2", "-c", "f.ll", "-o", "f.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    plain = (tmp_path / "f.o").read_bytes()
    result = rewrite(plain)
    assert result.report.insertions
    for name in ("f", "g"):
        in_front = []
        for data_of in (plain, result.data):
            obj = elf.read(data_of)
            symbols = obj.symbols
            index = next(i for i in range(len(symbols.values)) if symbols.name(i) == name)
            place = symbols.values[index]
            code = bytes(obj.contents(symbols.sections[index]))
            in_front.append(code[place - 16 : place])
        assert in_front[0] == in_front[1]
    assert verify(plain, result.data, need_slots=True).verified
