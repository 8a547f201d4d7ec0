"""Results are kept, compared and reported."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nopfix.corpus import baseline, changes, charts, command, report, store
from nopfix.corpus.case import Result
from nopfix.corpus.verdicts import WRONG

if TYPE_CHECKING:
    import pytest


def result(source: str = "a.c", verdict: str = "equal", **more: object) -> Result:
    base = Result(
        key=f"{source}-{verdict}", corpus="c", source=source, compiler="gcc-12", version="12.2",
        flags="-O2", checks="oracle", nopfix="n1", verdict=verdict, detail="", behaviour="", nops=2,
        size_before=1000, size_after=1016, compile_time=0.1, assemble_time=0.01, rewrite_time=0.02,
        total_time=0.15,
    )  # fmt: skip
    return base._replace(**more)  # type: ignore[arg-type]


def test_results_come_back_as_they_were_stored(tmp_path: Path) -> None:
    one = result(detail="line\nline")
    with store.opened(tmp_path / "r.db") as results:
        results.add([one])
    with store.opened(tmp_path / "r.db") as results:
        assert results.results() == [one]
        assert results.keys() == {one.key}


def test_the_newest_result_of_a_case_counts(tmp_path: Path) -> None:
    with store.opened(tmp_path / "r.db") as results:
        results.add([result(verdict="differs", nopfix="n1")])
        results.add([result(verdict="equal", nopfix="n2")])
        assert [one.verdict for one in results.results()] == ["equal"]
        assert [one.verdict for one in results.results("n1")] == ["differs"]


def test_a_verdict_that_got_worse_is_worse() -> None:
    old = [result("a.c"), result("b.c", "refused"), result("c.c", "differs")]
    new = [result("a.c", "refused"), result("b.c", "differs"), result("c.c")]
    found = changes.compare(old, new)
    assert [one.new.source for one in found.worse] == ["a.c", "b.c"]
    assert [one.new.source for one in found.better] == ["c.c"]


def test_what_compiles_at_last_is_better_only_when_it_comes_out_right() -> None:
    old = [result("a.c", "compile-failed"), result("b.c", "compile-failed")]
    found = changes.compare(old, [result("a.c"), result("b.c", "crashed")])
    assert [one.new.source for one in found.better] == ["a.c"]
    assert [one.new.source for one in found.worse] == ["b.c"]


def test_a_case_that_takes_much_longer_is_slower_but_not_worse() -> None:
    found = changes.compare([result()], [result(rewrite_time=0.2)])
    assert [one.new.source for one in found.slower] == ["a.c"]
    assert found.worse == []


def test_the_processors_time_decides_and_not_the_clock_of_a_busy_machine() -> None:
    found = changes.compare([result(rewrite_cpu=0.02)], [result(rewrite_cpu=0.02, rewrite_time=9)])
    assert found.slower == []


def test_a_run_is_slower_when_its_median_case_is() -> None:
    old = [result(f"{i}.c", rewrite_cpu=0.02) for i in range(40)]
    slow = [result(f"{i}.c", rewrite_cpu=0.03) for i in range(40)]
    one_slow = [old[0]._replace(rewrite_cpu=0.09), *old[1:]]
    assert changes.compare(old, slow).run_is_slower
    assert not changes.compare(old, one_slow).run_is_slower


def test_compare_exits_with_1_only_when_something_got_worse(tmp_path: Path) -> None:
    names = {}
    for name, verdict in (("good", "equal"), ("bad", "differs")):
        names[name] = str(tmp_path / f"{name}.db")
        with store.opened(tmp_path / f"{name}.db") as results:
            results.add([result(verdict=verdict)])
    assert command.main(["compare", names["good"], names["good"]]) == 0
    assert command.main(["compare", names["bad"], names["good"]]) == 0
    assert command.main(["compare", names["good"], names["bad"]]) == 1


def test_compare_exits_with_1_for_a_case_that_got_slow_unless_time_is_ignored(
    tmp_path: Path,
) -> None:
    names = [str(tmp_path / "fast.db"), str(tmp_path / "slow.db")]
    for name, seconds in zip(names, (0.02, 2.0), strict=True):
        with store.opened(Path(name)) as results:
            results.add([result(rewrite_cpu=seconds)])
    assert command.main(["compare", *names]) == 1
    assert command.main(["compare", *reversed(names)]) == 0
    assert command.main(["compare", "--ignore-time", *names]) == 0


def test_a_file_of_an_older_version_can_be_read_and_added_to(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    with store.opened(path) as results:
        results.add([result()])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE results DROP COLUMN rewrite_cpu")
    with store.opened(path) as results:
        results.add([result("b.c", rewrite_cpu=0.5)])
        assert [one.rewrite_cpu for one in results.results()] == [0.0, 0.5]


def test_a_refusal_outside_the_baseline_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = baseline.Expected("known-*.c", "*", "*", "numbers", "because")
    monkeypatch.setattr(baseline, "expected", lambda: (entry,))
    refused = {"verdict": "refused", "detail": "f.o: .data+0x0: numbers without relocation"}
    assert not baseline.failed(result("known-1.c", **refused))
    assert baseline.failed(result("other.c", **refused))
    assert baseline.failed(result("known-1.c", verdict="refused", detail="something else"))
    assert baseline.failed(result("known-1.c", verdict="differs", detail="numbers"))


def test_each_expected_refusal_says_why() -> None:
    for entry in baseline.expected():
        assert entry.source
        assert entry.found
        assert len(entry.reason) > 20


def test_the_report_counts_each_case_once() -> None:
    results = [result("a.c"), result("b.c", "unchanged", nops=0), result("c.c", "differs"),
               result("d.c", "compile-failed"), result("e.c", "refused", detail="why")]  # fmt: skip
    (row,) = report.rows(results)
    assert (row.cases, row.compiled, row.equal, row.unchanged, row.refused, row.wrong) == (
        5, 4, 1, 1, 1, 1,
    )  # fmt: skip


def test_the_cost_is_that_of_compiled_cases_against_compiling_and_assembling() -> None:
    made = report.rows([result(), result("b.o", "rewritten", compile_time=0.0, assemble_time=0.0)])
    assert report.total(made).cost() == "1.36"  # 0.15 s against 0.1 + 0.01
    assert "1.36 times (aim: 1.3)" in report.as_text([result()])


def test_the_table_for_the_documentation_has_one_line_for_each_corpus_and_compiler() -> None:
    results = [result(flags="-O2"), result(flags="-Os"), result(compiler="clang-19")]
    lines = report.as_markdown(results).splitlines()
    assert [line.split(" | ")[:3] for line in lines[2:5]] == [
        ["| c", "clang-19", "1"],
        ["| c", "gcc-12", "2"],
        ["| all", "", "3"],
    ]


def test_the_text_has_a_row_for_each_corpus_and_compiler_and_then_only_what_isnt_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries = (
        baseline.Expected("known.c", "*", "*", "numbers", "because"),
        baseline.Expected("*", "*", "* -flto*", "bitcode", "because"),
    )
    monkeypatch.setattr(baseline, "expected", lambda: entries)
    results = [
        *(result(f"{number}.c", flags=f"-O2 -f{number}") for number in range(300)),
        result("known.c", "refused", detail="numbers"),
        result("lto.c", "refused", flags="-O2 -flto", detail="bitcode"),
        *(result(f"bad{number}.c", "differs", detail="x" * number) for number in range(1, 40)),
    ]
    text = report.as_text(results).splitlines()
    assert len(text) < 40
    columns = re.split("  +", text[0])
    row = dict(zip(columns, re.split("  +", text[1]), strict=True))
    assert (row["corpus"], row["compiler"], row["cases"]) == ("c", "gcc-12", "341")
    assert (row["expected"], row["by option"], row["refused"]) == ("1", "1", "0")
    assert not [line for line in text if "numbers" in line or "bitcode" in line]
    assert "29 other reasons" in text[-1]


def test_what_was_used_is_named_with_its_versions() -> None:
    one = result(version="gcc 12.2", assembler="as 2.40", origin="gcc-12.2.0")
    assert report.versions([one]) == [
        "gcc-12: gcc 12.2, as 2.40",
        "sources: gcc-12.2.0",
        "nopfix: n1",
    ]


def test_an_assemblers_error_is_the_reason_and_not_its_heading() -> None:
    detail = "want.s: Assembler messages:\nwant.s:7: Error: operand out of range"
    ((reason, _, _),) = report.reasons([result(verdict="assemble-failed", detail=detail)], WRONG)
    assert "operand out of range" in reason


def test_equal_reasons_at_different_places_are_one() -> None:
    results = [
        result("a.c", "refused", detail="f.o: .text+0x10 (in f): bctr at 0x10 not understood"),
        result("b.c", "refused", detail="g.o: .text.g+0x24: bctr at 0x24 not understood"),
    ]
    assert [(r, n) for r, n, _ in report.reasons(results, frozenset({"refused"}))] == [
        ("refused: bctr at N not understood", 2)
    ]


def test_the_html_report_needs_nothing_from_outside() -> None:
    page = report.as_html([result(f"{i}.c", rewrite_time=i / 100 + 0.001) for i in range(40)])
    assert "src=" not in page
    assert "href=" not in page
    assert "url(" not in page
    assert "<script" not in page
    assert page.count("<circle") == 40
    assert "http" not in page.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_a_point_of_the_chart_says_which_object_it_is() -> None:
    page = report.as_html([result("slow<.c", rewrite_time=3.0), result("b.c")])
    assert "<title>slow&lt;.c (gcc-12 -O2)</title>" in page


def test_the_axes_of_the_times_end_at_powers_of_ten() -> None:
    chart = charts.times([(0.002, 0.0301, "a.o")])
    ticks = re.findall(r"<text[^>]*>([\d.e+]+)</text>", chart)
    assert sorted(ticks, key=float) == ["1", "1", "10", "10", "100", "100"]


def test_objects_are_counted_by_how_much_they_grew() -> None:
    counts = re.findall(r'class="value">(\d+)', charts.growth([0.05, 0.1, 0.15, 12.0]))
    assert counts == ["1", "2", "1"]


def test_without_a_time_or_a_size_there_is_no_chart() -> None:
    bare = result("b.o", "rewritten", assemble_time=0.0, size_before=0)
    assert "<svg" not in report.as_html([bare])
    assert report.as_html([bare._replace(size_before=100)]).count("<svg") == 1


def test_whoever_draws_charts_imports_as_before() -> None:
    assert charts.__name__ in sys.modules
    assert [hook for hook in sys.meta_path if not hasattr(hook, "find_spec")] == []
