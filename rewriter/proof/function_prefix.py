"""What stands in front of a function: type hashes of control-flow integrity.

The problem: clang puts numbers in front of functions that callers compare before they call through
a pointer.  -fsanitize=function writes two words, a signature and a hash; -fsanitize=kcfi writes
the hash alone.  A hash can look like any instruction.  Taken for a branch it would be changed, and
taken for a call it would be moved away from its function by a slot.

The rule: two words that begin with the signature are data.  Nothing marks a hash that stands alone
in the padding in front of a function.  It is data where LLVM wrote the object and each function
that other objects may call has such a word, and where it can be no instruction: a branch without a
relocation that leads out of its section, a prefix without a suffix that goes with it.  Any other
that looks like a branch or a prefix is refused, unless it is the branch over long padding or a
symbol says that code begins there.

Source: LLVM, AsmPrinter.cpp (emitFunctionPrefix, emitKCFITypeId) and the signature that
CodeGenFunction.cpp gives to -fsanitize=function.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object import elf
from nopfix.rewriter.power.fill import fill_style
from nopfix.rewriter.power.instruction import GROUP_NOPS, NOP, branch_displacement, is_prefix
from nopfix.rewriter.proof.analysis import TYPE_HASH, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nopfix.rewriter.object.program import Functions, Place, Program
    from nopfix.rewriter.power.instruction import Instructions

_SIGNATURE = bytes.fromhex("feca05c1")
_SIZE = 8
_PADDING = frozenset((NOP, *GROUP_NOPS.values()))


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


def lone_hashes(program: Program) -> dict[int, list[Region]]:
    """The hashes that stand alone, by section, as far as it is certain that they are some."""
    found = {number: _lone_words(program, number) for number in program.code}
    places = {(number, place + 4) for number, own in found.items() for place in own}
    if not places:
        return {}
    if not (program.is_of_llvm and _callable_from_outside(program) <= places):
        found = {
            number: [place for place in own if _is_no_instruction(program.words(number), place)]
            for number, own in found.items()
        }
    return {
        number: [Region(place, place + 4, TYPE_HASH, 4) for place in own]
        for number, own in found.items()
        if own
    }


def _lone_words(program: Program, number: int) -> list[int]:
    """The words right in front of functions that nobody names and that padding is around of."""
    words, functions = program.words(number), program.functions_in(number)
    found = []
    for end, start in _gaps(functions):
        place = start - 4
        first = end + 3 >> 2
        gap = words[first : place >> 2]
        if place % 4 or place < 4 * first or words[place >> 2] in _PADDING:
            continue
        if gap and (fill_style(gap) is None or fill_style(words[first : start >> 2]) is not None):
            continue
        values, _ = program.symbols_in(number)
        if place not in program.filling(number) and bisect_left(values, end) == bisect_right(
            values, place
        ):
            found.append(place)
    return found


def _callable_from_outside(program: Program) -> set[Place]:
    """Where the functions begin that aren't local."""
    symbols = program.obj.symbols
    return {
        (symbols.sections[index], symbols.values[index])
        for index, info in enumerate(symbols.infos)
        if info & 15 == elf.STT_FUNC and info >> 4 != elf.STB_LOCAL and symbols.sections[index] > 0
    }


def _is_no_instruction(words: Sequence[int], place: int) -> bool:
    """Whether the word at ``place`` looks like a branch or a prefix and can't be one."""
    word = words[place >> 2]
    if is_prefix(word):
        from nopfix.rewriter.power import opcodes

        return opcodes.find_prefixed(word, words[(place >> 2) + 1]) is None
    displacement = branch_displacement(word)
    return displacement is not None and not 0 <= place + displacement < 4 * len(words)


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
