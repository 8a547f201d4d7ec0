"""Language-specific data areas: ``.gcc_except_table``, where C++ keeps its call-site tables.

The section is a run of LSDAs, one for each function that has something to catch or clean up:

    LPStart encoding [LPStart]              where landing pads count from; the function by default
    TType encoding [TType base offset]      ULEB128: from behind itself to the end of the types
    call-site encoding, table length        ULEB128
    call sites: start, length, landing pad  distances in the function, as numbers
                action                      1 + offset into the action records, 0 for none
    action records                          SLEB128 pairs
    padding, types                          relocated; indexed backwards from the base
    exception specifications                lists of type indices

Nothing marks where an LSDA begins and to which function it belongs but the FDEs (`frame`).  When
the function grows,

* the start of a call site and a landing pad move on the ``start`` side, the end on the ``after``
  side: an LSDA speaks about the instructions of a range, the slot included;
* a ULEB128 may need a byte more.  Then the length of the table grows, and the TType base offset,
  which depends on its own size through the padding in front of the types (`_base_offset`).

Padding: GCC aligns an LSDA with types, and the types, to the size of a type entry, and no others;
LLVM aligns all LSDAs and types to 4, and what follows the last one.

Sources: the C++ ABI for Itanium, exception handling, 7.3 and 7.4 (the tables have no standard of
their own), GCC's except.cc (`output_one_function_exception_table`), LLVM's EHStreamer.cpp; seen
with GCC 11 and 12, clang 19 and gas 2.40.
"""

from __future__ import annotations

from bisect import bisect_left

from nopfix.dwarf import leb128
from nopfix.dwarf.encodings import DW_EH_PE_omit, DW_EH_PE_uleb128
from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.frame import pointer_size, touched
from nopfix.dwarf.offset_map import IDENTITY, OffsetMap
from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.dwarf.section import Change, Rewritten, Section, Target, splice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nopfix.dwarf.frame import CallSites

_LLVM_ALIGNMENT = 4
_ADDRESS_SIZE = 8
_DAMAGED = "the exception table is damaged; compile the file again"
_UNKNOWN = "nopfix can't move it; compile the file with another compiler"


class _Header(Record):
    """An LSDA up to its call sites, by section offsets.

    ``base_offset`` is where the TType base offset is, ``types_end`` where it leads to; both are 0
    without types.  ``sites`` to ``sites_end`` are the call sites.
    """

    start: int
    landing_pads: Target | None
    base_offset: int
    types_end: int
    type_size: int
    encoding_place: int
    sites: int
    sites_end: int


class _Sites(Record):
    """Call sites as they are written, and the actions that they name."""

    data: bytes
    actions: frozenset[int]


class _Lsda(Record):
    """A whole LSDA in its parts; offsets are section offsets.

    ``actions_end`` to ``types`` is padding to ``type_alignment`` bytes.  ``sites`` are the new call
    sites.
    """

    header: _Header
    alignment: int
    actions_end: int
    type_alignment: int
    types: int
    end: int
    sites: bytes


class CallSite(Record):
    """Where an exception from ``start`` up to ``end`` goes: offsets into the pad's section."""

    section: int
    start: int
    end: int
    pad: Target


def landing_pads(section: Section, functions: Iterable[CallSites]) -> list[CallSite]:
    """The call sites of one ``.gcc_except_table`` section that have a landing pad.

    ``functions`` come from `frame.call_site_tables`; those with an LSDA elsewhere are skipped.
    Raises `Unsupported`.
    """
    data = memoryview(bytes(section.data))
    found = []
    for owner in functions:
        if owner.lsda.section != section.number:
            continue
        try:
            header = _read_header(section, data, owner.lsda.offset)
            pads = header.landing_pads or owner.function
            start = owner.function.offset
            for site in _sites(section, data[: header.sites_end], header):
                if site.pad:
                    found.append(
                        CallSite(
                            owner.function.section,
                            start + site.start,
                            start + site.start + site.length,
                            Target(pads.section, pads.offset + site.pad),
                        )
                    )
        except (IndexError, leb128.BadLeb128) as error:
            raise Unsupported(
                section.name, owner.lsda.offset, "an LSDA that ends too early", _DAMAGED
            ) from error
    return found


