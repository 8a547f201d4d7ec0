"""Objects of a thousand of one thing and of two thousand: at most 2.2 times as long.

Each shape is a text for the assembler: a piece that is repeated, with ``{n}`` for its number.
"""

from __future__ import annotations

import statistics
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from nopfix.corpus import toolchain
from tests.bench import paired

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.bench.paired import Row

AIM = 2.2
HEAD = " .abiversion 2\n .type first,@function\nfirst: blr\n .size first,.-first\n"

_BEGIN = " .type f{n},@function\nf{n}: mflr 0\n"
_END = " mtlr 0\n blr\n .size f{n},.-f{n}\n"
_CALLS = " bl first\n bl first\n"
_SWITCH = """\
 cmplwi 3,{last}
 bgt .Ld{n}
 addis 9,2,.Lt{n}@toc@ha
 addi 9,9,.Lt{n}@toc@l
 sldi 3,3,2
 lwax 3,9,3
 add 3,3,9
 mtctr 3
 bctr
 .align 2
.Lt{n}:
"""
_KEY = """\
 .pushsection __jump_table,"aw"
 .long .Lk{n}_{key} - ., .Ld{n} - .
 .quad key - .
 .popsection
.Lk{n}_{key}: nop
"""


class Shape(NamedTuple):
    """What is repeated, and how often in the smaller of the two objects.

    ``text`` gives the assembler's text of an object with so many.
    """

    name: str
    count: int
    text: Callable[[int], str]


def _repeated(piece: str, head: str = "") -> Callable[[int], str]:
    return lambda count: (
        HEAD + head + "".join(piece.replace("{n}", str(number)) for number in range(count))
    )


def _switch(cases: int) -> str:
    """A switch with a call in each case, up to its default."""
    table = "".join(f" .long .Lc{{n}}_{case}-.Lt{{n}}\n" for case in range(cases))
    code = "".join(f".Lc{{n}}_{case}: bl first\n b .Ld{{n}}\n" for case in range(cases))
    return _SWITCH.replace("{last}", str(cases - 1)) + table + code + ".Ld{n}:\n"


def _one_function(cases: int) -> str:
    return HEAD + (_BEGIN + _switch(cases) + _END).replace("{n}", "0")


_KEYS = "".join(_KEY.replace("{key}", str(key)) for key in range(8))

SHAPES = (
    Shape(
        "code sections",
        4000,
        _repeated(' .section .text.f{n},"ax",@progbits\n' + _BEGIN + _CALLS + _END),
    ),
    Shape("functions", 5000, _repeated(_BEGIN + _CALLS + _END)),
    Shape("switch tables", 1000, _repeated(_BEGIN + _switch(8) + _END)),
    Shape(
        "functions with a switch beside eight static keys",
        500,
        _repeated(_BEGIN + _KEYS + _switch(4) + _END, " .data\nkey: .quad 0\n .text\n"),
    ),
    Shape("cases of one switch", 1000, _one_function),
    Shape(
        "functions that return through another register",
        2000,
        _repeated(_BEGIN.replace("mflr 0", "mflr 31") + _CALLS + _END.replace("mtlr 0", "mtlr 31")),
    ),
)


def measure(folder: Path, runs: int, nopfix: Sequence[str]) -> Iterator[Row]:
    """Time each shape, the larger object over the smaller one, in turns.

    ``nopfix`` is the command.  The time for next to nothing is taken off both.
    """
    base = statistics.median(
        paired.in_turns([_command(folder, SHAPES[1], 1, nopfix)], runs)[0],
    )
    for shape in SHAPES:
        commands = [_command(folder, shape, factor * shape.count, nopfix) for factor in (2, 1)]
        large, small = paired.in_turns(commands, runs)
        label = f"{2 * shape.count} {shape.name} / half"
        yield paired.row(
            "scale", label, [own - base for own in large], [own - base for own in small], AIM
        )


def _command(folder: Path, shape: Shape, count: int, nopfix: Sequence[str]) -> list[str]:
    path = folder / f"scale{count}.o"
    subprocess.run(
        [toolchain.binutil("as"), "-o", path, "-"], input=shape.text(count).encode(), check=True
    )
    return [*nopfix, str(path), str(folder / "out.o")]
