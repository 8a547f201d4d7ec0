"""Call frame information: ``.eh_frame`` and ``.debug_frame``.

Both sections are runs of entries.  A CIE holds what functions share; an FDE describes one function:
where it begins (relocated), how long it is, and a program of DW_CFA_* operations that walks through
the function with *advances*, differences between code labels that the assembler has turned into
numbers.  When the code moves,

* the length of an FDE is ``after(end) - start(start)``, as wide as it was;
* an advance is the distance between the labels' new places.  The labels (``.cfi_*`` after an
  instruction) stand for what follows, so they are on the ``start`` side, and one that stands at the
  end of the function on the ``after`` side.  An advance that changes is encoded as the assembler
  does: the smallest of DW_CFA_advance_loc, _loc1, _loc2 and _loc4 that holds it, and none at all
  for zero.  Where the writer had used a wider one than it needed, the width is kept;
* entries are padded with DW_CFA_nop: in ``.debug_frame`` to the size of an address, in
  ``.eh_frame`` to 4 bytes.  LLVM pads the last entry of an ``.eh_frame`` to the size of an address
  too, and aligns the section so; ``ld -r`` puts many compilations into one section, so there the
  ends of compilations have to be recognised;
* the distance from an FDE back to its CIE is a plain number in ``.eh_frame`` and follows; in
  ``.debug_frame`` it is an offset, relocated or plain.

Three steps: find the advances at which an edit of the code has been reached (`find`), move them and
the lengths (`_moved_advance`, `_moved_fde`), write (`_laid_out`: padding and CIE pointers follow).
An FDE whose function holds no edit is copied as it is, and nothing in it is looked at but its
address, which is what makes this fast: a file has hundreds of functions and a few that change.

Sources: DWARF 5, sections 6.4 and 7.24; Linux Standard Base Core, "DWARF Extensions", 10.5 and 10.6
(``.eh_frame``, the augmentation string, pointer encodings); binutils, gas/dw2gencfi.c for the
padding and the sizes of advances (seen with 2.40).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from nopfix.dwarf import encodings as dw
from nopfix.dwarf import leb128
from nopfix.dwarf.encodings import (
    DW_CFA_advance_loc,
    DW_CFA_advance_loc1,
    DW_CFA_advance_loc2,
    DW_CFA_advance_loc4,
    DW_CFA_MIPS_advance_loc8,
    DW_CFA_nop,
    DW_CFA_offset,
    DW_CFA_restore,
    DW_CFA_set_loc,
    DW_EH_PE_aligned,
    DW_EH_PE_omit,
)
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.numbers import changed, initial_length, number
from nopfix.dwarf.offset_map import IDENTITY, OffsetMap
from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.dwarf.section import (
    Change,
    Rewritten,
    Section,
    Target,
    require_relocations,
    splice,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ADDRESS_SIZE = 8
"""Bytes of an address where the CIE doesn't say otherwise (64-bit objects only)."""

_ADVANCE_WIDTHS = {
    DW_CFA_advance_loc1: 1,
    DW_CFA_advance_loc2: 2,
    DW_CFA_advance_loc4: 4,
    DW_CFA_MIPS_advance_loc8: 8,
}
_ADVANCE_OPERATIONS = {width: operation for operation, width in _ADVANCE_WIDTHS.items()}

# The other operations: how many LEB128 operands, and whether a block (a DWARF expression) follows.
_OPERANDS = {
    dw.DW_CFA_offset_extended: (2, False),
    dw.DW_CFA_restore_extended: (1, False),
    dw.DW_CFA_undefined: (1, False),
    dw.DW_CFA_same_value: (1, False),
    dw.DW_CFA_register: (2, False),
    dw.DW_CFA_remember_state: (0, False),
    dw.DW_CFA_restore_state: (0, False),
    dw.DW_CFA_def_cfa: (2, False),
    dw.DW_CFA_def_cfa_register: (1, False),
    dw.DW_CFA_def_cfa_offset: (1, False),
    dw.DW_CFA_def_cfa_expression: (0, True),
    dw.DW_CFA_expression: (1, True),
    dw.DW_CFA_offset_extended_sf: (2, False),
    dw.DW_CFA_def_cfa_sf: (2, False),
    dw.DW_CFA_def_cfa_offset_sf: (1, False),
    dw.DW_CFA_val_offset: (2, False),
    dw.DW_CFA_val_offset_sf: (2, False),
    dw.DW_CFA_val_expression: (1, True),
    dw.DW_CFA_GNU_window_save: (0, False),
    dw.DW_CFA_GNU_args_size: (1, False),
    dw.DW_CFA_GNU_negative_offset_extended: (2, False),
    dw.DW_CFA_LLVM_def_aspace_cfa: (3, False),
    dw.DW_CFA_LLVM_def_aspace_cfa_sf: (3, False),
}

