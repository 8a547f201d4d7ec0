"""Every damaged output is caught, no undamaged one is flagged.

The pairs in data/ were made by data/make-pairs: OUT is what the assembler makes of the compiler's
output with the nops in the source, so it is right by construction.
"""

from __future__ import annotations

from pathlib import Path

import damage
import pytest

from nopfix.verifier import Unreadable, verify

DATA = Path(__file__).parent / "data"
PAIRS = sorted(path.name.removesuffix(".in.o") for path in DATA.glob("*.in.o"))
PER_KIND = 4
"""Mutants of each kind taken from each pair, spread evenly; all of them under `-m slow`."""


def pair(name: str) -> tuple[bytes, bytes]:
    return (DATA / f"{name}.in.o").read_bytes(), (DATA / f"{name}.out.o").read_bytes()


def caught(old: bytes, new: bytes) -> bool:
    try:
        return not verify(old, new).verified
    except Unreadable:
        return True


def sample(mutants: list[tuple[str, bytes]], number: int) -> list[tuple[str, bytes]]:
    step = max(1, len(mutants) // number)
    return mutants[step // 2 :: step][:number]


@pytest.mark.parametrize("name", PAIRS)
def test_undamaged_output_is_verified_and_has_every_slot(name: str) -> None:
    report = verify(*pair(name), need_slots=True)
    assert report.differences == ()
    assert len(report.insertions) >= 5


@pytest.mark.parametrize("name", PAIRS)
def test_every_damaged_fact_is_caught(name: str) -> None:
    old, new = pair(name)
    missed = []
    for kind, mutate in damage.KINDS.items():
        for what, mutant in sample(list(mutate(new)), PER_KIND):
            assert mutant != new, f"{kind}: {what} is no damage"
            if not caught(old, mutant):
                missed.append(f"{kind}: {what}")
    assert missed == []


def test_the_sample_has_at_least_500_mutants_and_every_kind() -> None:
    numbers = dict.fromkeys(damage.KINDS, 0)
    for name in PAIRS:
        _, new = pair(name)
        for kind, mutate in damage.KINDS.items():
            numbers[kind] += min(PER_KIND, sum(1 for _ in mutate(new)))
    assert sum(numbers.values()) >= 500
    assert [kind for kind, number in numbers.items() if not number] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_every_damaged_fact_is_caught_without_sampling(name: str) -> None:
    old, new = pair(name)
    missed = [
        f"{kind}: {what}"
        for kind, mutate in damage.KINDS.items()
        for what, mutant in mutate(new)
        if not caught(old, mutant)
    ]
    assert missed == []
