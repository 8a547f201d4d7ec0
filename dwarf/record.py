"""`Record`: tuples with named elements, for a process that lives 40 ms and starts 3,000 times.

The problem: the compiler wrapper starts for every object of a kernel, and `typing.NamedTuple` costs
more than all of the two packages: `typing` loads re, enum, functools and contextlib, and compiles a
constructor for each of our 100 classes.

The rule: a type checker is told that `Record` is `typing.NamedTuple`, and used like that it behaves
like that.  The two other names that the packages need as they run are here as well, so that nobody
imports `typing` for them: `TYPE_CHECKING`, under which all is imported that only annotations need,
and `Literal`, which aliases of types are made of.

Source: the Python library's own collections.namedtuple for what a named tuple has to do.
"""

from __future__ import annotations

from _collections import _tuplegetter  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FunctionType

__all__ = ["TYPE_CHECKING", "Literal", "Record", "make"]

make = tuple.__new__
"""``make(Kind, (value, ...))`` is ``Kind(value, ...)`` in a third of the time: no Python runs.

For loops that make thousands, which was a sixth of a large module's rewrite.  Each field has to be
there, in order: nothing checks it.
"""


class _Tuple(tuple):  # type: ignore[type-arg]
    """What all records share."""

    __slots__ = ()
    _fields: tuple[str, ...] = ()

    @classmethod
    def _make(cls, values: object) -> object:
        return tuple.__new__(cls, values)  # type: ignore[arg-type]

    def _replace(self, **changes: object) -> object:
        new = [changes.pop(field, value) for field, value in zip(self._fields, self, strict=True)]
        if changes:
            raise ValueError(f"Got unexpected field names: {list(changes)!r}")
        return self._make(new)

    def _asdict(self) -> dict[str, object]:
        return dict(zip(self._fields, self, strict=True))

    def __getnewargs__(self) -> tuple[object, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        pairs = zip(self._fields, self, strict=True)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in pairs)})"


class _Maker(type):
    """Makes a tuple with named elements of a class that names only `Record` as its base."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
        if not bases:
            return super().__new__(cls, name, bases, body)
        annotations = body.get("__annotations__", {})
        assert isinstance(annotations, dict)
        fields = tuple(annotations)
        new = _constructor(fields)
        new.__defaults__ = tuple(body.pop(field) for field in fields if field in body)
        members = dict(body, __slots__=(), __new__=new, _fields=fields, __match_args__=fields)
        for index, field in enumerate(fields):
            members[field] = _tuplegetter(index, None)
        return type(name, (_Tuple,), members)


_Function: type[FunctionType] = type(lambda: None)  # type: ignore[assignment]
_new = tuple.__new__
_GLOBALS = {"_new": _new}
# Compiling one takes as long as the rest of two classes, so those of most are written out.
_CODES: dict[int, CodeType] = {
    function.__code__.co_argcount - 1: function.__code__
    for function in (
        lambda _cls, a: _new(_cls, (a,)),
        lambda _cls, a, b: _new(_cls, (a, b)),
        lambda _cls, a, b, c: _new(_cls, (a, b, c)),
        lambda _cls, a, b, c, d: _new(_cls, (a, b, c, d)),
        lambda _cls, a, b, c, d, e: _new(_cls, (a, b, c, d, e)),
        lambda _cls, a, b, c, d, e, f: _new(_cls, (a, b, c, d, e, f)),
        lambda _cls, a, b, c, d, e, f, g: _new(_cls, (a, b, c, d, e, f, g)),
        lambda _cls, a, b, c, d, e, f, g, h: _new(_cls, (a, b, c, d, e, f, g, h)),
    )
}


def _constructor(fields: tuple[str, ...]) -> FunctionType:
    """``__new__`` of a record, without a loop over its arguments.

    The same for all of one number of fields, but for the names of its variables.
    """
    count = len(fields)
    code = _CODES.get(count)
    if code is None:
        names = ", ".join(f"_{index}" for index in range(count))
        code = _CODES[count] = eval(f"lambda _cls, {names}: _new(_cls, ({names},))").__code__
    return _Function(code.replace(co_varnames=("_cls", *fields), co_name="__new__"), _GLOBALS)


if TYPE_CHECKING:
    from typing import Literal
    from typing import NamedTuple as Record
else:

    class Literal:
        """As `typing.Literal`; any subscript is a type, whose arguments can be asked for."""

        __class_getitem__ = classmethod(type(list[int]))

    class Record(metaclass=_Maker):
        """As `typing.NamedTuple`, used as a base class."""
