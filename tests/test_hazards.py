"""docs/hazards.md: the tests and wrong rules that it names are there, and none is missing."""

from __future__ import annotations

import re
from pathlib import Path

from tests import mutants

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "hazards.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith(("| who |", "| --- |"))
]
WHO, RULE, SOURCE, TEST, MUTANT, VERIFY = range(6)


def names(cell: str) -> list[str]:
    """What stands between backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def known_tests() -> set[str]:
    """The names of all tests of the project."""
    return {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }


def test_every_hazard_has_a_rule_a_source_a_test_and_what_the_second_opinion_does() -> None:
    assert len(ROWS) > 40
    for row in ROWS:
        assert len(row) == 6, row
        assert all(row[cell] for cell in (WHO, RULE, SOURCE, TEST, VERIFY)), row


def test_the_tests_that_hold_a_rule_are_there() -> None:
    named = {name for row in ROWS for name in names(row[TEST])}
    assert named - known_tests() == set()


def test_each_wrong_rule_belongs_to_a_hazard() -> None:
    assert {name for row in ROWS for name in names(row[MUTANT])} == {
        mutant.name for mutant in mutants.mutants()
    }


def test_what_a_wrong_rule_takes_the_place_of_is_there_once() -> None:
    found = {
        mutant.name: (ROOT / mutant.file).read_text().count(mutant.old)
        for mutant in mutants.mutants()
    }
    assert set(found.values()) == {1}, found


def test_a_wrong_rule_is_noticed_by_tests_that_are_there() -> None:
    for mutant in mutants.mutants():
        for test in mutant.tests:
            path, _, name = test.partition("::")
            assert (ROOT / path).exists(), test
            assert not name or f"def {name}(" in (ROOT / path).read_text(), test
