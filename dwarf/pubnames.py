"""`.debug_pubnames`, `.debug_pubtypes` and their GNU forms: names and where their entries are.

Each set names a unit, by an offset (relocated) and its length, and lists offsets of entries that
count from the unit's header; the GNU form has a byte of flags in front of each name, which GCC
writes for gdb's index.  All of it stays as it is unless entries moved.

Source: DWARF 4, sections 6.1.1 and 7.19; binutils' gdb/dwarf-index for .debug_gnu_pubnames.
"""

from __future__ import annotations

from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.numbers import changed, initial_length, number
from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.dwarf.section import Rewritten, splice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nopfix.dwarf.section import Change, Section
    from nopfix.dwarf.unit import File, MovedEntries

_GNU = frozenset((".debug_gnu_pubnames", ".debug_gnu_pubtypes"))

NAMES = _GNU | {".debug_pubnames", ".debug_pubtypes"}
"""The names of these sections."""


def rewrite(section: Section, file: File, moves: MovedEntries) -> Rewritten | None:
    """Move the offsets in ``section``, which name debugging entries, by ``moves``.

    ``file`` is the file that the section lies in.  Returns None when nothing changes.  Raises
    `Unsupported` for a set that is malformed.
    """
    if not moves.maps and not moves.split:
        return None
    changes: list[Change] = []
    place = 0
    try:
        while place < len(section.data):
            end, offset_size, header = initial_length(section.data, place, section.name)
            changes += _moved_offsets(section, header, end, offset_size, file, moves)
            place = end
    except (IndexError, ValueError):
        raise Unsupported(section.name, place, "a set of names without an end") from None
    return Rewritten(*splice(section.data, changes), {})


def _moved_offsets(
    section: Section, header: int, end: int, size: int, file: File, moves: MovedEntries
) -> Iterator[Change]:
    """The offsets in one set, moved: behind its length it has a version, the unit, and names."""
    data = bytes(section.data)
    place = header + 2
    unit = file.resolve(section, place, number(data, place, size), ".debug_info", ".debug_types")
    place += size
    length = moves.moved(unit, number(data, place, size))
    yield changed(section.name, place, place + size, length, "length")
    place += size
    flags = section.name.removesuffix(".dwo") in _GNU
    while place < end and (offset := number(data, place, size)):
        yield changed(section.name, place, place + size, moves.moved(unit, offset))
        place = data.index(0, place + size + flags) + 1
