"""Random programs that once found a bug: equal to the assembler's, run, verified, with all slots.

They are kept as seeds (csmith.txt): csmith makes the same program of the same seed.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from nopfix.corpus import case, plan, verdicts
from nopfix.corpus.toolchain import Tools

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY_TIME = 3


class Kept(NamedTuple):
    seed: str
    flags: str
    shows: str


KEPT = [
    Kept(*line.split("\t"))
    for line in Path(__file__).with_name("csmith.txt").read_text().splitlines()
    if not line.startswith("#")
]


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(kept, id=kept.seed, marks=[pytest.mark.slow] if n >= EVERY_TIME else [])
        for n, kept in enumerate(KEPT)
    ],
)
def test_a_random_program_that_found_a_bug_passes(
    kept: Kept, need_compiler: Callable[[str], None]
) -> None:
    need_compiler("gcc-12")
    if shutil.which("csmith") is None:
        pytest.skip("csmith: not installed")
    checks = ("oracle", "qemu", "verify", "slots")
    flags = tuple(kept.flags.split())
    (one,) = plan.cases([f"csmith:{kept.seed}"], [plan.Matrix(Tools("gcc-12"), (flags,), checks)])
    result = case.run(one)
    assert result.verdict in verdicts.GOOD, result.detail
    assert result.nops > 0
    assert result.behaviour in ("same", "fails", "no-end")
