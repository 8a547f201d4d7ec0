"""Call frame information, read: .eh_frame and .debug_frame (DWARF 5, 6.4 and 7.24; LSB Core,
"Exception Frames"; binutils, include/dwarf2.def for GNU's operations).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier.reader import Malformed, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

DW_EH_PE_absptr = 0

_OPERATIONS = {
    0x00: ("DW_CFA_nop", ""),
    0x01: ("DW_CFA_set_loc", "8"),
    0x02: ("DW_CFA_advance_loc1", "1"),
    0x03: ("DW_CFA_advance_loc2", "2"),
    0x04: ("DW_CFA_advance_loc4", "4"),
    0x05: ("DW_CFA_offset_extended", "uu"),
    0x06: ("DW_CFA_restore_extended", "u"),
    0x07: ("DW_CFA_undefined", "u"),
    0x08: ("DW_CFA_same_value", "u"),
    0x09: ("DW_CFA_register", "uu"),
    0x0A: ("DW_CFA_remember_state", ""),
    0x0B: ("DW_CFA_restore_state", ""),
    0x0C: ("DW_CFA_def_cfa", "uu"),
    0x0D: ("DW_CFA_def_cfa_register", "u"),
    0x0E: ("DW_CFA_def_cfa_offset", "u"),
    0x0F: ("DW_CFA_def_cfa_expression", "b"),
    0x10: ("DW_CFA_expression", "ub"),
    0x11: ("DW_CFA_offset_extended_sf", "uu"),
    0x12: ("DW_CFA_def_cfa_sf", "uu"),
    0x13: ("DW_CFA_def_cfa_offset_sf", "u"),
    0x14: ("DW_CFA_val_offset", "uu"),
    0x15: ("DW_CFA_val_offset_sf", "uu"),
    0x16: ("DW_CFA_val_expression", "ub"),
    0x2D: ("DW_CFA_GNU_window_save", ""),
    0x2E: ("DW_CFA_GNU_args_size", "u"),
    0x2F: ("DW_CFA_GNU_negative_offset_extended", "uu"),
    # With an operand in the low six bits.
    0x40: ("DW_CFA_advance_loc", ""),
    0x80: ("DW_CFA_offset", "u"),
    0xC0: ("DW_CFA_restore", ""),
}
"""Names and operands: 1 2 4 8: that many bytes; u: LEB128; b: a block, with its length as LEB128.
"""
_ADVANCES = {0x02: 1, 0x03: 2, 0x04: 4}
_ADVANCE_LOC = 0x40


class Cie(NamedTuple):
    """A common information entry; offsets in the section."""

    start: int
    end: int
    wide: bool
    """64-bit DWARF."""
    code_factor: int
    pointers: int
    """DW_EH_PE_*: how its FDEs give addresses."""
    augmented: bool
    """Whether its FDEs have augmentation data."""


class Fde(NamedTuple):
    """A frame description entry."""

    start: int
    end: int
    wide: bool
    cie: Cie
    location_at: int
    """Where the address of its function stands."""
    location: int
    length: int
    """Bytes of code that it is about."""
    augmentation: bytes
    instructions: bytes


class Terminator(NamedTuple):
    """Four zero bytes, which end an .eh_frame."""

    start: int
    end: int


Entry = Cie | Fde | Terminator


def read(data: bytes, *, eh_frame: bool) -> list[Entry]:
    """All entries of a section. Raises Malformed."""
    found: list[Entry] = []
    cies: dict[int, Cie] = {}
    position = 0
    while position < len(data):
        reader = Reader(data, position, len(data))
        length, size = reader.initial_length()
        if not length:
            found.append(Terminator(position, reader.position))
            position = reader.position
            continue
        at, end = reader.position, reader.position + length
        if end > len(data):
            raise Malformed(f"the frame entry at {position:#x} is longer than the section")
        # .eh_frame's pointer to the CIE has four bytes in 64-bit entries too, and counts back.
        pointer = reader.unsigned(4 if eh_frame else size)
        if pointer == (0 if eh_frame else (1 << 8 * size) - 1):
            entry: Entry = _cie(data, position, eh_frame=eh_frame)
        else:
            start = at - pointer if eh_frame else pointer
            if start not in cies:
                cies[start] = _cie(data, start, eh_frame=eh_frame)
            entry = _fde(Reader(data, reader.position, end), position, size == 8, cies[start])
        found.append(entry)
        position = end
    return found


def _cie(data: bytes, start: int, *, eh_frame: bool) -> Cie:
    if not 0 <= start < len(data):
        raise Malformed(f"no CIE at {start:#x}")
    reader = Reader(data, start, len(data))
    length, size = reader.initial_length()
    end = reader.position + length
    reader = Reader(data, reader.position, end)
    identity = reader.unsigned(4 if eh_frame else size)
    if end > len(data) or identity != (0 if eh_frame else (1 << 8 * size) - 1):
        raise Malformed(f"no CIE at {start:#x}")
    version = reader.unsigned(1)
    if version not in (1, 3, 4):
        raise Malformed(f"the CIE at {start:#x} has version {version}")
    letters = reader.string()
    if version == 4 and reader.take(2) != b"\x08\0":
        raise Malformed(f"the CIE at {start:#x}: no addresses of 8 bytes without segments")
    factor = reader.uleb()
    reader.sleb()  # data_alignment_factor
    reader.unsigned(1) if version == 1 else reader.uleb()  # return_address_register
    pointers = DW_EH_PE_absptr
    if letters.strip(b"zPLRSBG") or (letters and letters[:1] != b"z"):
        raise Malformed(f"the CIE at {start:#x} has the augmentation {letters!r}")
    if letters:
        reader.uleb()
    for letter in letters.decode():
        if letter == "R":
            pointers = reader.unsigned(1)
        elif letter == "P":
            reader.pointer(reader.unsigned(1))
        elif letter == "L":
            reader.unsigned(1)
    return Cie(start, end, size == 8, factor, pointers, bool(letters))


def _fde(reader: Reader, start: int, wide: bool, cie: Cie) -> Fde:
    """The frame description entry whose fields behind the pointer to its CIE `reader` reads."""
    location_at = reader.position
    location = reader.pointer(cie.pointers)
    length = reader.pointer(cie.pointers & 0x0F)
    at = reader.position
    if cie.augmented:
        reader.take(reader.uleb())
    behind, end = reader.position, reader.end_of_data
    augmentation, instructions = reader.data[at:behind], reader.data[behind:end]
    return Fde(start, end, wide, cie, location_at, location, length, augmentation, instructions)


class Rows(NamedTuple):
    """An FDE's instructions, advances apart from all others."""

    locations: tuple[int, ...]
    """Of each other instruction: bytes from the function's start to where it takes effect."""
    encoded: tuple[bytes, ...]
    """The instructions themselves."""
    runs: tuple[tuple[int, ...], ...]
    """The advances in front of each of them, and behind the last one."""
    padding: int
    """DW_CFA_nop at the end."""


