"""Every damaged output is caught, no undamaged one is flagged.

The pairs in data/ were made by data/make-pairs: OUT is what the assembler makes of the compiler's
output with the nops in the source, so it is right by construction.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nopfix.verifier import verify
from tests.verifier import damaged_records
from tests.verifier.damaging import KINDS, caught

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).parent / "data"
PAIRS = sorted(path.name.removesuffix(".in.o") for path in DATA.glob("*.in.o"))
PER_KIND = 4
"""Mutants of each kind taken from each pair, spread evenly; all of them under `-m slow`."""
PER_KIND_OF_RECORDS = 2


def pair(name: str) -> tuple[bytes, bytes]:
    return (DATA / f"{name}.in.o").read_bytes(), (DATA / f"{name}.out.o").read_bytes()


def sample(kind: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Mutants of a kind spread evenly over the object, at other places in each object."""
    mutants = list(KINDS[kind](data))
    number = PER_KIND_OF_RECORDS if kind in damaged_records.KINDS else PER_KIND
    step = max(1, len(mutants) // number)
    for what, make in mutants[len(data) // 8 % step :: step][:number]:
        yield what, make()


@pytest.mark.parametrize("name", PAIRS)
def test_undamaged_output_is_verified_and_has_every_slot(name: str) -> None:
    report = verify(*pair(name), need_slots=True)
    assert report.differences == ()
    assert len(report.insertions) >= 5


@pytest.mark.parametrize("name", PAIRS)
def test_every_damaged_fact_is_caught(name: str) -> None:
    old, new = pair(name)
    missed = []
    for kind in KINDS:
        for what, mutant in sample(kind, new):
            assert mutant != new, f"{kind}: {what} is no damage"
            if not caught(old, mutant):
                missed.append(f"{kind}: {what}")
    assert missed == []


def test_the_sample_has_at_least_500_mutants_and_every_kind() -> None:
    numbers = dict.fromkeys(KINDS, 0)
    for name in PAIRS:
        _, new = pair(name)
        for kind in KINDS:
            numbers[kind] += sum(1 for _ in sample(kind, new))
    assert sum(numbers.values()) >= 500
    assert [kind for kind, number in numbers.items() if not number] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_every_damaged_fact_is_caught_without_sampling(name: str) -> None:
    old, new = pair(name)
    missed = [
        f"{kind}: {what}"
        for kind, mutate in KINDS.items()
        for what, make in mutate(new)
        if not caught(old, make())
    ]
    assert missed == []
