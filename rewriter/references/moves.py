"""Move symbols and relocations.

The problem: symbols and relocations are the holders of offsets that the file itself knows about.
The rule: a place asks the map of the section that it lies in; a value, a size and an addend ask the
map of the section that they point into.  What an addend is about depends on the relocation's type
(`power.relocation`); an addend that carries ``place - base`` besides its target gets both parts
moved.

Source: gABI 4 (symbol table, relocation); 64-bit ELFv2 ABI, 3.5.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_right
from itertools import compress

from nopfix.dwarf.offset_map import IDENTITY, OffsetMap, Side
from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object import elf
from nopfix.rewriter.power.relocation import TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nopfix.dwarf.section import CopiedRelocation, Rewritten

_VALUE = struct.Struct("<Q")
_ADDEND = struct.Struct("<q")
_NO_SIDES: Mapping[int, Side] = {}
_NO_BASES: Mapping[int, int] = {}


class Moves(Record):
    """Everything that the movers ask.

    ``maps`` are the offset maps of the sections that moved, by number.  ``sides`` name by section
    and old place the relocations whose target isn't on the start side; ``bases`` by section and old
    place the offset (into the same section) that a base-relative addend counts from.  ``copies``
    are the relocations that a section has now and hadn't before.
    """

    maps: Mapping[int, OffsetMap]
    sides: Mapping[int, Mapping[int, Side]]
    bases: Mapping[int, Mapping[int, int]]
    copies: Mapping[int, Sequence[CopiedRelocation]]


class MovedSymbol(Record):
    """A symbol of a section that moved: that section's map, the symbol's old and new value.

    A section symbol stays at its value, whatever is inserted there.  ``places`` and ``shifts`` are
    the map's own, for the loop that most relocations go through.
    """

    map: OffsetMap
    old: int
    new: int
    places: Sequence[int]
    shifts: Sequence[int]

    def addend(self, addend: int, side: Side) -> int:
        """The addend that keeps symbol + addend at the same spot."""
        return self.map.move(self.old + addend, side) - self.new


def rewrite(
    obj: elf.Object,
    maps: Mapping[int, OffsetMap],
    rewritten: Mapping[int, Rewritten],
    bases: Mapping[int, Mapping[int, int]],
) -> dict[int, bytes | bytearray | memoryview]:
    """The symbol table and the relocation sections that change, by section number.

    ``maps`` are those of the code that moved, ``rewritten`` the unwind and debug sections that
    changed, ``bases`` as in `Moves`.  Raises `Refusal` for what can't be moved with certainty.
    """
    every = dict(maps) | {number: new.map for number, new in rewritten.items() if new.map}
    sides = {number: new.sides for number, new in rewritten.items() if new.sides}
    copies = {number: new.copies for number, new in rewritten.items() if new.copies}
    asked = Moves(every, sides, bases, copies)
    contents: dict[int, bytes | bytearray | memoryview] = {}
    symbols = symbol_table(obj, every)
    if symbols is not None:
        contents[obj.symbol_table] = symbols
    by_symbol = moved_symbols(obj, every)
    emptied = {number for number, new in rewritten.items() if not new.data}
    for relocations in obj.relocations.values():
        if relocations.section in emptied:
            contents[relocations.table] = b""
            continue
        table = relocation_table(obj, relocations, asked, by_symbol)
        if table is not None:
            contents[relocations.table] = table
    return contents


def symbol_table(obj: elf.Object, maps: Mapping[int, OffsetMap]) -> bytearray | None:
    """The symbol table's bytes with values and sizes moved, None when none of them does."""
    table = bytearray(obj.contents(obj.symbol_table))
    symbols = obj.symbols
    for index, section in enumerate(symbols.sections):
        moved = maps.get(section)
        if moved is None or symbols.infos[index] & 15 == elf.STT_SECTION:
            continue
        value = symbols.values[index]
        size = symbols.sizes[index]
        start = moved.start(value)
        at = index * elf.SYMBOL_SIZE
        _VALUE.pack_into(table, at + 8, start)
        if size:
            _VALUE.pack_into(table, at + 16, moved.after(value + size) - start)
    return None if table == obj.contents(obj.symbol_table) else table


