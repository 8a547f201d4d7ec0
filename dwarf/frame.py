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

An FDE whose function holds no edit is copied as it is, and nothing in it is looked at but its
address, which is what makes this fast: a file has hundreds of functions and a few that change.

Sources: DWARF 5, sections 6.4 and 7.24; Linux Standard Base Core, "DWARF Extensions", 10.5 and 10.6
(``.eh_frame``, the augmentation string, pointer encodings); binutils, gas/dw2gencfi.c for the
padding and the sizes of advances (seen with 2.40).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, NamedTuple

from dwarf import leb128
from dwarf.errors import Unsupported
from dwarf.offset_map import IDENTITY, Edit, OffsetMap, resize
from dwarf.section import Rewritten, Section, Target

if TYPE_CHECKING:
    from collections.abc import Mapping

ADDRESS_SIZE = 8
"""Bytes of an address where the CIE doesn't say otherwise (64-bit objects only)."""

DW_CFA_nop = 0x00
DW_CFA_set_loc = 0x01
DW_CFA_advance_loc1 = 0x02
DW_CFA_advance_loc2 = 0x03
DW_CFA_advance_loc4 = 0x04
DW_CFA_MIPS_advance_loc8 = 0x1D
DW_CFA_advance_loc = 0x40
DW_CFA_offset = 0x80
DW_CFA_restore = 0xC0

_ADVANCE_WIDTHS = {
    DW_CFA_advance_loc1: 1,
    DW_CFA_advance_loc2: 2,
    DW_CFA_advance_loc4: 4,
    DW_CFA_MIPS_advance_loc8: 8,
}
_ADVANCE_OPERATIONS = {width: operation for operation, width in _ADVANCE_WIDTHS.items()}

# The other operations: how many LEB128 operands, and whether a block (a DWARF expression) follows.
_OPERANDS = {
    0x05: (2, False),  # DW_CFA_offset_extended
    0x06: (1, False),  # DW_CFA_restore_extended
    0x07: (1, False),  # DW_CFA_undefined
    0x08: (1, False),  # DW_CFA_same_value
    0x09: (2, False),  # DW_CFA_register
    0x0A: (0, False),  # DW_CFA_remember_state
    0x0B: (0, False),  # DW_CFA_restore_state
    0x0C: (2, False),  # DW_CFA_def_cfa
    0x0D: (1, False),  # DW_CFA_def_cfa_register
    0x0E: (1, False),  # DW_CFA_def_cfa_offset
    0x0F: (0, True),  # DW_CFA_def_cfa_expression
    0x10: (1, True),  # DW_CFA_expression
    0x11: (2, False),  # DW_CFA_offset_extended_sf
    0x12: (2, False),  # DW_CFA_def_cfa_sf
    0x13: (1, False),  # DW_CFA_def_cfa_offset_sf
    0x14: (2, False),  # DW_CFA_val_offset
    0x15: (2, False),  # DW_CFA_val_offset_sf
    0x16: (1, True),  # DW_CFA_val_expression
    0x2D: (0, False),  # DW_CFA_GNU_window_save
    0x2E: (1, False),  # DW_CFA_GNU_args_size
    0x2F: (2, False),  # DW_CFA_GNU_negative_offset_extended
    0x30: (3, False),  # DW_CFA_LLVM_def_aspace_cfa
    0x31: (3, False),  # DW_CFA_LLVM_def_aspace_cfa_sf
}

_PLAIN = {code: numbers for code, (numbers, block) in _OPERANDS.items() if not block}

# DW_EH_PE_*: the low four bits say how a pointer is written, the others how it is applied.
DW_EH_PE_omit = 0xFF
_POINTER_SIZES = {0x0: 0, 0x2: 2, 0x3: 4, 0x4: 8, 0x8: 0, 0xA: 2, 0xB: 4, 0xC: 8}
_DW_EH_PE_aligned = 0x50

_DAMAGED = "the frame information is damaged; compile the file again"
_UNKNOWN = "nopfix can't move it; compile the file without it"


class _Cie(NamedTuple):
    """What an FDE needs of its CIE.  ``instructions`` is a section offset, sizes are in bytes."""

    instructions: int
    code_alignment: int
    pointer_size: int
    segment_size: int
    augmented: bool
    lsda: bool


class _Entry(NamedTuple):
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


class _Change(NamedTuple):
    """The new form of an FDE's variable parts.  ``edits`` are those inside its instructions."""

    length: int
    old_instructions: int
    instructions: bytes
    edits: list[Edit]