_PLAIN = {code: numbers for code, (numbers, block) in _OPERANDS.items() if not block}

_POINTER_SIZES = {
    dw.DW_EH_PE_absptr: 0,
    dw.DW_EH_PE_udata2: 2,
    dw.DW_EH_PE_udata4: 4,
    dw.DW_EH_PE_udata8: 8,
    dw.DW_EH_PE_signed: 0,
    dw.DW_EH_PE_sdata2: 2,
    dw.DW_EH_PE_sdata4: 4,
    dw.DW_EH_PE_sdata8: 8,
}
"""Bytes of a pointer by the low four bits of its encoding; 0 is the size of an address."""

_NEVER = 1 << 64

_DAMAGED = "the frame information is damaged; compile the file again"
_UNKNOWN = "nopfix can't move it; compile the file without it"


class _Cie(Record):
    """What an FDE needs of its CIE.  ``instructions`` is a section offset, sizes are in bytes."""

    instructions: int
    code_alignment: int
    pointer_size: int
    segment_size: int
    augmented: bool
    lsda: bool


class _Entry(Record):
    """One entry, by section offsets.

    ``pointer`` is the CIE pointer (behind the length), ``body`` what follows it, ``cie`` the
    entry's CIE (its own ``start`` for a CIE, -1 for a terminator); ``numeric`` says that the CIE
    pointer is a number to rewrite here: it isn't relocated, and this is an FDE.
    """

    start: int
    pointer: int
    body: int
    end: int
    cie: int
    numeric: bool


class Fde(Record):
    """An FDE whose function moved: ``length`` bytes of code at ``start``, as they were.

    ``code`` is the map of the section that they are in, which has the number ``section``.
    ``instructions`` is where the program begins.
    """

    entry: _Entry
    cie: _Cie
    section: int
    start: int
    length: int
    code: OffsetMap
    instructions: int

    def shift(self, label: int) -> int:
        """By how much the label at ``label`` moves.

        One at the end of the function is the function's, not of what follows.
        """
        end = label == self.start + self.length
        return (self.code.after(label) if end else self.code.start(label)) - label


class Advance(Record):
    """An advance at which an edit of the code has been reached: from ``place`` to ``end``.

    It has ``width`` bytes behind its opcode and goes ``units`` of code forward, to the label at
    ``label``; ``since`` is a label from which on nothing had changed before it.
    """

    place: int
    end: int
    width: int
    units: int
    since: int
    label: int


class Program(Record):
    """The advances of one FDE that may change, and where its padding begins (section offset)."""

    advances: list[Advance]
    padding: int


class _Moved(Record):
    """What changes in an FDE but for its length, and where its padding begins."""

    changes: list[Change]
    padding: int


class CallSites(Record):
    """A function (``length`` bytes of code at ``function``) and its language-specific data."""

    function: Target
    length: int
    lsda: Target


def rewrite(
    section: Section, maps: Mapping[int, OffsetMap], *, eh: bool, alignment: int = 4
) -> Rewritten:
    """Rewrite ``.eh_frame`` (``eh``) or ``.debug_frame`` for code that moved.

    ``maps`` are the maps of the sections that moved, by number; ``alignment`` is the section's own
    (sh_addralign, bytes).  All relocations of the result move on the ``start`` side.  Where nothing
    changes the result holds the given bytes and `IDENTITY`.  Raises `Unsupported`.
    """
    data = bytes(section.data)
    entries = _read_entries(section, data, eh=eh)
    cies = _read_cies(section, data, entries)
    first = next((entry for entry in entries if entry.cie not in (entry.start, -1)), None)
    if maps and first is not None:
        require_relocations(section, first.start)
    moved = {
        fde.entry.start: new
        for fde in _moved_functions(section, data, entries, cies, maps)
        if (new := _moved_fde(section, data, fde))
    }
    if not moved:
        return Rewritten(section.data, IDENTITY, {})
    rule = _alignments(section, data, entries, cies, eh=eh, alignment=alignment)
    changes = _laid_out(section, data, entries, cies, moved, rule)
    pointers = _cie_pointers(entries, changes, eh=eh)
    found = [change for entry in changes.values() for change in entry.changes]
    return Rewritten(*splice(data, [*found, *pointers]), {})


