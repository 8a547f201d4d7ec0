"""Tables of functions whose fields count from a place in the table: relative vtables.

The problem: a field of such a table holds the distance of a function from the table's address point
(the vtable's symbol and eight bytes more), and as a PC-relative relocation only knows its own
place, the assembler adds how far that is from there to the addend.  Read as it stands the third
field leads eight bytes into its function.

The rule: the fields of one variable that lead to code are looked at together.  Each of them may
count from those places in the variable, in front of it, from which it leads to a function's entry.
A vtable by its name has no other fields for code, so a place that is the only one of its field is
the base.  Else two or more have to agree in one such place, it is to be the only one that explains
them, and no field may stay unexplained; a field that leads to an entry counted from itself needs no
other base.  Anything else is left to who asks (`special_sections`).

Source: LLVM, clang/lib/CodeGen/CGVTables.cpp (addRelativeComponent); Itanium C++ ABI, 2.5 and
5.1.4.1 (_ZTV, a vtable; _ZTC, one for construction).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.object import elf
from nopfix.rewriter.power import relocation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nopfix.rewriter.object.program import Program, Reference


def bases(program: Program, references: Iterable[Reference]) -> dict[int, int]:
    """What the fields of relative vtables count from, by place: offsets in bytes.

    ``references`` are those of one section of which nothing is known.
    """
    symbols = program.obj.symbols
    fields: dict[int, list[Reference]] = {}
    for reference in references:
        if reference.type in relocation.FROM_A_BASE and program.is_code(reference.target):
            holder = program.holder(reference.section, reference.place)
            if holder is not None and symbols.type(holder) == elf.STT_OBJECT:
                fields.setdefault(holder, []).append(reference)
    found: dict[int, int] = {}
    for holder, own in fields.items():
        is_vtable = symbols.name(holder).startswith(("_ZTV", "_ZTC"))
        if is_vtable or len(own) > 1:
            found.update(_bases_of(program, symbols.values[holder], own, is_vtable=is_vtable))
    return found


def _bases_of(
    program: Program, start: int, fields: Sequence[Reference], *, is_vtable: bool
) -> Mapping[int, int]:
    """The bases of the ``fields`` of the variable that begins at ``start``."""
    candidates = {field.place: _candidates(program, start, field) for field in fields}
    votes: dict[int, int] = {}
    for own in candidates.values():
        for base in own:
            votes[base] = votes.get(base, 0) + 1
    found = {}
    for place, own in candidates.items():
        agreed = [base for base in own if votes[base] > 1 or base == place]
        if is_vtable and len(own) == 1:
            agreed = [*own]
        if len(agreed) != 1:
            return {}
        found[place] = agreed[0]
    return found


def _candidates(program: Program, start: int, field: Reference) -> Sequence[int]:
    """The places from ``start`` to the field itself from which it leads to a function's entry."""
    symbols, place = program.obj.symbols, field.place
    if symbols.type(field.symbol) == elf.STT_FUNC:
        base = place - (field.offset - symbols.values[field.symbol])
        return (base,) if start <= base <= place else ()
    entries = program.functions_in(field.target).starts
    first = bisect_left(entries, field.offset - (place - start))
    behind = bisect_right(entries, field.offset)
    if behind - first > _MOST_CANDIDATES:
        return ()
    return [place - (field.offset - entry) for entry in entries[first:behind]]


_MOST_CANDIDATES = 64
"""With more of them a large table would take the square of its size."""