@functools.lru_cache(maxsize=4096)
def rows(instructions: bytes, factor: int) -> Rows:
    """Take the instructions of an FDE apart; `factor` is its code_alignment_factor.

    Raises Malformed.
    """
    location = 0
    locations, encoded = [], []
    runs: list[list[int]] = [[]]
    for at, end, advance in operations(instructions):
        if advance is not None:
            location += advance * factor
            runs[-1].append(advance)
            continue
        locations.append(location)
        encoded.append(instructions[at:end])
        runs.append([])
    end = len(encoded)
    while end and encoded[end - 1] == b"\0" and not runs[end]:
        end -= 1
    padding = len(encoded) - end
    kept = tuple(tuple(run) for run in runs[: end + 1])
    return Rows(tuple(locations[:end]), tuple(encoded[:end]), kept, padding)


def operations(instructions: bytes) -> Iterator[tuple[int, int, int | None]]:
    """The call frame instructions: where each begins and ends, and by what it advances the
    location; None where it does something else. Raises Malformed.
    """
    reader = Reader(instructions, 0, len(instructions))
    while not reader.done:
        at = reader.position
        operation = reader.byte()
        low = operation & 0x3F if operation >= _ADVANCE_LOC else 0
        operation -= low
        if operation == _ADVANCE_LOC or operation in _ADVANCES:
            advance = reader.unsigned(_ADVANCES[operation]) if operation in _ADVANCES else low
            yield at, reader.position, advance
            continue
        if operation not in _OPERATIONS:
            raise Malformed(f"unknown call frame instruction {operation:#x}")
        for letter in _OPERATIONS[operation][1]:
            if letter == "u":
                reader.uleb()
            else:
                reader.take(reader.uleb() if letter == "b" else int(letter))
        yield at, reader.position, None


def boundaries(instructions: bytes) -> dict[tuple[int, int], int]:
    """Where each instruction of an FDE begins: after how many others that are no advances, and
    after how many advances behind the last of those. Raises Malformed.
    """
    found = {(0, 0): 0}
    others = advances = 0
    for _, end, advance in operations(instructions):
        others, advances = (others + 1, 0) if advance is None else (others, advances + 1)
        found[others, advances] = end
    return found


def describe(instruction: bytes) -> str:
    """An instruction's name and the bytes of its operands."""
    first = instruction[0]
    name = _OPERATIONS[first & 0xC0 if first >= _ADVANCE_LOC else first][0]
    return f"{name} ({instruction.hex(' ')})"