def moved_functions(section: Section, maps: Mapping[int, OffsetMap], *, eh: bool) -> list[Fde]:
    """The FDEs whose functions move inside themselves; the arguments are those of `rewrite`."""
    data = bytes(section.data)
    entries = _read_entries(section, data, eh=eh)
    cies = _read_cies(section, data, entries)
    return list(_moved_functions(section, data, entries, cies, maps))


def _moved_functions(
    section: Section,
    data: bytes,
    entries: list[_Entry],
    cies: dict[int, _Cie],
    maps: Mapping[int, OffsetMap],
) -> Iterator[Fde]:
    for entry in entries:
        if entry.cie not in (entry.start, -1):
            fde = _fde(section, data, entry, cies[entry.cie], maps)
            if fde is not None:
                yield fde


def call_site_tables(section: Section) -> list[CallSites]:
    """Which function has which call-site table, from the FDEs of ``.eh_frame``.

    Only FDEs whose augmentation has an LSDA pointer that is relocated are in the list, in section
    order; addresses are old ones.  Raises `Unsupported`.
    """
    data = bytes(section.data)
    entries = _read_entries(section, data, eh=True)
    cies = _read_cies(section, data, entries)
    target = section.relocations.target
    found = []
    for entry in entries:
        if entry.cie in (entry.start, -1) or not cies[entry.cie].lsda:
            continue
        cie = cies[entry.cie]
        place = entry.body + cie.segment_size
        function = target(place)
        length = _number(section, data, place + cie.pointer_size, cie.pointer_size, entry)
        _, place = _uleb(section, data, place + 2 * cie.pointer_size, entry)
        lsda = target(place)
        if function is not None and lsda is not None:
            found.append(CallSites(function, length, lsda))
    return found


# -- reading --------------------------------------------------------------------------------------


def _uleb(section: Section, data: bytes, offset: int, entry: _Entry) -> tuple[int, int]:
    """The ULEB128 at ``offset``, which has to lie inside ``entry``, and the offset behind it."""
    try:
        value, behind = leb128.unsigned(data, offset)
    except leb128.BadLeb128:
        behind = entry.end + 1
    if behind > entry.end:
        raise Unsupported(section.name, entry.start, "an entry that ends too early", _DAMAGED)
    return value, behind


def _number(section: Section, data: bytes, offset: int, size: int, entry: _Entry) -> int:
    """The ``size`` bytes at ``offset``, which have to lie inside ``entry``."""
    if offset + size > entry.end:
        raise Unsupported(section.name, entry.start, "an entry that ends too early", _DAMAGED)
    return int.from_bytes(data[offset : offset + size], "little")


def _read_entries(section: Section, data: bytes, *, eh: bool) -> list[_Entry]:
    """Cut the section into entries (DWARF 5, 6.4.1; LSB Core, 10.6.1)."""
    entries: list[_Entry] = []
    start = 0
    while start < len(data):
        if data[start : start + 4] == bytes(4):
            body = start + 4
            entries.append(_Entry(start, body, body, body, -1, False))
            start = body
            continue
        end, id_size, body = initial_length(data, start, section.name, _DAMAGED)
        if eh:
            id_size = 4 if id_size == 4 else _wide_id_size(section, data, body)
        if end - body < id_size:
            found = f"an entry of {end - body} bytes"
            raise Unsupported(section.name, start, found, _DAMAGED)
        cie, relocated = _cie_of(section, data, start, body, id_size, eh=eh)
        numeric = not relocated and cie != start
        entries.append(_Entry(start, body, body + id_size, end, cie, numeric))
        start = end
    return entries


def _cie_of(
    section: Section, data: bytes, start: int, body: int, id_size: int, *, eh: bool
) -> tuple[int, bool]:
    """The offset of the CIE of the entry at ``start``, its own for a CIE; whether a relocation
    says so.
    """
    identity = number(data, body, id_size)
    relocated = False
    if eh:
        cie = start if identity == 0 else body - identity
    elif identity == (1 << 8 * id_size) - 1:
        cie = start
    else:
        target = section.relocations.target(body)
        cie, relocated = (target.offset, True) if target else (identity, False)
        if target and target.section != section.number:
            raise Unsupported(section.name, body, "a CIE in another section", _UNKNOWN)
    if cie < 0:
        found = "a CIE pointer that leads out of the section"
        raise Unsupported(section.name, body, found, _DAMAGED)
    return cie, relocated


