"""What stands in front of a function: type hashes of control-flow integrity.

The problem: clang puts numbers in front of functions that callers compare before they call through
a pointer.  -fsanitize=function writes two words, a signature and a hash; -fsanitize=kcfi writes
the hash alone.  A hash can look like any instruction.  Taken for a branch it would be changed, and
taken for a call it would be moved away from its function by a slot.

The rule: two words that begin with the signature are data.  Nothing marks a hash that stands alone,
so a word that looks like a branch or a prefix and stands alone in the padding in front of a
function is refused, unless it is the branch over long padding or a symbol says that code begins
there.

Source: LLVM, AsmPrinter.cpp (emitFunctionPrefix, emitKCFITypeId) and the signature that
CodeGenFunction.cpp gives to -fsanitize=function.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.power.fill import fill_style
from nopfix.rewriter.power.instruction import NOP
from nopfix.rewriter.proof.analysis import TYPE_HASH, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nopfix.rewriter.object.program import Functions, Program
    from nopfix.rewriter.power.instruction import Instructions

_SIGNATURE = bytes.fromhex("feca05c1")
_SIZE = 8


def type_hashes(data: bytes, functions: Functions) -> list[Region]:
    """The signatures and hashes in front of ``functions`` in a code section's bytes ``data``."""
    found = []
    at = data.find(_SIGNATURE)
    while at >= 0:
        index = bisect_left(functions.starts, at + _SIZE)
        if functions.starts[index : index + 1] == [at + _SIZE]:
            found.append(Region(at, at + _SIZE, TYPE_HASH, 4))
        at = data.find(_SIGNATURE, at + 1)
    return found


def check(
    program: Program, section: int, found: Instructions, touched: Callable[[int], bool]
) -> None:
    """Raise `Refusal` for a word in front of a function that may be a branch or a hash.

    ``found`` is what a sweep over the section found besides its data; ``touched`` says whether
    something may be inserted into a section: the others keep their bytes.
    """
    words, functions = program.words(section), program.functions_in(section)
    for end, start in _gaps(functions):
        if fill_style(words[end + 3 >> 2 : start >> 2]) is not None:
            continue  # the common case, and cheap
        for place in _looking_like_branches(found, end, start):
            if not _stands_alone(words, end, place, start):
                continue
            values, _ = program.symbols_in(section)
            if bisect_left(values, end) == bisect_right(values, place) and touched(section):
                name = functions.names[bisect_left(functions.starts, start)]
                raise Refusal(
                    f"a word in front of {name} that looks like a branch, but may be a type hash",
                    section=program.name(section),
                    offset=place,
                    remedy="compile without -fsanitize=kcfi; give hand-written code there a symbol",
                )


def _looking_like_branches(found: Instructions, start: int, end: int) -> list[int]:
    """The places from ``start`` to ``end`` of branches without relocation, calls and prefixes."""
    first = bisect_left(found.branches, (start,))
    behind = bisect_left(found.branches, (end,))
    places = [place for place, _ in found.branches[first:behind]]
    for column in (found.calls, found.prefixed):
        places += column[bisect_left(column, start) : bisect_left(column, end)]
    return places


def _stands_alone(words: Sequence[int], end: int, place: int, start: int) -> bool:
    """Whether nothing but padding lies around ``place`` between ``end`` and ``start``.

    A hash does; code has more than one instruction, and long padding has a branch of its own.
    """
    before = words[end + 3 >> 2 : place >> 2]
    behind = words[(place >> 2) + 1 : start >> 2]
    return (
        (not before or fill_style(before) is not None)
        and all(word == NOP for word in behind)
        and (not behind or fill_style(words[place >> 2 : start >> 2]) is None)
    )


def _gaps(functions: Functions) -> Iterator[tuple[int, int]]:
    """From the end of one function to the start of the next, where the one says how long it is."""
    end: int | None = 0
    for start, own_end in zip(functions.starts, functions.ends, strict=True):
        if end is not None and end < start:
            yield end, start
        end = max(end or 0, own_end) if own_end > start else None
