"""The measurement of alignment: what it sees in texts and objects, and what it says of nopfix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nopfix.corpus import alignment, toolchain
from nopfix.corpus.alignment import Directive, Label, Padding
from nopfix.corpus.plan import Source

if TYPE_CHECKING:
    from pathlib import Path

# Padding behind a call that doesn't return, once with a slot in front of it and once without, in
# front of labels that a branch and that only an address lead to; and a loop.
SOURCE = """
extern void abort(void);
static long buffer[5];
int seen;
static __attribute__((noinline)) void away(void) { __builtin_longjmp(buffer, 1); }
static __attribute__((noinline)) int leaf(int x) { return x * 3 + seen; }
int back(void) {
    if (__builtin_setjmp(buffer) == 0) away();
    return leaf(seen) + 1;
}
int check(int x, int n, int *p) {
    if (leaf(x) != 7) abort();
    for (int i = 0; i < n; i++) p[i] += leaf(i);
    return leaf(x) - 1;
}
"""


def test_a_directive_beside_another_one_begins_a_function_and_one_alone_is_inside() -> None:
    begin, inside, table = (
        ".align 2\n.p2align 4,,15\nf:",
        ".p2align 5\n.L2:",
        ".p2align 4,,10\n.align 3",
    )
    text = f"{begin}\n\tblr\n{inside}\n\tbctr\n{table}\n"
    assert list(alignment.directives(text).values()) == [
        Directive(0, 16, 15, inner=False),
        Directive(1, 32, 31, inner=True),
        Directive(2, 16, 10, inner=False),
        Directive(3, 8, 7, inner=False),
    ]


@pytest.mark.parametrize(
    ("plain", "want", "got", "reason"),
    [
        ((16, 16), (20, 32), (20, 20), alignment.NEEDED_NONE),
        ((20, 32), (24, 32), (24, 36), alignment.UNSEEN),
        ((56, 64), (60, 64), (60, 80), alignment.COARSER),
        ((12, 16), (20, 20), (20, 32), alignment.OVER_LIMIT),
    ],
)
def test_the_reason_for_a_difference_is_read_off_the_three_paddings(
    plain: tuple[int, int], want: tuple[int, int], got: tuple[int, int], reason: str
) -> None:
    places = (Padding(1, *one) for one in (plain, want, got))
    assert alignment._reason(Label(Directive(0, 16, 15, inner=True), *places)) == reason


@pytest.mark.parametrize(
    "flags",
    ["-O2", "-O3 -mcpu=power9", "-O2 -falign-jumps=32", "-O2 -falign-labels=64"]
    + ["-O2 -falign-loops=128 -falign-jumps=128"],
)
def test_every_label_that_had_padding_is_aligned_as_before(flags: str, tmp_path: Path) -> None:
    try:
        toolchain.compiler(toolchain.Tools("gcc-12"))
    except toolchain.ToolError as missing:
        pytest.skip(str(missing))
    (tmp_path / "labels.c").write_text(SOURCE)
    measured = alignment.measure(
        Source(tmp_path / "labels.c", "labels.c"), toolchain.Tools("gcc-12"), tuple(flags.split())
    )
    padded = [label for label in measured.labels if label.plain.size and label.directive.inner]
    assert padded, measured.detail
    assert [label for label in padded if not alignment.kept(label)] == []
    assert set(measured.why) <= {alignment.NEEDED_NONE, alignment.COARSER}