def _wide_id_size(section: Section, data: bytes, offset: int) -> int:
    """Bytes of the CIE pointer at ``offset`` in an ``.eh_frame`` entry with a 64-bit length.

    LSB Core says 4; binutils and gdb read 8.  What follows decides: in a CIE the version, which
    isn't zero, in an FDE the relocated address.
    """
    if any(data[offset : offset + 4]):
        return 4 if section.relocations.target(offset + 4) is not None else 8
    return 4 if any(data[offset + 4 : offset + 5]) else 8


def _read_cies(section: Section, data: bytes, entries: list[_Entry]) -> dict[int, _Cie]:
    """Read every CIE; the keys are section offsets.  Every FDE's CIE is among them."""
    cies: dict[int, _Cie] = {}
    for entry in entries:
        if entry.cie == entry.start:
            try:
                cies[entry.start] = _read_cie(section, data[entry.start : entry.end], entry)
            except (IndexError, ValueError) as error:
                raise Unsupported(
                    section.name, entry.start, "a CIE that ends too early", _DAMAGED
                ) from error
    for entry in entries:
        if entry.cie != -1 and entry.cie not in cies:
            raise Unsupported(
                section.name, entry.start, f"an FDE without a CIE at {entry.cie:#x}", _DAMAGED
            )
    return cies


def _read_cie(section: Section, data: bytes, entry: _Entry) -> _Cie:
    """Read the CIE ``entry``, whose bytes are ``data``.  Raises IndexError or ValueError."""
    position = entry.body - entry.start
    version = data[position]
    if version not in (1, 3, 4):
        raise Unsupported(section.name, entry.body, f"a CIE of version {version}", _UNKNOWN)
    end = data.index(0, position + 1)
    augmentation = data[position + 1 : end].decode("latin-1")
    position = end + 1
    address_size = ADDRESS_SIZE
    segment_size = 0
    if version >= 4:
        address_size, segment_size = data[position], data[position + 1]
        position += 2
    if augmentation == "eh":  # GCC before 3.0: a pointer to exception data follows
        position += address_size
        augmentation = ""
    code_alignment, position = leb128.unsigned(data, position)
    position = leb128.skip(data, position)  # data alignment factor
    # DWARF 2 has one byte for the return address register, later versions an ULEB128.
    position = position + 1 if version == 1 else leb128.skip(data, position)
    encoding = 0
    lsda = False
    instructions = position
    if augmentation:
        size, position = leb128.unsigned(data, position)
        instructions = position + size
    for index, letter in enumerate(augmentation):
        if letter == "R":
            encoding = data[position]
            position += 1
        elif letter == "L":
            lsda = data[position] != DW_EH_PE_omit
            position += 1
        elif letter == "P":
            position += 1 + pointer_size(section, data[position], entry.start, address_size)
        elif letter not in "SB" and (index or letter != "z"):
            augmentation = augmentation.encode("unicode_escape").decode()
            raise Unsupported(
                section.name, entry.body + 1, f'the augmentation "{augmentation}"', _UNKNOWN
            )
    if max(position, instructions) > len(data):
        raise IndexError
    return _Cie(
        entry.start + instructions,
        code_alignment,
        pointer_size(section, encoding, entry.start, address_size),
        segment_size,
        bool(augmentation),
        lsda,
    )


def pointer_size(section: Section, encoding: int, place: int, address_size: int) -> int:
    """Bytes of a pointer written as ``encoding`` (LSB Core, 10.5.1)."""
    size = _POINTER_SIZES.get(encoding & 0xF)
    if size is None or encoding & 0x70 == DW_EH_PE_aligned or encoding == DW_EH_PE_omit:
        found = f"a pointer in {dw.name('DW_EH_PE', encoding)}"
        raise Unsupported(section.name, place, found, _UNKNOWN)
    return size or address_size


# -- what moves -----------------------------------------------------------------------------------


