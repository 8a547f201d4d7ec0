"""The benchmark's own arithmetic."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from tests.bench import compare, paired
from tests.bench.paired import Row

if TYPE_CHECKING:
    from pathlib import Path


def test_a_ratio_is_the_median_of_pairs_and_not_of_sums() -> None:
    row = paired.row("as", "x", [2.0, 30.0, 4.0], [1.0, 10.0, 4.0], aim=2.5)
    assert row == Row("as", "x", 2.0, 1.0, 3.0, 2.5, 4000.0)
    assert [*paired.missed([row])] == []
    assert [*paired.missed([row._replace(aim=1.9)])] == [row._replace(aim=1.9)]


def test_commands_run_in_turns_and_the_first_round_does_not_count(tmp_path: Path) -> None:
    log = tmp_path / "log"
    commands = [["sh", "-c", f"echo {name} >> {log}"] for name in "ab"]
    taken = paired.in_turns(commands, 2)
    assert log.read_text().split() == ["a", "b"] * 3
    assert [len(own) for own in taken] == [2, 2]


def test_a_command_that_fails_is_no_measurement() -> None:
    with pytest.raises(SystemExit, match="ended with 3"):
        paired.measure([sys.executable, "-c", "raise SystemExit(3)"])


def kept(path: Path, *rows: Row) -> Path:
    versions = {"nopfix": path.stem}
    path.write_text(json.dumps({"versions": versions, "rows": [row._asdict() for row in rows]}))
    return path


def test_a_row_is_slower_where_its_ratio_grew_and_the_ranges_are_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = kept(tmp_path / "1.json", *(Row("as", n, 1.0, 0.9, 1.1) for n in "abc"))
    rows = (
        Row("as", "a", 1.3, 1.2, 1.4),  # slower
        Row("as", "b", 1.3, 1.0, 1.4),  # may be noise
        Row("as", "c", 0.5, 0.4, 0.6),
        Row("as", "d", 1.0, 1.0, 1.0),
    )
    new = kept(tmp_path / "2.json", *rows)
    found = {
        line.split()[-1]: worse for line, worse in compare.lines(old, new) if "new" not in line
    }
    assert found == {"slower": True, "1.300": False, "faster": False}
    assert compare.show(old, new) == 1
    assert "nopfix: 1 -> 2" in capsys.readouterr().out
    assert compare.show(new, new) == 0


def test_a_row_that_missed_its_aim_stands_out(tmp_path: Path) -> None:
    rows = Row("as", "a", 1.3, 1.2, 1.4, 1.0, 20.0), Row("as", "b", 1.3, 1.2, 1.4)
    path = kept(tmp_path / "1.json", *rows)
    assert [*compare.markdown(path)][-2:] == [
        "| as | a | **1.30** | 1.20 to 1.40 | 1 | 20 |",
        "| as | b | 1.30 | 1.20 to 1.40 |  |  |",
    ]
