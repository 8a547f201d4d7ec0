"""The slot does what it is for: a call leaves its module and comes back with r2 intact."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from nopfix.corpus import execution, oracle, toolchain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROGRAM = """
#include <stdio.h>
int counter = 5;
__attribute__((noinline)) int callee(int x) {
    __asm__ volatile("" ::: "memory");
    return x + 1;
}
__attribute__((noinline)) int twice(int x) {
    counter += callee(x);
    return callee(counter) + counter;
}
int main(void) {
    printf("%d\\n", twice(1));
    printf("%d\\n", counter);
    return 0;
}
"""
# A callee with a TOC of its own, as far as the caller can tell: it comes back with another r2.
LIBRARY = """
    .abiversion 2
    .text
    .globl callee
    .type callee, @function
callee:
    lis 2, 0x1234
    .localentry callee, .-callee
    addi 3, 3, 100
    li 2, 0
    blr
    .size callee, .-callee
"""


class Linked(NamedTuple):
    complaint: str
    program: Path


@pytest.fixture(scope="module")
def link_with_foreign_callee(
    tmp_path_factory: pytest.TempPathFactory, need_compiler: Callable[[str], None]
) -> Callable[[bytes], Linked]:
    need_compiler("gcc-12")
    folder = tmp_path_factory.mktemp("foreign")
    source = folder / "callee.s"
    source.write_text(LIBRARY)
    library = folder / "libcallee.so"
    made = toolchain.run(
        [*toolchain.compiler(toolchain.Tools("gcc-12")), "-shared", "-o", str(library), str(source)]
    )
    assert made.status == 0, made.errors

    def link(data: bytes) -> Linked:
        foreign = folder / "foreign.o"
        foreign.write_bytes(execution.make_foreign(data, "callee"))
        program = folder / "program"
        return Linked(execution.link([foreign, library], program, static=False), program)

    return link


@pytest.mark.parametrize("flags", ["-O2", "-Os -g", "-O2 -mcmodel=large -ffunction-sections"])
def test_calls_can_leave_the_module_only_with_their_slots(
    flags: str, tmp_path: Path, link_with_foreign_callee: Callable[[bytes], Linked]
) -> None:
    source = tmp_path / "program.c"
    source.write_text(PROGRAM)
    options = (*flags.split(), "-fno-ipa-ra", "-fno-inline")
    verdict = oracle.run_case(
        oracle.Compile(source, oracle.Tools("gcc-12"), options), folder=tmp_path
    )
    assert verdict.verdict == "equal", verdict.detail
    assert verdict.nops == 3

    before = link_with_foreign_callee((tmp_path / "plain.o").read_bytes())
    assert "lacks nop, can't restore toc" in before.complaint

    after = link_with_foreign_callee((tmp_path / "got.o").read_bytes())
    assert after.complaint == ""
    assert execution.execute(after.program) == execution.Outcome(0, b"312\n106\n")