def touched(code_map: OffsetMap, start: int, length: int) -> bool:
    """Say whether distances inside the ``length`` bytes of code at ``start`` may change.

    What is inserted at the start is in front of the function, padding at its end is behind it.
    """
    end = start + length
    places = code_map.places
    first = bisect_right(places, start)
    if not length or first == len(places) or places[first] > end:
        return False
    return places[first] < end or code_map.after(end) - code_map.start(start) != length


def _fde(
    section: Section, data: bytes, entry: _Entry, cie: _Cie, maps: Mapping[int, OffsetMap]
) -> Fde | None:
    """The FDE in ``entry``; None where nothing in its function moves against the rest."""
    place = entry.body + cie.segment_size
    length = _number(section, data, place + cie.pointer_size, cie.pointer_size, entry)
    function = section.relocations.target(place)
    if function is None or function.section not in maps:
        return None
    code = maps[function.section]
    if not touched(code, function.offset, length):
        return None
    instructions = _instructions(section, data, entry, cie)
    return Fde(entry, cie, function.section, function.offset, length, code, instructions)


def _instructions(section: Section, data: bytes, entry: _Entry, cie: _Cie) -> int:
    """The section offset of the instructions of a CIE or FDE."""
    if entry.cie == entry.start:
        return cie.instructions
    position = entry.body + cie.segment_size + 2 * cie.pointer_size
    if cie.augmented:
        size, position = _uleb(section, data, position, entry)
        position += size
    if position > entry.end:
        raise Unsupported(section.name, entry.start, "an FDE that ends too early", _DAMAGED)
    return position


# -- instructions ---------------------------------------------------------------------------------


def _behind(section: Section, data: bytes, position: int, entry: _Entry, cie: _Cie) -> int:
    """The offset behind the operation at ``position`` (DWARF 5, 7.24, table 7.29)."""
    operation = data[position]
    begin = position
    position += 1
    try:
        if operation >= DW_CFA_advance_loc:
            if operation & 0xC0 == DW_CFA_offset:
                position = leb128.skip(data, position)
        elif operation in _ADVANCE_WIDTHS:
            position += _ADVANCE_WIDTHS[operation]
        elif operation == DW_CFA_set_loc:
            position += cie.pointer_size
        elif operation != DW_CFA_nop:
            numbers, block = _OPERANDS[operation]
            for _ in range(numbers):
                position = leb128.skip(data, position)
            if block:
                size, position = leb128.unsigned(data, position)
                position += size
    except KeyError:
        found = f"the call frame instruction {dw.name('DW_CFA', operation)}"
        raise Unsupported(section.name, begin, found, _UNKNOWN) from None
    except leb128.BadLeb128:
        position = entry.end + 1
    if position > entry.end:
        raise Unsupported(section.name, begin, "a cut-off call frame instruction", _DAMAGED)
    return position


def _used(section: Section, data: bytes, position: int, entry: _Entry, cie: _Cie) -> int:
    """The offset behind the last instruction, in front of the padding, of those at ``position``."""
    used = position
    while position < entry.end:
        nop = data[position] == DW_CFA_nop
        position = _behind(section, data, position, entry, cie)
        if not nop:
            used = position
    return used


def find(section: Section, data: bytes, fde: Fde) -> Program:
    """The advances of an FDE at which an edit of the code has been reached.

    Hot: the loop takes bytes from an iterator and asks for its position only at an advance that
    reaches an edit; going by positions took twice the time for a kernel object's .debug_frame (180
    FDEs that change, 4,500 instructions).
    """
    entry, cie, _, since, _, code, first = fde
    here, limit = since, _next_edit(code, since)
    program = data[first : entry.end]
    padding = size = len(program)
    zeros = len(program.rstrip(b"\0"))  # from here on a nop is padding
    advances: list[Advance] = []
    operations = iter(program)
    left = operations.__length_hint__  # type: ignore[attr-defined]
    jump = operations.__setstate__  # type: ignore[attr-defined]
    try:
        for operation in operations:
            if operation >= DW_CFA_offset:
                if operation < DW_CFA_restore:
                    while next(operations) > 0x7F:
                        pass
                continue
            if operation >= DW_CFA_advance_loc:
                width, units = 0, operation & 0x3F
            elif operation in _ADVANCE_WIDTHS:
                width, begin = _ADVANCE_WIDTHS[operation], size - left()
                units = int.from_bytes(program[begin : begin + width], "little")
                jump(_behind(section, data, first + begin - 1, entry, cie) - first)
            elif operation in _PLAIN:
                for _ in range(_PLAIN[operation]):
                    while next(operations) > 0x7F:
                        pass
                continue
            else:
                begin = size - left() - 1
                if operation == DW_CFA_nop:
                    if begin < zeros:
                        continue
                    padding = begin
                    break
                jump(_behind(section, data, first + begin, entry, cie) - first)
                if operation == DW_CFA_set_loc:
                    here = since = _set_loc(section, fde, first + begin)
                    limit = _next_edit(code, here)
                continue
            here += units * (cie.code_alignment or 1)
            if here >= limit:
                end = first + size - left()
                advances.append(Advance(end - width - 1, end, width, units, since, here))
                since, limit = here, _next_edit(code, here)
    except StopIteration:
        found = "a cut-off call frame instruction"
        raise Unsupported(section.name, entry.start, found, _DAMAGED) from None
    return Program(advances, first + padding)