def relocation_table(
    obj: elf.Object,
    relocations: elf.Relocations,
    moves: Moves,
    by_symbol: Mapping[int, MovedSymbol],
) -> bytes | None:
    """The bytes of one relocation section, moved; None when nothing in it moves.

    ``by_symbol`` are the symbols of sections that moved (`moved_symbols`).
    Raises `Refusal` for a type that isn't known where the answer depends on it.
    """
    own = moves.maps.get(relocations.section)
    changes = _changed_addends(obj, relocations, moves, by_symbol)
    addends = _moved_addends(obj, relocations, changes)
    changed = addends != relocations.addends
    if own is None and not changed:
        return None
    # Columns are put in at once: packed one by one, addends took a third of all that is done here.
    fields = elf.column(obj.contents(relocations.table), "Q")
    width = elf.RELA_SIZE // 8
    if own is not None:
        # `OffsetMap.place`, written out.
        edits, shifts = own.places, own.shifts
        moved = [place + shifts[bisect_right(edits, place + 1)] for place in relocations.places]
        fields[::width] = array("Q", moved)
    if changed:
        fields[2::width] = array("Q", addends.tobytes())
    table = elf.little_endian(fields)
    copies = moves.copies.get(relocations.section)
    return _with_copies(table, relocations, copies, by_symbol) if copies else table


def _with_copies(
    table: bytes,
    relocations: elf.Relocations,
    copies: Sequence[CopiedRelocation],
    by_symbol: Mapping[int, MovedSymbol],
) -> bytes:
    """The moved relocations ``table`` with copies of some of them put in, in order of place."""
    index_of = {place: index for index, place in enumerate(relocations.places)}
    rows = [table[at : at + elf.RELA_SIZE] for at in range(0, len(table), elf.RELA_SIZE)]
    for place, new_place, side in copies:
        index = index_of[place]
        addend = relocations.addends[index]
        moved = by_symbol.get(relocations.symbols[index])
        new = moved.addend(addend, side) if moved else addend
        rows.append(_VALUE.pack(new_place) + rows[index][8:16] + _ADDEND.pack(new))
    rows.sort(key=lambda row: _VALUE.unpack_from(row)[0])
    return b"".join(rows)


def moved_symbols(obj: elf.Object, maps: Mapping[int, OffsetMap]) -> dict[int, MovedSymbol]:
    """The symbols of sections that moved, by symbol index."""
    symbols = obj.symbols
    found = {}
    for index, section in enumerate(symbols.sections):
        moved = maps.get(section)
        if moved is not None:
            value = symbols.values[index]
            fixed = symbols.infos[index] & 15 == elf.STT_SECTION
            new = value if fixed else moved.start(value)
            found[index] = MovedSymbol(moved, value, new, moved.places, moved.shifts)
    return found


def _moved_addends(
    obj: elf.Object, relocations: elf.Relocations, changes: Iterable[tuple[int, int]]
) -> array[int]:
    """The addends of a section's relocations with ``changes`` (`_changed_addends`) put in.

    Raises `Refusal` for one that would leave the address space.
    """
    addends = relocations.addends[:]
    try:
        for index, addend in changes:
            addends[index] = addend
    except OverflowError:
        found = f"the addend {relocations.addends[index]:#x} leads out of the address space"
        remedy = "the object is damaged; build it again"
        raise _refusal(obj, relocations, index, found, remedy) from None
    return addends