def rewrite(
    section: Section,
    functions: Iterable[CallSites],
    maps: Mapping[int, OffsetMap],
    *,
    alignment: int = 8,
) -> Rewritten:
    """Rewrite one ``.gcc_except_table`` section for code that moved.

    ``functions`` come from `frame.call_site_tables`; those with an LSDA elsewhere are skipped.
    ``maps`` are the maps of the sections that moved, by number; ``alignment`` is the section's own
    (sh_addralign, bytes).  The relocations of the result move on the ``start`` side.  Where nothing
    changes the result holds the given bytes and `IDENTITY`.  Raises `Unsupported`.
    """
    owners: dict[int, list[CallSites]] = {}
    changes = False
    for function in functions:
        if function.lsda.section == section.number:
            owners.setdefault(function.lsda.offset, []).append(function)
            code_map = maps.get(function.function.section, IDENTITY)
            changes = changes or touched(code_map, function.function.offset, function.length)
    if not changes:
        return Rewritten(section.data, IDENTITY, {})
    data = memoryview(bytes(section.data))
    starts = sorted(owners)
    lsdas: list[_Lsda] = []
    for start, limit in zip(starts, starts[1:] + [len(data)], strict=True):
        previous_end = lsdas[-1].end if lsdas else start
        try:
            header = _read_header(section, data[:limit], start)
            moved = [
                _move_sites(section, data[:limit], header, owner, maps) for owner in owners[start]
            ]
            lsdas.append(
                _read_rest(section, data[:limit], header, moved[0], alignment, previous_end)
            )
        except (IndexError, leb128.BadLeb128) as error:
            raise Unsupported(
                section.name, start, "an LSDA that ends too early", _DAMAGED
            ) from error
        if any(other != moved[0] for other in moved):
            raise Unsupported(
                section.name, start, "an LSDA of functions that move differently", _UNKNOWN
            )
    return Rewritten(*splice(data, _laid_out(bytes(data), lsdas, alignment)), {})


# -- reading --------------------------------------------------------------------------------------


def _read_header(section: Section, data: memoryview, start: int) -> _Header:
    """Read the LSDA at ``start`` up to its call sites; ``data`` ends where the next one begins."""
    if not 0 <= start < len(data):
        raise Unsupported(section.name, None, f"an LSDA at {start:#x}, outside", _DAMAGED)
    landing_pads = None
    position = start + 1
    if data[start] != DW_EH_PE_omit:
        landing_pads = section.relocations.target(position)
        if landing_pads is None:
            raise Unsupported(section.name, position, "an LPStart that isn't relocated", _UNKNOWN)
        position += pointer_size(section, data[start], start, _ADDRESS_SIZE)
    base_offset = types_end = type_size = 0
    types_encoding = data[position]
    position += 1
    if types_encoding != DW_EH_PE_omit:
        type_size = pointer_size(section, types_encoding, position - 1, _ADDRESS_SIZE)
        base_offset = position
        distance, position = leb128.unsigned(data, position)
        types_end = position + distance
    encoding_place = position
    length, sites = leb128.unsigned(data, position + 1)
    sites_end = sites + length
    if max(sites_end, types_end) > len(data) or 0 < types_end < sites_end:
        raise Unsupported(section.name, start, "an LSDA with lengths that don't fit", _DAMAGED)
    places = section.relocations.places
    first = bisect_left(places, sites)
    if first < len(places) and places[first] < sites_end:
        raise Unsupported(section.name, places[first], "a relocated call site", _UNKNOWN)
    return _Header(
        start, landing_pads, base_offset, types_end, type_size, encoding_place, sites, sites_end
    )


class _Site(Record):
    """A call site as it is written: three numbers, their places and the action's, the end."""

    start: int
    length: int
    pad: int
    places: tuple[int, int, int, int]
    action: int
    end: int