def _next_edit(code: OffsetMap, label: int) -> int:
    """Where the first edit behind ``label`` is."""
    places = code.places
    index = bisect_right(places, label)
    return places[index] if index < len(places) else _NEVER


def _set_loc(section: Section, fde: Fde, place: int) -> int:
    """The label that the DW_CFA_set_loc at ``place`` goes to."""
    target = section.relocations.target(place + 1)
    if target is None or target.section != fde.section:
        raise Unsupported(section.name, place, "DW_CFA_set_loc elsewhere", _UNKNOWN)
    return target.offset


def _moved_fde(section: Section, data: bytes, fde: Fde) -> _Moved | None:
    """The new length of the function and the new advances; None where the FDE stays as it is."""
    entry, cie = fde.entry, fde.cie
    program = find(section, data, fde)
    changes = [
        change
        for advance in program.advances
        if (change := _moved_advance(section, fde, advance)) is not None
    ]
    length = fde.length + fde.shift(fde.start + fde.length) - fde.shift(fde.start)
    if length != fde.length:
        place = entry.body + cie.segment_size + cie.pointer_size
        end = place + cie.pointer_size
        changes.append(changed(section.name, place, end, length, "length"))
    return _Moved(changes, program.padding) if changes else None


def _moved_advance(section: Section, fde: Fde, advance: Advance) -> Change | None:
    """The advance as it is now; None where it stays."""
    place, end, width, units, since, label = advance
    unit = fde.cie.code_alignment or 1
    growth = fde.shift(label) - fde.shift(since)
    if not growth:
        return None
    new, rest = divmod(units * unit + growth, unit)
    if rest or new < 0:
        found = f"an advance in units of {unit} bytes"
        raise Unsupported(section.name, place, found, _UNKNOWN)
    # Where the writer had used a wider one than it needed, the width is kept.
    return Change(place, end, _advance(new, 0 if width == _advance_width(units) else width))


def _advance_width(units: int) -> int:
    """Operand bytes of the smallest instruction that advances by ``units``; 0 is in the opcode."""
    return 0 if units < 0x40 else 1 if units < 0x100 else 2 if units < 0x10000 else 4


def _advance(units: int, least_width: int) -> bytes:
    """The instruction that advances by ``units``, with at least ``least_width`` operand bytes."""
    width = max(_advance_width(units), least_width)
    if width:
        return bytes((_ADVANCE_OPERATIONS[width],)) + units.to_bytes(width, "little")
    return bytes((DW_CFA_advance_loc | units,)) if units else b""


# -- padding --------------------------------------------------------------------------------------


def _alignments(
    section: Section,
    data: bytes,
    entries: list[_Entry],
    cies: dict[int, _Cie],
    *,
    eh: bool,
    alignment: int,
) -> tuple[int, set[int]]:
    """To how many bytes entries are padded, and which ones (by offset) to `ADDRESS_SIZE` instead.

    Padding shows what it aligned to only where the entry needed some, so this is put together from
    all entries.
    """
    ends = [entry.end for entry in entries]
    base = next(size for size in (8, 4, 2, 1) if not any(end % size for end in ends))
    if not eh or base < 4 or alignment < ADDRESS_SIZE:
        return (base if not eh else min(base, 4)), set()
    wide = _last_entries(section, data, entries)
    padded = {
        entry.start
        for entry in entries
        if entry.end % ADDRESS_SIZE == 0
        and entry.cie != -1
        and not any(data[entry.end - 4 : entry.end])
        and _padding(section, data, entry, cies) >= 4
    }
    # More than 4 needs behind an entry in the middle: a writer that aligns all of them, such as
    # GCC with -fno-dwarf2-cfi-asm.
    if base == ADDRESS_SIZE and not padded <= wide:
        return base, set()
    return 4, wide | padded