def _changed_addends(
    obj: elf.Object,
    relocations: elf.Relocations,
    moves: Moves,
    by_symbol: Mapping[int, MovedSymbol],
) -> Iterator[tuple[int, int]]:
    """The index and the new addend of each relocation whose addend changes.

    A dictionary of them took more memory than the whole of the relocations.
    """
    sides = moves.sides.get(relocations.section, _NO_SIDES)
    bases = moves.bases.get(relocations.section, _NO_BASES)
    # Of an object's tens of thousands of relocations most are in debug sections and point into
    # sections that didn't move: they must not cost more than this look-up.
    symbols = relocations.symbols
    hits = list(compress(range(len(symbols)), map(by_symbol.__contains__, symbols)))
    rare = {number for number in set(relocations.types) if not _is_target(number)}
    if not rare and not bases:
        yield from _moved_targets(relocations, hits, sides, by_symbol)
        return
    types, places = relocations.types, relocations.places
    own = moves.maps.get(relocations.section)
    plain = [i for i in hits if types[i] not in rare and places[i] not in bases]
    others = range(len(types)) if own else hits
    yield from _moved_targets(relocations, plain, sides, by_symbol)
    for index in others:
        place = places[index]
        if types[index] in rare:
            new = _moved_rare_addend(obj, relocations, index, own, by_symbol)
        elif place in bases:
            # addend = target + (place - base): take the target out, move it, put it back.
            here = own or IDENTITY
            base = bases[place]
            target = relocations.addends[index] - (place - base)
            moved = by_symbol.get(relocations.symbols[index])
            new = here.start(place) - here.start(base)
            new += moved.addend(target, "start") if moved else target
        else:
            continue
        if new != relocations.addends[index]:
            yield index, new


def _moved_rare_addend(
    obj: elf.Object,
    relocations: elf.Relocations,
    index: int,
    own: OffsetMap | None,
    by_symbol: Mapping[int, MovedSymbol],
) -> int:
    """The new addend of a relocation that doesn't just lead to a spot."""
    known = TYPES.get(relocations.types[index])
    if known is None:
        found = f"relocation type {relocations.types[index]} isn't known"
        raise _refusal(obj, relocations, index, found, "report it with the object")
    place, addend = relocations.places[index], relocations.addends[index]
    if known.addend == "nothing":
        return addend
    if known.addend == "distance":
        here = own or IDENTITY
        return here.place(place + addend) - here.place(place)
    moved = by_symbol.get(relocations.symbols[index])
    return _moved_base_addend(obj, relocations, index, own, moved)


def _is_target(number: int) -> bool:
    """Whether the addend of the type with this number is known to lead to a spot, and no more."""
    known = TYPES.get(number)
    return known is not None and known.addend in ("target", "place")


def _moved_targets(
    relocations: elf.Relocations,
    hits: Sequence[int],
    sides: Mapping[int, Side],
    by_symbol: Mapping[int, MovedSymbol],
) -> Iterator[tuple[int, int]]:
    """`_changed_addends` for a section with plain targets only, which is what most are.

    Those at ``hits`` are against symbols of sections that moved.  In a kernel's objects a thousand
    addends change, and `MovedSymbol.addend`, written out here, took half of the time.
    """
    symbols, old_addends, places = relocations.symbols, relocations.addends, relocations.places
    for index in hits:
        code, value, new_value, edits, shifts = by_symbol[symbols[index]]
        old = value + old_addends[index]
        if sides and (place := places[index]) in sides:
            new = code.move(old, sides[place]) - new_value
        else:
            new = old + shifts[bisect_right(edits, old)] - new_value
        if new != old_addends[index]:
            yield index, new


def _moved_base_addend(
    obj: elf.Object,
    relocations: elf.Relocations,
    index: int,
    own: OffsetMap | None,
    moved: MovedSymbol | None,
) -> int:
    """REL16 and its kin: the addend is the offset from the symbol plus ``place - base``.

    With an undefined symbol (nearly always .TOC.) the offset is nothing, so the base is known.
    """
    place = relocations.places[index]
    addend = relocations.addends[index]
    symbol = relocations.symbols[index]
    if own is None and moved is None:
        return addend
    if obj.symbols.sections[symbol] > 0:
        name = f"R_PPC64_{TYPES[relocations.types[index]].name}"
        found = f"{name} against a symbol of this object: what it is relative to isn't known"
        remedy = "compile without hand-written PC-relative address computations"
        raise _refusal(obj, relocations, index, found, remedy)
    here = own or IDENTITY
    base = place - addend
    return here.start(place) - here.start(base)


def _refusal(
    obj: elf.Object, relocations: elf.Relocations, index: int, found: str, remedy: str
) -> Refusal:
    """A refusal that names the place of relocation ``index``."""
    section = obj.sections[relocations.section].name
    return Refusal(found, section=section, offset=relocations.places[index], remedy=remedy)