def _sites(section: Section, data: memoryview, header: _Header) -> Iterator[_Site]:
    """The call sites of an LSDA; ``data`` ends where they do."""
    size = _site_field_size(section, data, header)
    position = header.sites
    while position < header.sites_end:
        start, length_place = _field(data, position, size)
        length, pad_place = _field(data, length_place, size)
        pad, action_place = _field(data, pad_place, size)
        action, behind = leb128.unsigned(data, action_place)
        places = position, length_place, pad_place, action_place
        yield _Site(start, length, pad, places, action, behind)
        position = behind


def _site_field_size(section: Section, data: memoryview, header: _Header) -> int:
    """Bytes of a number in a call site, 0 for ULEB128."""
    encoding = data[header.encoding_place]
    if encoding & 0xF == DW_EH_PE_uleb128:
        return 0
    return pointer_size(section, encoding, header.encoding_place, _ADDRESS_SIZE)


def _move_sites(
    section: Section,
    data: memoryview,
    header: _Header,
    owner: CallSites,
    maps: Mapping[int, OffsetMap],
) -> _Sites:
    """The call sites as they are after the move of ``owner``."""
    size = _site_field_size(section, data, header)
    function = owner.function
    pads = header.landing_pads or function
    start_of = maps.get(function.section, IDENTITY).start
    end_of = maps.get(function.section, IDENTITY).after
    pad_of = maps.get(pads.section, IDENTITY).start
    base, pads_base = start_of(function.offset), pad_of(pads.offset)
    data = data[: header.sites_end]
    result = bytearray()
    actions = set()
    for site in _sites(section, data, header):
        start, length, pad = site[:3]
        position, length_place, pad_place, action_place = site.places
        if site.action:
            actions.add(site.action)
        begin = start_of(function.offset + start)
        new_length = end_of(function.offset + start + length) - begin if length else 0
        new_pad = pad_of(pads.offset + pad) - pads_base if pad else 0
        for place, end, old, new in (
            (position, length_place, start, begin - base),
            (length_place, pad_place, length, new_length),
            (pad_place, action_place, pad, new_pad),
        ):
            if new == old:
                result += data[place:end]
            elif new < 0 or (size and new >> 8 * size):
                raise Unsupported(section.name, place, f"{old:#x} can't become {new:#x}", _UNKNOWN)
            elif size:
                result += new.to_bytes(size, "little")
            else:
                padded = end - place > leb128.unsigned_size(old)
                result += leb128.encode_unsigned(new, end - place if padded else 0)
        result += data[action_place : site.end]
    return _Sites(bytes(result), frozenset(actions))


def _field(data: memoryview, position: int, size: int) -> tuple[int, int]:
    """The number at ``position`` (``size`` bytes, or a ULEB128 for 0) and the offset behind it."""
    if not size:
        return leb128.unsigned(data, position)
    if position + size > len(data):
        raise IndexError
    return int.from_bytes(data[position : position + size], "little"), position + size


def _read_rest(
    section: Section,
    data: memoryview,
    header: _Header,
    sites: _Sites,
    alignment: int,
    previous_end: int,
) -> _Lsda:
    """Find the parts of the LSDA behind its call sites, and what its parts are aligned to."""
    start = header.start
    actions_end, filters = _walk_actions(section, data, header.sites_end, sites.actions)
    if header.base_offset:
        types, end = _types(section, data, header, actions_end, filters)
    else:
        types = end = actions_end
    # What no action names is kept: trailing zeros alone are padding, but for the one that says that
    # a record is the last of its chain.
    if any(data[actions_end:types]):
        actions_end += len(bytes(data[actions_end:types]).rstrip(b"\0"))
        actions_end = min(actions_end + 1, types)
    if any(data[end:]):
        end += len(bytes(data[end:]).rstrip(b"\0"))
    entry_size = header.type_size
    if not entry_size:
        type_alignment = 1
        if alignment == _LLVM_ALIGNMENT:
            start_alignment = 4
        else:
            start_alignment = min(start & -start, alignment) if start > previous_end else 1
    else:
        wide = alignment >= entry_size
        start_alignment = entry_size if wide and start % entry_size == 0 else 4
        type_alignment = entry_size if wide and types % entry_size == 0 else 4
    if start % start_alignment:
        start_alignment = 1
    while types % type_alignment or -actions_end % type_alignment > types - actions_end:
        type_alignment //= 2
    # Zeros beyond the alignment's are types that no action names.
    types = actions_end + -actions_end % type_alignment
    return _Lsda(header, start_alignment, actions_end, type_alignment, types, end, sites.data)


