"""Functions around the reach of a conditional branch (32 KiB), against the assembler.

gas doesn't relax conditional branches: given the compiler's text plus nops it refuses what no
longer reaches.  So it gets the expanded form in the text (corpus.prepare); what it then writes,
rows of the line table, call frame information and ranges included, is what the rewriter has to
write.

The filler's size is a symbol that the assembler is given, and every size is tried from the largest
that the untouched text allows downwards, so all cases around the limit come up.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import pytest

import nopfix
from nopfix.corpus import compare, execution, oracle, slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_HEAD = """
#include <stdio.h>
static int depth;
static __attribute__((noinline)) long leaf(long v) { depth++; return v * 3 + depth; }
#define FILL asm volatile(".rept FILL\\n\\taddi 9,9,1\\n\\t.endr" ::: "9")
"""
_MAIN = """
int main(void) {
    for (long x = 0; x < 5; x++) printf("%ld ", work(x));
    printf("%d\\n", depth);
    return 0;
}
"""
FORWARD = """
__attribute__((noinline)) long work(long x) {
    if (__builtin_expect(x & 1, 1)) { x = leaf(x) + 1; FILL; x += leaf(x) ^ leaf(x + 2); }
    return leaf(x) - x;
}
"""
BACKWARD = """
__attribute__((noinline)) long work(long x) {
    long n = x & 3;
    do { x += leaf(n); FILL; x ^= leaf(x & 7); } while (n-- > 0);
    return x;
}
"""
# The first branch reaches as long as the second one, which lies inside its span and leads further,
# doesn't grow.
CHAIN = """
__attribute__((noinline)) long work(long x) {
    asm goto("cmpdi %0,1\\n\\tbeq- %l[one]" : : "r"(x) : "cr0" : one);
    asm goto("cmpdi 6,%0,2\\n\\tbeq 6,%l[two]" : : "r"(x) : "cr6" : two);
    asm goto("cmpdi 7,%0,3\\n\\tbne+ 7,%l[three]" : : "r"(x) : "cr7" : three);
    x = leaf(x); FILL; x += leaf(x);
one:
    asm volatile("addi %0,%0,7\\n\\taddi 9,9,1\\n\\taddi 9,9,1\\n\\taddi 9,9,1"
        : "+r"(x) : : "9");
two:
    asm volatile("addi %0,%0,9\\n\\taddi 9,9,1\\n\\taddi 9,9,1\\n\\taddi 9,9,1"
        : "+r"(x) : : "9");
three:
    return leaf(x) + 1;
}
"""
SHAPES = {"forward": FORWARD, "backward": BACKWARD, "chain": CHAIN}


def prepare(source: Path, flags: tuple[str, ...], folder: Path) -> oracle.Prepared | None:
    """Both objects; None when a branch doesn't reach even in the untouched text."""
    made = oracle.prepare(oracle.Compile(source, oracle.Tools("gcc-12"), flags), folder)
    if made.verdict.verdict == "compile-failed":
        assert "operand out of range" in made.verdict.detail, made.verdict.detail
        return None
    assert made.verdict.verdict == "", made.verdict.detail
    return made


_AROUND = 64
"""Words of a function besides its filler, at most."""


def _around_the_limit(
    source: Path, options: tuple[str, ...], folder: Path, count: int
) -> Iterator[tuple[int, oracle.Prepared]]:
    """The ``count`` largest fillers with which the untouched text still assembles."""

    def filled(size: int) -> oracle.Prepared | None:
        return prepare(source, (*options, f"-Wa,--defsym,FILL={size}"), folder)

    reach = 0x8000 // 4
    largest = bisect_left(range(reach + 1), True, reach - _AROUND, key=lambda n: not filled(n)) - 1
    for size in range(largest, largest - count, -1):
        made = filled(size)
        assert made is not None
        yield size, made


