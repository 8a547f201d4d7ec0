"""The oracle itself, without a rewriter: what it takes for the truth must be sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import nopfix
from nopfix import verifier
from nopfix.corpus import compare, execution, oracle, slots, toolchain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SOURCE = """
#include <stdio.h>
int table[] = {3, 1, 4, 1, 5, 9, 2, 6};
static __attribute__((noinline)) int square(int x) { return x * x - table[x & 7]; }
__attribute__((noinline)) int pick(int x, const int *p) {
    int sum = 0;
    for (int i = 0; i < x; i++) {
        switch (p[i]) {
        case 1: sum += square(i); break;
        case 2: sum -= square(sum & 63); break;
        case 3: sum ^= square(3); break;
        case 4: sum = square(sum & 31) + 1; break;
        case 5: sum += p[0]; break;
        case 6: sum *= square(7); break;
        case 9: sum = 1;
        }
    }
    return sum;
}
int main(void) {
    printf("%d %d\\n", pick(8, table), square(12));
    return 0;
}
"""
CASES = [
    ("gcc-12", "-O2"),
    ("gcc-12", "-O2 -g"),
    ("gcc-12", "-O3 -g -gdwarf-4 -mcmodel=large -mno-relative-jumptables"),
    ("gcc-12", "-Os -mtraceback=full"),
    ("gcc-12", "-O2 -mtraceback=no"),
    ("gcc-11", "-O2 -g"),
    ("clang-19", "-O2"),
    ("clang-19", "-O2 -g"),
]


@pytest.fixture(scope="module", params=CASES, ids=" ".join)
def prepared(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    need_compiler: Callable[[str], None],
) -> oracle.Prepared:
    compiler, flags = request.param
    need_compiler(compiler)
    folder = tmp_path_factory.mktemp("oracle")
    source = folder / "program.c"
    source.write_text(SOURCE)
    made = oracle.prepare(
        oracle.Compile(source, oracle.Tools(compiler), tuple(flags.split())), folder
    )
    assert made.verdict.verdict == "", made.verdict.detail
    return made


def test_every_local_call_gets_its_slot(prepared: oracle.Prepared) -> None:
    assert len(slots.calls_without_slot(prepared.plain)) == prepared.verdict.nops > 0
    assert slots.calls_without_slot(prepared.want) == []


def test_the_wanted_object_is_the_plain_one_plus_nops(prepared: oracle.Prepared) -> None:
    def code_size(path: Path) -> int:
        return sum(s.size for s in compare.read(path.read_bytes()).sections if s.flags & 4)

    grown = code_size(prepared.want) - code_size(prepared.plain)
    assert grown >= 4 * prepared.verdict.nops - 60
    assert compare.differences(prepared.plain.read_bytes(), prepared.want.read_bytes())


def test_the_wanted_object_runs_as_the_plain_one(prepared: oracle.Prepared) -> None:
    ran = execution.same_behaviour(prepared.plain, prepared.want)
    assert ran.verdict == "same", ran.detail


def test_the_assembler_is_deterministic(
    tmp_path: Path, need_compiler: Callable[[str], None]
) -> None:
    need_compiler("gcc-12")
    source = tmp_path / "program.c"
    source.write_text(SOURCE)
    made = [
        oracle.prepare(
            oracle.Compile(source, oracle.Tools("gcc-12"), ("-O2", "-g")), tmp_path
        ).want.read_bytes()
        for _ in range(2)
    ]
    assert made[0] == made[1]


def test_tools_that_are_missing_are_named() -> None:
    with pytest.raises(toolchain.ToolError, match="gcc-99"):
        toolchain.compiler(toolchain.Tools("gcc-99"))


_EMPTY_SECTIONS = """
    .abiversion 2
    .text
    .type f, @function
f:  {padding}
    bl g
{slot}
    blr
    .size f, .-f
    .type g, @function
g:  blr
    .size g, .-g
    .bss
    .p2align 6
    .zero 8
    .section .text.later,"ax"
    .p2align 4
    bl f
{slot}
    .section .data.last,"aw"
    .byte 1
"""


@pytest.mark.parametrize("padding", ["", "nop", *(f".rept {n}; nop; .endr" for n in (4, 12, 13))])
def test_the_whole_file_is_equal_where_sections_without_bytes_are_aligned(
    padding: str, assemble: Callable[..., bytes], equal: Callable[[bytes, bytes], bool]
) -> None:
    """gas aligns .bss in the file as if it were there, and what follows begins behind that."""
    plain = assemble(_EMPTY_SECTIONS.format(padding=padding, slot=""))
    want = assemble(_EMPTY_SECTIONS.format(padding=padding, slot="    nop"))
    assert equal(nopfix.rewrite(plain).data, want)
    assert verifier.verify(plain, want, need_slots=True).verified


_PROCESSOR = """
    .machine {machine}
    .abiversion 2
    .text
    .type f, @function
f:  mflr 0
    bl g
{slot}
    blr
    nop
    .size f, .-f
    .p2align 4
    .type g, @function
g:  blr
    .size g, .-g
"""


def test_what_ends_new_padding_is_not_in_an_object_without_padding(
    assemble: Callable[..., bytes],
) -> None:
    """gas ends padding with a no-op of the processor's own. One and the same object comes out for
    power8 and for power10, but not once it has padding: nopfix takes GCC's default, power8.
    """
    plain, want = (
        [assemble(_PROCESSOR.format(machine=m, slot=slot)) for m in ("power8", "power10")]
        for slot in ("", "    nop")
    )
    assert plain[0] == plain[1]
    assert want[0] != want[1]
    assert nopfix.rewrite(plain[0]).data == want[0]


_LONG_PADDING = """
    .abiversion 2
    .text
    .type f, @function
f:  .rept {filler}
    addi 3,3,1
    .endr
    .rept {calls}
    bl g
{slot}
    .endr
    .p2align 5
.Lloop:
    addi 4,4,1
    bdnz .Lloop
    blr
    .size f, .-f
    .p2align 5
    .type g, @function
g:  blr
    .size g, .-g
"""


@pytest.mark.parametrize("calls", range(1, 9))
@pytest.mark.parametrize("words", [5, 6, 7])
def test_padding_that_began_with_a_branch_shrinks_to_any_size(
    words: int, calls: int, assemble: Callable[..., bytes]
) -> None:
    """gas jumps over more than four no-ops. That branch goes with the padding: moved like any
    other it would be written over what is there now, the first instruction of the loop even.
    """
    filler = -(words + calls) % 8
    plain = assemble(_LONG_PADDING.format(filler=filler, calls=calls, slot=""))
    want = assemble(_LONG_PADDING.format(filler=filler, calls=calls, slot="    nop"))
    assert compare.differences(nopfix.rewrite(plain).data, want) == []
    assert verifier.verify(plain, want, need_slots=True).verified
