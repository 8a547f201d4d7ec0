"""A stand-in for `typing`, for a process that lives 40 ms and starts three thousand times.

The problem: the compiler wrapper starts for every object of a kernel, and importing `typing` takes
longer than importing the whole rewriter: it loads re, enum, functools and contextlib, and its
NamedTuple compiles a constructor for each of our 90 classes.  With Python 3.11 the interpreter
with the rewriter in it takes 16 ms of CPU time, with the real `typing` 32 (medians of 60 starts).
All that the two packages use of it at run time is NamedTuple, Literal and TYPE_CHECKING.

The rule: `install` puts this module in the place of `typing` if nobody has imported that yet.
Whoever asks for a name that isn't here gets the real one, so nothing else notices.

Source: the Python library's own collections.namedtuple for what a named tuple has to do.
"""

from __future__ import annotations

import sys
from _collections import _tuplegetter  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FunctionType


class _Record(tuple):  # type: ignore[type-arg]
    """What all named tuples share."""

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

    def __repr__(self) -> str:
        pairs = zip(self._fields, self, strict=True)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in pairs)})"


class _NamedTuple(type):
    """Makes a tuple with named elements of a class that names only `NamedTuple` as its base."""

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
        return type(name, (_Record,), members)


_Function: type[FunctionType] = type(lambda: None)  # type: ignore[assignment]
_GLOBALS = {"_new": tuple.__new__}
_codes: dict[int, CodeType] = {}


def _constructor(fields: tuple[str, ...]) -> FunctionType:
    """``__new__`` of a named tuple, without a loop over its arguments.

    Compiled once for each number of fields: for others of that number it is the same with other
    names of its variables, and compiling takes as long as all the rest.
    """
    count = len(fields)
    code = _codes.get(count)
    if code is None:
        names = ", ".join(f"_{index}" for index in range(count))
        code = eval(f"lambda _cls, {names}: _new(_cls, ({names},))").__code__
        _codes[count] = code
    return _Function(code.replace(co_varnames=("_cls", *fields), co_name="__new__"), _GLOBALS)


class NamedTuple(metaclass=_NamedTuple):
    """As `typing.NamedTuple`, used as a base class."""


class _Literal:
    """As `typing.Literal` where nobody looks at it: any subscript is just some type."""

    def __getitem__(self, _: object) -> type:
        return object


Literal = _Literal()


def __getattr__(name: str) -> object:
    """Any other name of `typing`: that module takes its place again."""
    if name.startswith("__"):
        raise AttributeError(name)
    if sys.modules.get("typing") is sys.modules[__name__]:
        del sys.modules["typing"]
    import typing

    return getattr(typing, name)


def install() -> None:
    """Let ``import typing`` find this module, unless the real one is loaded already.

    `array` asks for `collections.abc`, which is the interpreter's own `_collections_abc` by another
    name, and would load all of `collections` for it; so it is loaded here, and finds it at once.
    """
    sys.modules.setdefault("typing", sys.modules[__name__])
    if "collections" not in sys.modules:
        import _collections_abc

        names = "collections", "collections.abc"
        sys.modules.update(dict.fromkeys(names, _collections_abc))
        import array  # noqa: F401

        for name in names:
            del sys.modules[name]
