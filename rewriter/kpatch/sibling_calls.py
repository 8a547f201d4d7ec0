"""Tail calls that kpatch refuses, named before it does.

The problem: a sibling call (``b callee`` as the last thing that a function does) has no instruction
behind it that could restore the TOC pointer.  The patched function has given its frame back by
then, so the stub that the kernel puts between saves r2 into its *caller's* frame, and the caller
comes back to a wrong TOC.  kpatch's create-diff-object therefore refuses every changed function
with a ``b`` that carries a relocation.

The rule here is the same: in a function, the word of a ``b`` with displacement zero and a
R_PPC64_REL24 relocation at its place.  In an object without -ffunction-sections the assembler
resolves a tail call to a local function of the same section; kpatch recompiles with
-ffunction-sections and meets it again with a relocation, so a ``b`` from one function to the entry
of another counts too.

Source: kpatch, kpatch-build/create-diff-object.c (kpatch_no_sibling_calls_ppc64le) and
doc/patch-author-guide.md (sibling calls); 64-bit ELFv2 ABI, 2.2.3 (the TOC save slot).
"""

from __future__ import annotations

from bisect import bisect_right

from nopfix.dwarf.record import Record
from nopfix.rewriter.layout import calls
from nopfix.rewriter.object import elf
from nopfix.rewriter.object.program import Program
from nopfix.rewriter.power import instruction

_SIBLING_CALL = instruction.BRANCH << 26


class SiblingCall(Record):
    """A tail call: section number and offset in bytes, who makes it and where in it, to whom."""

    section: int
    place: int
    function: str
    distance: int
    callee: str


def describe(data: bytes) -> list[str]:
    """One line for each tail call in the object ``data``, with source file and line where known.

    Raises `Refusal` when ``data`` is no relocatable object.
    """
    obj = elf.read(data)
    found = find(obj)
    if not found:
        return []
    from nopfix.rewriter.kpatch import source_lines

    lines = source_lines.find(obj, {(call.section, call.place) for call in found})
    return [
        f"{lines.get((call.section, call.place), obj.sections[call.section].name)}: "
        f"sibling call at {call.function}()+{call.distance:#x} to {call.callee}; "
        f"kpatch refuses {call.function}() when a patch changes it"
        for call in found
    ]


def find(obj: elf.Object) -> list[SiblingCall]:
    """Every sibling call of the object, in order of section and offset."""
    program = Program(obj)
    return sorted(call for number in program.code for call in _in_section(program, number))


def _in_section(program: Program, number: int) -> list[SiblingCall]:
    own, words, relocated = (
        program.functions_in(number),
        program.words(number),
        program.filling(number),
    )
    if not own.starts:
        return []
    entries = _entries(program, number)
    places = []
    for index, word in enumerate(words):
        if word >> 26 != instruction.BRANCH or word & 3:
            continue
        place = index << 2
        if place in relocated:
            if word == _SIBLING_CALL and own.at(place):
                places.append(place)
            continue
        target = place + (instruction.branch_displacement(word) or 0)
        if target in entries and own.at(place) not in (None, own.at(target)):
            places.append(place)
    sites = calls.find(program, number, places, calls.Selection())
    return [
        SiblingCall(
            number,
            s.place,
            s.function or "",
            s.place - own.starts[bisect_right(own.starts, s.place) - 1],
            s.callee,
        )
        for s in sites
    ]


def _entries(program: Program, number: int) -> set[int]:
    """Where the functions of a section are entered: global and local entry points."""
    symbols = program.obj.symbols
    entries: set[int] = set()
    for value, index in zip(*program.symbols_in(number), strict=True):
        if symbols.type(index) == elf.STT_FUNC:
            entries.update((value, value + symbols.local_entry(index)))
    return entries
