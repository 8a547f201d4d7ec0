"""The comparison of objects with and without -fno-optimize-sibling-calls."""

from __future__ import annotations

import subprocess
from collections import Counter
from typing import TYPE_CHECKING

from tests.kpatch import inlining

if TYPE_CHECKING:
    from pathlib import Path

CALLS = """
int outer(int);
static inline __attribute__((always_inline)) int twice(int x) { return x + x; }
static __attribute__((noinline)) int callee(int x) { return outer(twice(x)); }
int caller(int x) { return callee(twice(x) + 1); }
"""
CALLS_ITSELF = """
void visit(int);
struct node { struct node *next; int value; };
static void walk(struct node *n) { if (n) { visit(n->value); walk(n->next); } }
void start(struct node *n) { walk(n); }
"""
# A compiler may inline the loop, and not what calls itself.
SEARCHES = """
int find(int), next(int);
static int search(int x) {
  int found = find(x);
  if (found >= 0) return found;
  x = next(x);
  return x ? search(x) : find(1);
}
int start(int x) { return search(x) + 1; }
"""
NONE: frozenset[str] = frozenset()


def compiled(folder: Path, text: str, *options: str) -> inlining.Made:
    source, made = folder / "t.c", folder / "t.o"
    source.write_text(text)
    command = ("powerpc64le-linux-gnu-gcc", "-O2", "-g", *options, "-c", source, "-o", made)
    subprocess.run(command, check=True)
    return inlining.made(made)


def test_inlined_subroutines_are_counted_by_caller_and_callee(tmp_path: Path) -> None:
    made = compiled(tmp_path, CALLS)
    assert made.inlined == {"callee <- twice": 1, "caller <- twice": 1}
    assert set(made.functions) == {"callee", "caller"}


def test_a_sibling_call_that_is_none_any_more_changes_what_is_compared_in_nothing(
    tmp_path: Path,
) -> None:
    without, having = compiled(tmp_path, CALLS), compiled(tmp_path, CALLS, inlining.OPTION)
    assert having.code > without.code
    assert inlining.differences(without, having) == ([], [], ())


def test_what_differs_in_a_function_that_is_inlined_into_itself_is_told_from_the_rest(
    tmp_path: Path,
) -> None:
    loop, calls = (
        compiled(tmp_path, CALLS_ITSELF),
        compiled(tmp_path, CALLS_ITSELF, inlining.OPTION),
    )
    found = inlining.differences(loop, calls)
    assert any(line.startswith("start <- walk: 1,") for line in found.recursive)
    assert found.other == []
    assert inlining.differences(compiled(tmp_path, CALLS), calls).other


def test_a_function_that_calls_itself_need_not_be_inlined_to_be_told_from_the_rest(
    tmp_path: Path,
) -> None:
    for more in ((), ("-ffunction-sections",)):
        loop = compiled(tmp_path, SEARCHES, *more)
        calls = compiled(tmp_path, SEARCHES, *more, inlining.OPTION, "-fno-inline")
        assert (loop.recursive, calls.recursive) == (set(), {"search"})
        found = inlining.differences(loop, calls)
        assert "start <- search: 1, with the option 0" in found.recursive
        assert found.other == []


def test_a_clone_of_what_calls_itself_and_what_is_inlined_into_it_are_told_from_the_rest() -> None:
    loop = inlining.Made(Counter(["find"]), Counter(["find <- fails", "other <- fails"]), 0, NONE)
    calls = inlining.Made(Counter(["find", "find.part.0"]), Counter(), 0, frozenset(["find"]))
    found = inlining.differences(loop, calls)
    assert [line.split(":")[0] for line in found.recursive] == ["find.part.0", "find <- fails"]
    assert [line.split(":")[0] for line in found.other] == ["other <- fails"]


def test_what_is_inlined_with_a_function_that_calls_itself_is_told_from_the_rest() -> None:
    loop = inlining.Made(
        Counter(["start"]), Counter(["start <- put", "start <- put <- dec"]), 0, NONE
    )
    calls = inlining.Made(Counter(["start", "put"]), Counter(["put <- dec"]), 0, frozenset(["put"]))
    assert inlining.differences(loop, calls).other == []
    apart = calls._replace(inlined=Counter(["put <- dec", "start <- dec", "start <- dec"]))
    assert inlining.differences(loop, apart).other == ["start <- dec: 1, with the option 2"]


def test_the_compilers_own_numbers_tell_nothing_of_what_it_inlined() -> None:
    one = "f.c:3:9: optimized:  Inlining a/12 into b/7.\n"
    other = "f.c:3:9: optimized:  Inlining a/13 into b/7.\n"
    assert inlining.decisions(one) == inlining.decisions(other)
    assert inlining.decisions(one) != inlining.decisions(one + other)