class CallSites(NamedTuple):
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
    changes: dict[int, _Change] = {}
    for entry in entries:
        if entry.cie not in (entry.start, -1):
            change = _change(section, data, entry, cies[entry.cie], maps)
            if change is not None:
                changes[entry.start] = change
    if not changes:
        return Rewritten(section.data, IDENTITY, {})
    rule = _alignments(section, data, entries, cies, eh=eh, alignment=alignment)
    return _emit(section, data, entries, cies, changes, rule, eh=eh)


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
    name = section.name
    size = len(data)
    start = 0
    while start < size:
        body = start + 4
        length = int.from_bytes(data[start:body], "little")
        if length == 0 and body <= size:
            entries.append(_Entry(start, body, body, body, -1, False))
            start = body
            continue
        id_size = 4
        if length == 0xFFFFFFFF:
            body = start + 12
            length = int.from_bytes(data[start + 4 : body], "little")
            id_size = _wide_id_size(section, data, body) if eh else 8
        elif length >= 0xFFFFFFF0:
            raise Unsupported(name, start, f"an entry with the length {length:#x}", _DAMAGED)
        end = body + length
        if end > size or length < id_size:
            raise Unsupported(name, start, f"an entry of {length} bytes", _DAMAGED)
        identity = int.from_bytes(data[body : body + id_size], "little")
        numeric = True
        if eh:
            cie = start if identity == 0 else body - identity
        elif identity == (1 << 8 * id_size) - 1:
            cie = start
        else:
            target = section.relocations.target(body)
            if target is None:
                cie = identity
            elif target.section == section.number:
                cie = target.offset
                numeric = False
            else:
                raise Unsupported(name, body, "a CIE in another section", _UNKNOWN)
        if cie < 0:
            raise Unsupported(name, body, "a CIE pointer that leads out of the section", _DAMAGED)
        numeric = numeric and cie != start
        entries.append(_Entry(start, body, body + id_size, end, cie, numeric))
        start = end
    return entries


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
    if size is None or encoding & 0x70 == _DW_EH_PE_aligned or encoding == DW_EH_PE_omit:
        raise Unsupported(section.name, place, f"the pointer encoding {encoding:#x}", _UNKNOWN)
    return size or address_size


# -- what changes ---------------------------------------------------------------------------------


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


def _change(
    section: Section, data: bytes, entry: _Entry, cie: _Cie, maps: Mapping[int, OffsetMap]
) -> _Change | None:
    """The new length and instructions of an FDE, None when it stays as it is."""
    place = entry.body + cie.segment_size
    size = cie.pointer_size
    length = _number(section, data, place + size, size, entry)
    function = section.relocations.target(place)
    if function is None or function.section not in maps:
        return None
    code_map = maps[function.section]
    if not touched(code_map, function.offset, length):
        return None
    end = function.offset + length
    new_length = code_map.after(end) - code_map.start(function.offset)
    if new_length >> 8 * size:
        raise Unsupported(section.name, place + size, f"a length of {size} bytes", _UNKNOWN)
    instructions = _instructions(section, data, entry, cie)
    code, edits = _move(section, data, entry, cie, function, length, code_map)
    if new_length == length and code == data[instructions : instructions + len(code)]:
        return None
    return _Change(new_length, instructions, code, edits)


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
        raise Unsupported(
            section.name, begin, f"the call frame instruction {operation:#x}", _UNKNOWN
        ) from None
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


