"""`.debug_pubnames`, `.debug_pubtypes` and their GNU forms: names and where their entries are.

Each set names a unit, by an offset (relocated) and its length, and lists offsets of entries that
count from the unit's header; the GNU form has a byte of flags in front of each name, which GCC
writes for gdb's index.  All of it stays as it is unless entries moved.

Source: DWARF 4, sections 6.1.1 and 7.19; binutils' gdb/dwarf-index for .debug_gnu_pubnames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dwarf.errors import Unsupported
from dwarf.forms import initial_length, number
from dwarf.offset_map import IDENTITY
from dwarf.section import Rewritten

if TYPE_CHECKING:
    from dwarf.section import Section
    from dwarf.unit import Entries, File

_GNU = frozenset((".debug_gnu_pubnames", ".debug_gnu_pubtypes"))

NAMES = _GNU | {".debug_pubnames", ".debug_pubtypes"}
"""The names of these sections."""


def rewrite(section: Section, file: File, entries: Entries) -> Rewritten | None:
    """Move the offsets in ``section``, which name debugging entries, by ``entries``.

    ``file`` is the file that the section lies in.  Returns None when nothing changes.  Raises
    `Unsupported` for a set that is malformed.
    """
    if not entries.maps and not entries.split:
        return None
    data = bytearray(section.data)
    place = 0
    try:
        while place < len(data):
            place = _move_set(section, data, place, file, entries)
    except (IndexError, ValueError):
        raise Unsupported(section.name, place, "a set of names without an end") from None
    return Rewritten(data, IDENTITY, {})


def _move_set(section: Section, data: bytearray, begin: int, file: File, entries: Entries) -> int:
    """Move one set in place; returns the offset behind it."""
    end, size, place = initial_length(data, begin, section.name)
    place += 2
    target = file.resolve(section, place, number(data, place, size), ".debug_info", ".debug_types")
    place += size
    _store(section, data, place, size, entries.moved(target, number(data, place, size)))
    place += size
    flags = section.name.removesuffix(".dwo") in _GNU
    while place < end:
        offset = number(data, place, size)
        if not offset:
            return end
        _store(section, data, place, size, entries.moved(target, offset))
        place = data.index(0, place + size + flags) + 1
    return end


def _store(section: Section, data: bytearray, place: int, size: int, new: int) -> None:
    if new >> 8 * size:
        raise Unsupported(section.name, place, f"the new offset {new:#x} doesn't fit")
    data[place : place + size] = new.to_bytes(size, "little")
