"""Records behave as typing's named tuples for what the packages use."""

from __future__ import annotations

import copy
import pickle
from typing import Any, NamedTuple, get_args

import pytest

from nopfix.dwarf.record import Literal, Record, make
from tests import isolated


class Real(NamedTuple):
    first: int
    second: str = "two"
    third: tuple[int, ...] = ()

    def sum(self) -> int:
        return self.first + len(self.third)


class Light(Record):
    first: int
    second: str = "two"
    third: tuple[int, ...] = ()

    def sum(self) -> int:
        return self.first + len(self.third)


KINDS = pytest.mark.parametrize("kind", [Real, Light])


@KINDS
def test_a_record_does_what_a_named_tuple_does(kind: type[Real]) -> None:
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
    assert kind.__match_args__ == ("first", "second", "third")


@KINDS
def test_a_record_can_be_copied_and_pickled(kind: type[Real]) -> None:
    value = kind(1, third=(2,))
    for same in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert same == value
        assert type(same) is kind


def test_what_loops_make_is_the_same_record() -> None:
    made = make(Light, (1, "2", (3,)))
    assert made == Light(1, "2", (3,))
    assert type(made) is Light


@pytest.mark.parametrize("count", [1, 2, 8, 9, 12])
def test_a_record_has_as_many_fields_as_it_names(count: int) -> None:
    names = [f"field{number}" for number in range(count)]
    body = {"__annotations__": dict.fromkeys(names, "int")}
    kind: Any = type(Record)("Made", (Record,), body)
    value = kind(*range(count))
    assert value._fields == tuple(names)
    assert value == kind(**dict(zip(names, range(count), strict=True)))
    assert value.field0 == 0


@KINDS
def test_wrong_arguments_are_errors(kind: type[Real]) -> None:
    with pytest.raises(TypeError):
        kind()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        kind(1, 2, 3, 4)  # type: ignore[call-arg, arg-type]
    with pytest.raises(TypeError):
        kind(1, x=2)  # type: ignore[call-arg]
    with pytest.raises((TypeError, ValueError)):  # which one depends on Python's version
        kind(1)._replace(x=2)  # type: ignore[call-arg]


def test_a_literal_type_has_its_arguments() -> None:
    assert get_args(Literal["a", "b"]) == ("a", "b")
    assert get_args(int | Literal["a"])[1] == Literal["a"]


def test_the_packages_load_nothing_of_typing_s() -> None:
    code = (
        "from nopfix.dwarf import debug, frame, lsda\n"
        "heavy = {'typing', 're', 'enum', 'functools', 'contextlib', 'types'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert isolated.run(code) == "[]"