@pytest.mark.parametrize(
    ("shape", "flags"),
    [
        ("forward", "-O2"),
        ("forward", "-O2 -g"),
        ("backward", "-O2 -g -gdwarf-5 -gno-as-loc-support"),
        ("backward", "-Os"),
        ("chain", "-O1 -g"),
        ("chain", "-O2 -g -gdwarf-4 -ffunction-sections"),
    ],
)
def test_functions_around_the_limit_equal_the_assemblers(
    shape: str, flags: str, tmp_path: Path, need_compiler: Callable[[str], None]
) -> None:
    need_compiler("gcc-12")
    source = tmp_path / "far.c"
    source.write_text(_HEAD + SHAPES[shape] + _MAIN)
    grown, ran, caused = set(), set(), 0
    for size, made in _around_the_limit(source, tuple(flags.split()), tmp_path, 10):
        verdict = oracle.judge(made)
        assert verdict.verdict == "equal", f"FILL={size}: {verdict.detail}"
        assert not slots.calls_without_slot(tmp_path / "got.o")
        caused += len(made.expanded) > 1
        branches = sum(made.expanded)
        grown.add(branches)
        if branches not in ran:
            ran.add(branches)
            seen = execution.same_behaviour(tmp_path / "plain.o", tmp_path / "got.o")
            assert seen.verdict == "same", f"FILL={size}: {seen.detail}"
    assert 0 in grown, "no function just inside the limit"
    assert max(grown) >= 1, "no function just outside the limit"
    if shape == "chain":
        assert caused, "no expansion caused another one"


# Every kind of branch, with what gas is to be given once it no longer reaches.  CTR and condition
# together can't be inverted: those go to a branch of their own.
_FORMS = [
    ("beq 5,{far}", "bne 5,.+8; b {far}"),
    ("bso {far}", "bns .+8; b {far}"),
    ("ble+ 3,{far}", "bgt- 3,.+8; b {far}"),
    ("bge- {far}", "blt+ .+8; b {far}"),
    ("bdnz {far}", "bdz .+8; b {far}"),
    ("bdz- {far}", "bdnz+ .+8; b {far}"),
    ("bdnz+ {far}", "bdz- .+8; b {far}"),
    ("bdnzt 4*cr1+eq,{far}", "bdnzt 4*cr1+eq,.+8; b .+8; b {far}"),
    ("bdzf lt,{far}", "bdzf lt,.+8; b .+8; b {far}"),
    ("bc 20,0,{far}", "bc 20,0,.+8; b .+8; b {far}"),
]
_ASSEMBLY = """
    .abiversion 2
    .text
    .type f, @function
f:
    .cfi_startproc
    mflr 0
    stdu 1,-32(1)
    .cfi_def_cfa_offset 32
    {branch}
    bl g
{slot}
    .rept {fill}
    addi 9,9,1
    .endr
.Lfar:
    addi 1,1,32
    .cfi_def_cfa_offset 0
    blr
    .cfi_endproc
    .size f, .-f
    .type g, @function
g:  blr
    .size g, .-g
"""
# The branch, the call and the filler: the largest displacement is 0x7ffc.
_FILL = 0x7FFC // 4 - 2


@pytest.mark.parametrize("far", [False, True], ids=["just inside", "just outside"])
@pytest.mark.parametrize(("branch", "grown"), _FORMS, ids=[form.split()[0] for form, _ in _FORMS])
def test_every_form_grows_as_written_by_hand(
    branch: str, grown: str, far: bool, assemble: Callable[..., bytes]
) -> None:
    fill = _FILL if far else _FILL - 1
    short = branch.format(far=".Lfar")
    plain = assemble(_ASSEMBLY.format(branch=short, slot="", fill=fill))
    wanted = grown.format(far=".Lfar") if far else short
    want = assemble(_ASSEMBLY.format(branch=wanted, slot="    nop", fill=fill))
    got = nopfix.rewrite(plain)
    assert compare.differences(got.data, want) == []
    assert len(got.report.expanded) == far


# The same forms to be run: taken and not taken, with CTR at 1 and at 2.
_PROBE = """
asm(".text\\n.type probe{0}, @function\\nprobe{0}: .cfi_startproc\\n"
    "mflr 0; std 0,16(1); mfcr 5; std 5,8(1); stdu 1,-32(1); mtcr 3; mtctr 4\\n"
    "{1}\\n"
    "bl count\\n.rept FILL\\naddi 9,9,1\\n.endr\\nli 3,10; b .Lend{0}\\n"
    ".Lfar{0}: li 3,20\\n.Lend{0}: mfctr 4; add 3,3,4; addi 1,1,32\\n"
    "ld 0,16(1); mtlr 0; ld 5,8(1); mtcr 5; blr\\n.cfi_endproc\\n.size probe{0}, .-probe{0}");
long probe{0}(unsigned long cr, unsigned long ctr);
"""
_PROBES = """
#include <stdio.h>
asm(".text\\n.type count, @function\\ncount: addi 10,10,1; blr\\n.size count, .-count");
{functions}
static long (*const probes[])(unsigned long, unsigned long) = {{ {names} }};
int main(void) {{
    for (int n = 0; n < {count}; n++)
        for (int cr = 0; cr < 4; cr++)
            for (int ctr = 1; ctr < 3; ctr++)
                printf("%ld ", probes[n]((cr & 1) * 0xff00ff00u | (cr >> 1) * 0x00ff00ffu, ctr));
    return 0;
}}
"""


