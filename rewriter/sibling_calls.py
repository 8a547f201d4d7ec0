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
from typing import NamedTuple

from rewriter import calls, elf, instruction

_SIBLING_CALL = instruction.BRANCH << 26


class SiblingCall(NamedTuple):
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
    from rewriter import source_lines

    lines = source_lines.find(obj, {(call.section, call.place) for call in found})
    return [
        f"{lines.get((call.section, call.place), obj.sections[call.section].name)}: "
        f"sibling call at {call.function}()+{call.distance:#x} to {call.callee}; "
        f"kpatch refuses {call.function}() when a patch changes it"
        for call in found
    ]


def find(obj: elf.Object) -> list[SiblingCall]:
    """Every sibling call of the object, in order of section and offset."""
    functions = calls.functions_by_section(obj)
    found: list[SiblingCall] = []
    for number in functions:
        section = obj.sections[number]
        if section.flags & elf.SHF_EXECINSTR and section.type != elf.SHT_NOBITS:
            found += _in_section(obj, number, functions)
    return sorted(found)


def _in_section(
    obj: elf.Object, number: int, functions: dict[int, calls.Functions]
) -> list[SiblingCall]:
    own = functions[number]
    words = calls.code_words(obj, number)
    relocated = set(obj.relocations[number].places) if number in obj.relocations else set()
    entries = _entries(obj, number)
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
    sites = calls.find(obj, number, words, places, functions, calls.Selection())
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


def _entries(obj: elf.Object, number: int) -> set[int]:
    """Where the functions of a section are entered: global and local entry points."""
    symbols = obj.symbols
    entries = set()
    for index, info in enumerate(symbols.infos):
        if info & 15 == elf.STT_FUNC and symbols.sections[index] == number:
            entries.add(symbols.values[index])
            entries.add(symbols.values[index] + symbols.local_entry(index))
    return entries
