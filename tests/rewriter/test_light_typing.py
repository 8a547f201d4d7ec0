"""The stand-in for typing behaves as the real one for what the packages use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from rewriter import light_typing

ROOT = Path(__file__).parents[2]


class Real(NamedTuple):
    first: int
    second: str = "two"
    third: tuple[int, ...] = ()

    def sum(self) -> int:
        return self.first + len(self.third)


class Light(light_typing.NamedTuple):
    first: int
    second: str = "two"
    third: tuple[int, ...] = ()

    def sum(self) -> int:
        return self.first + len(self.third)


def test_a_light_named_tuple_does_what_the_real_one_does() -> None:
    for kind in (Real, Light):
        value = kind(1)
        assert value == (1, "two", ())
        assert (value.first, value.second, value.third, value.sum()) == (1, "two", (), 1)
        assert kind(3, third=(1, 2)).sum() == 5
        assert kind(*value) == kind._make(value) == value
        assert value._replace(second="2") == (1, "2", ())
        assert value._asdict() == {"first": 1, "second": "two", "third": ()}
        assert kind._fields == ("first", "second", "third")
        assert repr(value) == f"{kind.__name__}(first=1, second='two', third=())"
        assert isinstance(value, tuple)
        assert not hasattr(value, "__dict__")
        assert sorted([kind(2), kind(1)])[0].first == 1
        match value:
            case kind(first, second):
                assert (first, second) == (1, "two")


def test_wrong_arguments_are_errors_in_both() -> None:
    for kind in (Real, Light):
        for wrong in (lambda k=kind: k(), lambda k=kind: k(1, 2, 3, 4), lambda k=kind: k(1, x=2)):
            try:
                wrong()
            except TypeError:
                continue
            raise AssertionError(kind)


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-IS", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def test_the_rewriter_loads_without_the_real_one() -> None:
    loaded = run(
        "from rewriter import light_typing; light_typing.install()\n"
        "from rewriter import objects_in_place, dwarf_sections, data_in_code, special_sections\n"
        "heavy = {'re', 'enum', 'functools', 'contextlib', 'types', 'collections'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert loaded == "[]"


def test_whoever_needs_more_gets_the_real_one() -> None:
    code = (
        "from rewriter import light_typing; light_typing.install()\n"
        "from typing import NamedTuple, Any, cast\n"
        "import typing, dataclasses\n"
        "print(typing.__name__, cast(int, 1), NamedTuple.__module__)"
    )
    assert run(code) == "typing 1 rewriter.light_typing"


def test_arrays_are_what_they_are_elsewhere() -> None:
    code = (
        "from rewriter import light_typing; light_typing.install()\n"
        "import array, collections, collections.abc\n"
        "print(collections.Counter('aa')['a'], collections.abc.Mapping.__name__,"
        " isinstance(array.array('i'), collections.abc.MutableSequence))"
    )
    assert run(code) == "2 Mapping True"


def test_what_is_loaded_stays() -> None:
    code = (
        "import typing; from rewriter import light_typing; light_typing.install()\n"
        "import typing as again; print(again is typing, typing.__name__)"
    )
    assert run(code) == "True typing"
