"""The matrices that `nopfix-corpus run --matrix` knows by name."""

from __future__ import annotations

from nopfix.corpus import matrix


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