@pytest.mark.parametrize("grown", [0, len(_FORMS)], ids=["just inside", "just outside"])
def test_every_form_takes_the_same_way_when_run(
    grown: int, tmp_path: Path, need_compiler: Callable[[str], None]
) -> None:
    need_compiler("gcc-12")
    branches = [branch.format(far=f".Lfar{n}") for n, (branch, _) in enumerate(_FORMS)]
    functions = "".join(_PROBE.format(n, branch) for n, branch in enumerate(branches))
    names = ", ".join(f"probe{n}" for n in range(len(_FORMS)))
    source = tmp_path / "forms.c"
    source.write_text(_PROBES.format(functions=functions, names=names, count=len(_FORMS)))
    # Two more words than in _ASSEMBLY: the way out of what follows the filler.
    fill = _FILL - 2 if grown else _FILL - 3
    made = prepare(source, ("-O1", "-g", f"-Wa,--defsym,FILL={fill}"), tmp_path)
    assert made is not None
    verdict = oracle.judge(made)
    assert (verdict.verdict, sum(made.expanded)) == ("equal", grown), verdict.detail
    seen = execution.same_behaviour(tmp_path / "plain.o", tmp_path / "got.o")
    assert seen.verdict == "same", seen.detail


def test_a_branch_that_llvms_assembler_let_wrap_round_is_refused(
    tmp_path: Path, need_compiler: Callable[[str], None]
) -> None:
    need_compiler("clang-19")
    source = tmp_path / "far.c"
    source.write_text(_HEAD.replace("FILL\\n", "8200\\n") + FORWARD + _MAIN)
    verdict = oracle.run_case(oracle.Compile(source, oracle.Tools("clang-19"), ("-O2",)))
    assert verdict.verdict == "refused"
    assert "outside its section" in verdict.detail


def test_a_conditional_call_out_of_reach_is_refused_and_one_that_reaches_is_not(
    assemble: Callable[..., bytes],
) -> None:
    inside = _ASSEMBLY.format(branch="beql .Lfar", slot="", fill=_FILL - 1)
    nopfix.rewrite(assemble(inside))
    outside = _ASSEMBLY.format(branch="beql .Lfar", slot="", fill=_FILL)
    with pytest.raises(nopfix.Refusal, match="conditional call"):
        nopfix.rewrite(assemble(outside))


_RELOCATED = """
    .abiversion 2
    .text
    .globl main
    .type main, @function
main:
    mflr 0
    std 0,16(1)
    stdu 1,-32(1)
    bl g
{slot}
    bl h
{slot}
    addi 1,1,32
    ld 0,16(1)
    mtlr 0
    blr
    .size main, .-main
    .globl h
    .type h, @function
h:  cmpdi 3,7
    beq+ target
    blr
    .size h, .-h
    .type k, @function
k:  b h
    bl g
{slot}
    .rept {fill}
    addi 9,9,1
    .endr
    .size k, .-k
    .globl target
    .type target, @function
target:
    li 3,0
    blr
    .size target, .-target
    .type g, @function
g:  li 3,7
    blr
    .size g, .-g
"""


@pytest.mark.parametrize("fill", [100, 0x7FFC // 4 - 4], ids=["near", "pushed out of reach"])
def test_a_relocated_branch_is_left_to_the_linker(
    fill: int, assemble: Callable[..., bytes], tmp_path: Path, need_compiler: Callable[[str], None]
) -> None:
    """R_PPC64_REL14_BRTAKEN: ld goes through a stub of its own where the branch doesn't reach, so
    nothing may grow here, just as with gas.
    """
    need_compiler("gcc-12")
    plain = assemble(_RELOCATED.format(slot="", fill=fill))
    want = assemble(_RELOCATED.format(slot="    nop", fill=fill))
    got = nopfix.rewrite(plain)
    assert compare.differences(got.data, want) == []
    assert got.report.expanded == []
    (tmp_path / "plain.o").write_bytes(plain)
    (tmp_path / "got.o").write_bytes(got.data)
    assert execution.same_behaviour(tmp_path / "plain.o", tmp_path / "got.o").verdict == "same"