def _move(
    section: Section,
    data: bytes,
    entry: _Entry,
    cie: _Cie,
    function: Target,
    length: int,
    code_map: OffsetMap,
) -> tuple[bytes, list[Edit]]:
    """The instructions of an FDE without their padding, moved, and the edits inside them.

    ``function`` and its ``length`` are old.  The loop takes bytes from an iterator and asks for its
    position only where an advance reaches the next edit of the code: going by positions took twice
    the time for a kernel object's .debug_frame (180 FDEs that change, 4,500 instructions).
    """
    unit = cie.code_alignment or 1
    here = function.offset
    end = here + length
    shift, limit = _shift(code_map, here, end)
    first = _instructions(section, data, entry, cie)
    program = data[first : entry.end]
    used = size = len(program)
    zeros = len(program.rstrip(b"\0"))  # from here on a nop is padding
    copied = 0
    result = bytearray()
    edits: list[Edit] = []
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
                width, old = 0, operation & 0x3F
            elif operation in _ADVANCE_WIDTHS:
                width, begin = _ADVANCE_WIDTHS[operation], size - left()
                old = int.from_bytes(program[begin : begin + width], "little")
                jump(_behind(section, data, first + begin - 1, entry, cie) - first)
            elif operation == DW_CFA_nop:
                begin = size - left() - 1
                if begin >= zeros:
                    used = begin
                    break
                continue
            elif operation in _PLAIN:
                for _ in range(_PLAIN[operation]):
                    while next(operations) > 0x7F:
                        pass
                continue
            else:
                begin = size - left() - 1
                jump(_behind(section, data, first + begin, entry, cie) - first)
                if operation == DW_CFA_set_loc:
                    target = section.relocations.target(first + begin + 1)
                    if target is None or target.section != function.section:
                        raise Unsupported(
                            section.name, first + begin, "DW_CFA_set_loc elsewhere", _UNKNOWN
                        )
                    here = target.offset
                    shift, limit = _shift(code_map, here, end)
                continue
            here += old * unit
            if here < limit:
                continue
            growth = -shift
            shift, limit = _shift(code_map, here, end)
            growth += shift
            if growth:
                behind = size - left()
                begin = behind - width - 1
                new, rest = divmod(old * unit + growth, unit)
                if rest or new < 0:
                    raise Unsupported(
                        section.name,
                        first + begin,
                        f"an advance in units of {unit} bytes",
                        _UNKNOWN,
                    )
                encoded = _advance(new, 0 if width == _advance_width(old) else width)
                result += program[copied:begin]
                result += encoded
                copied = behind
                if len(encoded) != behind - begin:
                    edits.append(resize(first + behind, len(encoded) - (behind - begin)))
    except StopIteration:
        raise Unsupported(
            section.name, entry.start, "a cut-off call frame instruction", _DAMAGED
        ) from None
    result += program[copied:used]
    return bytes(result), edits


def _shift(code_map: OffsetMap, here: int, end: int) -> tuple[int, int]:
    """By how much the label at ``here`` moves, and the next edit behind it.

    A label at the ``end`` of the function is one of the function's, not of what follows.
    """
    places = code_map.places
    index = bisect_right(places, here)
    limit = places[index] if index < len(places) else 1 << 64
    return (code_map.after(here) - here if here == end else code_map.shifts[index]), limit


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


def _emit(
    section: Section,
    data: bytes,
    entries: list[_Entry],
    cies: dict[int, _Cie],
    changes: dict[int, _Change],
    padding_rule: tuple[int, set[int]],
    *,
    eh: bool,
) -> Rewritten:
    """Put the section together: entries, lengths, padding, and then the CIE pointers."""
    base, wide = padding_rule
    result = bytearray()
    edits: list[Edit] = []
    starts = []
    for entry in entries:
        begin = len(result)
        starts.append(begin)
        alignment = ADDRESS_SIZE if entry.start in wide else base
        change = changes.get(entry.start)
        if change is not None:
            result += data[entry.start : change.old_instructions]
            size = cies[entry.cie].pointer_size
            place = begin + entry.body - entry.start + cies[entry.cie].segment_size + size
            result[place : place + size] = change.length.to_bytes(size, "little")
            result += change.instructions
            edits += change.edits
            inside = sum(edit.start for edit in change.edits)
        elif entry.cie == -1 or (begin - entry.start) % alignment == 0:
            result += data[entry.start : entry.end]
            continue
        else:
            padding = _padding(section, data, entry, cies)
            result += data[entry.start : entry.end - padding]
            inside = 0
        result += bytes(-len(result) % alignment)
        growth = len(result) - begin - (entry.end - entry.start)
        if growth != inside:
            edits.append(resize(entry.end, growth - inside))
        if growth:
            width = 4 if entry.pointer - entry.start == 4 else 8
            place = begin + entry.pointer - entry.start
            length = len(result) - place
            result[place - width : place] = length.to_bytes(width, "little")
    section_map = OffsetMap(edits)
    moved_cies = {cie: section_map.start(cie) for cie in cies}
    for entry, begin in zip(entries, starts, strict=True):
        if not entry.numeric:
            continue
        place = begin + entry.pointer - entry.start
        size = entry.body - entry.pointer
        cie_pointer = place - moved_cies[entry.cie] if eh else moved_cies[entry.cie]
        result[place : place + size] = (cie_pointer % (1 << 8 * size)).to_bytes(size, "little")
    return Rewritten(result, section_map, {})
