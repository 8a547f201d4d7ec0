"""The matrices that `nopfix-corpus run --matrix` knows by name."""

from __future__ import annotations

import argparse

import pytest

from nopfix.corpus import matrix, runs, toolchain


def test_every_case_of_the_debug_matrix_has_debug_information() -> None:
    lists = [
        flags
        for part in matrix.MATRICES["debug"]
        for name in part.lists
        for flags in matrix.LISTS[name]
    ]
    assert lists
    assert all(any(flag.startswith("-g") for flag in flags) for flags in lists)


def test_the_full_matrix_holds_every_case_of_the_others() -> None:
    def cases(name: str) -> set[tuple[str, matrix.Flags]]:
        return {
            (compiler, flags)
            for part in matrix.MATRICES[name]
            for compiler in part.compilers
            for of_one_name in part.lists
            for flags in matrix.LISTS[of_one_name]
        }

    assert all(cases(name) <= cases("full") for name in matrix.MATRICES)


def parts(**options: object) -> dict[str, list[matrix.Flags]]:
    """The option lists that each compiler gets."""
    given = {"matrix": None, "cc": None, "flags": None, "list": None, "root": "", "assembler": ""}
    made = runs.parts(argparse.Namespace(**(given | options)))
    return {tools.compiler: lists for of_part, lists in made for tools in of_part}


def test_other_compilers_take_the_place_of_those_of_the_matrix_with_the_lists_of_their_kind() -> (
    None
):
    own = parts(matrix="full")
    asked = parts(matrix="full", cc=["gcc-16", "clang-23"])
    assert asked == {"gcc-16": own["gcc-12"], "clang-23": own["clang-19"]}
    assert parts(matrix="full", cc=["clang-23"]).keys() == {"clang-23"}


def test_an_option_that_need_not_be_known_is_left_out_alone() -> None:
    flags = ("-O2", "?-mprefixed", "?-mtune=power10", "-g")
    assert matrix.resolved(flags, lambda option: option == "-mtune=power10") == (
        "-O2", "-mtune=power10", "-g",
    )  # fmt: skip


#: What newer compilers have than those that these tests are run with.
NEWER = frozenset((
    "-fcondition-coverage", "-fhardened", "-fmin-function-alignment=64", "-gdwarf-6", "-gz=zstd",
    "-mcpu=power11", "-fpatchable-function-entry=1", "-fpatchable-function-entry=5,2",
))  # fmt: skip


def test_every_option_list_is_taken_by_a_compiler_or_is_for_newer_ones() -> None:
    compilers = [toolchain.Tools("gcc-12"), toolchain.Tools("clang-19")]
    try:
        for tools in compilers:
            toolchain.compiler(tools)
    except toolchain.ToolError as missing:
        pytest.skip(str(missing))

    def taken(flags: matrix.Flags) -> bool:
        return any(not toolchain.unknown_option(tools, certain(flags)) for tools in compilers)

    def certain(flags: matrix.Flags) -> matrix.Flags:
        return matrix.resolved(flags, lambda _: False)

    every = dict.fromkeys(flags for lists in matrix.LISTS.values() for flags in lists)
    unknown = [flags for flags in every if NEWER.isdisjoint(flags) and not taken(flags)]
    assert unknown == []
