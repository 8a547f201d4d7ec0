"""A fixed sample of the regression runs: nopfix must equal the assembler.

``sample.txt`` names the cases, ``compiler | flags | source``: for every option list a few files of
GCC's testsuite that have a call to fix.  `nopfix-corpus run` does the same over everything.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nopfix.corpus import baseline, execution, matrix, oracle, slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SAMPLE = Path(__file__).with_name("sample.txt")


def _groups() -> Iterator[tuple[str, str, list[str]]]:
    lines = [line.split(" | ") for line in SAMPLE.read_text().splitlines() if line[:1] != "#"]
    for (compiler, flags), cases in groupby(lines, key=lambda line: (line[0], line[1])):
        yield compiler, flags, [case[2] for case in cases]


GROUPS = list(_groups())


@pytest.mark.parametrize(
    ("compiler", "flags", "names"), GROUPS, ids=[f"{g[0]} {g[1]}" for g in GROUPS]
)
def test_output_equals_the_assemblers_object_and_runs_as_before(
    compiler: str,
    flags: str,
    names: list[str],
    testsuite: Path,
    tmp_path: Path,
    need_compiler: Callable[[str], None],
) -> None:
    need_compiler(compiler)
    failures = []
    equal = {}
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        verdict = oracle.run_case(
            oracle.Compile(testsuite / name, oracle.Tools(compiler), tuple(flags.split())),
            folder=folder,
        )
        if verdict.verdict == "refused" and baseline.entry(name, compiler, flags, verdict.detail):
            continue
        if verdict.verdict not in oracle.GOOD:
            failures.append(f"{name}: {verdict.verdict}: {verdict.detail}")
        elif lacking := slots.calls_without_slot(folder / "got.o"):
            failures.append(f"{name}: no slot after {lacking}")
        if verdict.verdict == "equal":
            equal[name] = folder
    assert not failures, "\n".join(failures)
    if "-g" in flags.split() or "-pg" in flags:
        return  # the code is that of the list without -g; nothing here links with _mcount
    programs = [name for name in names if name.startswith("gcc.c-torture/execute/")][:3]
    seen = {}
    for name in equal.keys() & set(programs):
        ran = execution.same_behaviour(equal[name] / "plain.o", equal[name] / "got.o")
        seen[name] = ran.verdict
        assert ran.verdict != "changed", f"{name}: {ran.detail}"
    assert "same" in seen.values(), f"no program of this group runs: {seen}"


def test_the_sample_covers_the_option_lists() -> None:
    compiled = {(compiler, tuple(flags.split())) for compiler, flags, _ in GROUPS}
    wanted = matrix.CODE + matrix.CODE_WITH_DEBUG + matrix.DEBUG
    assert not {("gcc-12", flags) for flags in wanted} - compiled
    assert not {("clang-19", flags) for flags in matrix.CLANG + matrix.CLANG_DEBUG} - compiled
    assert len({name for _, _, names in GROUPS for name in names}) >= 150