def _walk_actions(
    section: Section, data: memoryview, table: int, actions: frozenset[int]
) -> tuple[int, set[int]]:
    """Follow the chains of action records in the table at ``table``.

    Returns the offset behind the last record and the type filters that the records name.
    """
    end = table
    filters = set()
    waiting = [table + action - 1 for action in actions]
    seen: set[int] = set()
    while waiting:
        record = waiting.pop()
        if record in seen:
            continue
        seen.add(record)
        if record < table:
            raise Unsupported(section.name, table, "an action outside its table", _DAMAGED)
        kind, place = leb128.signed(data, record)
        following, behind = leb128.signed(data, place)
        filters.add(kind)
        end = max(end, behind)
        if following:
            waiting.append(place + following)
    return end, filters


def _types(
    section: Section, data: memoryview, header: _Header, actions_end: int, filters: set[int]
) -> tuple[int, int]:
    """Where the types begin, and where the exception specifications behind them end."""
    end = header.types_end
    highest = max(filters, default=0)
    for kind in filters:
        if kind < 0:  # a list of types at this distance, a zero behind the last one
            position = header.types_end - kind - 1
            index = 1
            while index:
                index, position = leb128.unsigned(data, position)
                highest = max(highest, index)
            end = max(end, position)
    places = section.relocations.places
    first = bisect_left(places, actions_end)
    if first < len(places) and places[first] < header.types_end:
        behind = header.types_end - places[first]
        highest = max(highest, -(-behind // header.type_size))
    types = header.types_end - highest * header.type_size
    if types < actions_end:
        raise Unsupported(section.name, header.start, "types that overlap the actions", _DAMAGED)
    return types, end


# -- writing --------------------------------------------------------------------------------------


def _base_offset(lsda: _Lsda, start: int) -> tuple[int, int, int]:
    """The TType base offset of an LSDA that begins at ``start``, its size, the types' padding.

    A byte more for the offset is a byte less of padding (or seven more).  With the LSDA aligned as
    its types are, there is one smallest size that fits; where an LSDA isn't, a size may be too
    large by itself and too small without, and the number is padded, as LLVM does.
    """
    header = lsda.header
    between = 1 + leb128.unsigned_size(len(lsda.sites)) + len(lsda.sites)
    between += lsda.actions_end - header.sites_end
    size = 0
    while True:
        size += 1
        end = start + header.base_offset - header.start + size + between
        padding_size = -end % lsda.type_alignment
        distance = between + padding_size + header.types_end - lsda.types
        if leb128.unsigned_size(distance) <= size:
            return distance, size, padding_size


def _laid_out(data: bytes, lsdas: list[_Lsda], alignment: int) -> Iterator[Change]:
    """What changes in the section, whose own alignment is ``alignment``.

    Where each LSDA begins now follows from the ones in front of it.
    """
    shift = 0
    end = lsdas[0].header.start
    for lsda in lsdas:
        header = lsda.header
        size = -(end + shift) % lsda.alignment
        yield Change(end, header.start, bytes(size), fills=True)
        shift += size - (header.start - end)
        types_padding = lsda.types - lsda.actions_end
        length = leb128.encode_unsigned(len(lsda.sites))
        changes = [
            Change(header.encoding_place + 1, header.sites, length),
            Change(header.sites, header.sites_end, lsda.sites),
        ]
        if header.base_offset:
            distance, size, types_padding = _base_offset(lsda, header.start + shift)
            encoded = leb128.encode_unsigned(distance, size)
            changes.append(Change(header.base_offset, header.encoding_place, encoded))
        changes.append(Change(lsda.actions_end, lsda.types, bytes(types_padding)))
        yield from changes
        shift += sum(len(change.data) - (change.end - change.place) for change in changes)
        end = lsda.end
    rest = data[end:]
    if alignment == _LLVM_ALIGNMENT and not any(rest) and len(rest) == -end % alignment:
        yield Change(end, len(data), bytes(-(end + shift) % alignment))