def _padding(section: Section, data: bytes, entry: _Entry, cies: dict[int, _Cie]) -> int:
    """Bytes of DW_CFA_nop at the end of ``entry``."""
    cie = cies[entry.cie]
    instructions = _instructions(section, data, entry, cie)
    return entry.end - _used(section, data, instructions, entry, cie)


def _last_entries(section: Section, data: bytes, entries: list[_Entry]) -> set[int]:
    """The entries of ``.eh_frame`` that end a compilation at an address-aligned offset.

    A compilation ends with the section, at a terminator, and in front of a CIE that repeats one of
    the same compilation, since an assembler doesn't write the same CIE twice.
    """
    whole = _whole_from(entries)
    seen: set[tuple[object, ...]] = set()
    lasts = []
    for index, entry in enumerate(entries):
        if entry.cie == entry.start:
            places = section.relocations.places
            first = bisect_left(places, entry.start)
            behind = bisect_left(places, entry.end, first)
            content: tuple[object, ...] = (
                data[entry.start : entry.end],
                *(section.relocations.at(number) for number in range(first, behind)),
            )
            if content in seen and entry.start in whole:
                lasts.append(index - 1)
                seen.clear()
            seen.add(content)
        elif entry.cie == -1:
            lasts.append(index - 1)
            seen.clear()
    lasts.append(len(entries) - 1)
    return {
        entries[index].start
        for index in lasts
        if index >= 0 and entries[index].end % ADDRESS_SIZE == 0 and entries[index].cie != -1
    }


def _whole_from(entries: list[_Entry]) -> set[int]:
    """The CIEs, by offset, behind which no FDE refers to a CIE in front of them."""
    lowest = entries[-1].end
    found = set()
    for entry in reversed(entries):
        if entry.cie == entry.start:
            if lowest >= entry.start:
                found.add(entry.start)
        elif entry.cie != -1:
            lowest = min(lowest, entry.cie)
    return found


# -- writing --------------------------------------------------------------------------------------


class _Placed(Record):
    """By how many bytes an entry moves, and all that changes in it but for its CIE pointer."""

    shift: int
    changes: list[Change]


def _laid_out(
    section: Section,
    data: bytes,
    entries: list[_Entry],
    cies: dict[int, _Cie],
    moved: dict[int, _Moved],
    rule: tuple[int, set[int]],
) -> dict[int, _Placed]:
    """Every entry by its offset, padded to what ``rule`` says, with its new length."""
    base, wide = rule
    placed = {}
    shift = 0
    for entry in entries:
        alignment = ADDRESS_SIZE if entry.start in wide else base
        new = moved.get(entry.start)
        placed[entry.start] = _Placed(shift, list(new.changes) if new else [])
        if new is not None:
            padding = new.padding
        elif entry.cie == -1 or shift % alignment == 0:
            continue
        else:
            padding = entry.end - _padding(section, data, entry, cies)
        changes = placed[entry.start].changes
        growth = sum(len(change.data) - (change.end - change.place) for change in changes)
        size = -(padding + shift + growth) % alignment
        if size != entry.end - padding:
            changes.append(Change(padding, entry.end, bytes(size)))
            growth += size - (entry.end - padding)
        if growth:
            width = 4 if entry.pointer - entry.start == 4 else 8
            length = entry.end - entry.pointer + growth
            place = entry.pointer - width
            changes.append(changed(section.name, place, entry.pointer, length, "length"))
        shift += growth
    return placed


def _cie_pointers(
    entries: list[_Entry], placed: Mapping[int, _Placed], *, eh: bool
) -> Iterator[Change]:
    """The CIE pointers that are numbers: a distance in ``.eh_frame``, else an offset."""
    for entry in entries:
        if entry.numeric:
            to = placed[entry.cie].shift
            growth = placed[entry.start].shift - to if eh else to
            if growth:
                size = entry.body - entry.pointer
                old = entry.pointer - entry.cie if eh else entry.cie
                pointer = (old + growth) % (1 << 8 * size)
                yield Change(entry.pointer, entry.body, pointer.to_bytes(size, "little"))
