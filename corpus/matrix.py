"""The option lists over which the corpora are compiled.

Each is a tuple of flags as the compiler takes them.  `CODE` is what moves code in different ways:
optimisation levels, code models, kinds of switch tables, traceback tables, profiling and patching
prologues, newer processors.  `DEBUG` is what writes debug information in different ways.
"""

from __future__ import annotations

from typing import NamedTuple

Flags = tuple[str, ...]

LEVELS = ("-O0", "-O1", "-O2", "-O3", "-Os")

_CODE_OPTIONS = (
    "-mcmodel=large",
    "-ffunction-sections -fdata-sections",
    "-fPIC",
    "-mno-relative-jumptables",
    "-mtraceback=full",
    "-mcpu=power9",
    "-mcpu=power10 -mno-pcrel",
    "-fpatchable-function-entry=2",
    "-pg -mprofile-kernel",
)
_DEBUG_OPTIONS = (
    "-gdwarf-2",
    "-gdwarf-3",
    "-gdwarf-4",
    "-gdwarf-5",
    "-gdwarf-5 -gno-as-loc-support",
    "-gdwarf64",
    "-gz",
    "-g3",
    "-gsplit-dwarf",
    "-ffunction-sections",
)


def _list(options: tuple[str, ...], *before: str) -> tuple[Flags, ...]:
    return tuple((*before, *option.split()) for option in options)


#: Without debug information.
CODE: tuple[Flags, ...] = _list(LEVELS) + _list(_CODE_OPTIONS, "-O2")
#: The same with -g.
CODE_WITH_DEBUG: tuple[Flags, ...] = tuple((*flags, "-g") for flags in CODE)
#: Every way to write debug information, at -O2.
DEBUG: tuple[Flags, ...] = _list(_DEBUG_OPTIONS, "-O2", "-g")
#: What clang is asked for: it has neither GCC's traceback nor its profiling options.
CLANG: tuple[Flags, ...] = (*_list(LEVELS), ("-O2", "-mcmodel=large"), ("-O2", "-fPIC"))
CLANG_DEBUG: tuple[Flags, ...] = (("-O2", "-g"), ("-O2", "-g", "-gdwarf-4"), ("-O0", "-g"))

LISTS: dict[str, tuple[Flags, ...]] = {
    "levels": _list(LEVELS),
    "code": CODE,
    "code-debug": CODE_WITH_DEBUG,
    "debug": DEBUG,
    "clang": CLANG,
    "clang-debug": CLANG_DEBUG,
}


class Part(NamedTuple):
    """Compilers and the names of the flag lists that they are given."""

    compilers: tuple[str, ...]
    lists: tuple[str, ...]


#: What ``nopfix-corpus run --matrix NAME`` stands for: all corpora, in these parts.
MATRICES: dict[str, tuple[Part, ...]] = {
    "full": (
        Part(("gcc-12", "gcc-11"), ("code", "code-debug", "debug")),
        Part(("clang-19",), ("clang", "clang-debug")),
    ),
    # The lists with -g: a kernel's objects have debug information.
    "debug": (
        Part(("gcc-12", "gcc-11"), ("code-debug", "debug")),
        Part(("clang-19",), ("clang-debug",)),
    ),
    "code": (Part(("gcc-12", "gcc-11"), ("code",)), Part(("clang-19",), ("clang",))),
}
