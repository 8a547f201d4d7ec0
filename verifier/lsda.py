""".gcc_except_table: which landing pad each call has.

The layout is that of GCC's `output_function_exception_table` (except.cc) and libgcc's reader
(unwind-pe.h): a header, call sites (start, length, landing pad, action), action records, type
table. Call sites are relative to the function's start, landing pads to LPStart, which is the
function's start when omitted. Each LSDA belongs to the FDE that refers to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nopfix.verifier import frames
from nopfix.verifier.fields import Fields, Target, shown
from nopfix.verifier.pairing import END, START
from nopfix.verifier.reader import POINTER_SIZES, Malformed, Reader

if TYPE_CHECKING:
    from nopfix.verifier.elf import Object
    from nopfix.verifier.frames import Handler

DW_EH_PE_omit = 0xFF


class Header(NamedTuple):
    """Where the parts of an LSDA are; offsets in the section."""

    lp_start: tuple[int, int] | None
    """Place and value of LPStart, None when omitted."""
    encodings: tuple[int, int, int]
    """Of LPStart, of the type table, of the call sites."""
    call_sites: int
    actions: int
    types: int | None
    """TTBase: the end of the type table; None without one."""


class Used(NamedTuple):
    """What the call sites of an LSDA lead to."""

    actions: int
    """Bytes of action records."""
    types: int
    """Entries of the type table, which counts back from TTBase."""
    specifications: int
    """Bytes of exception specifications behind TTBase."""


def _header(data: bytes, start: int) -> Header:
    reader = Reader(data, start, len(data))
    lp_encoding = reader.unsigned(1)
    lp_start = None
    if lp_encoding != DW_EH_PE_omit:
        place = reader.position
        lp_start = (place, reader.pointer(lp_encoding))
    type_encoding = reader.unsigned(1)
    types = None
    if type_encoding != DW_EH_PE_omit:
        distance = reader.uleb()
        types = reader.position + distance
    site_encoding = reader.unsigned(1)
    length = reader.uleb()
    actions = reader.position + length
    if actions > len(data) or (types is not None and not actions <= types <= len(data)):
        raise Malformed(f"the LSDA at {start:#x} reaches beyond the section")
    encodings = (lp_encoding, type_encoding, site_encoding)
    return Header(lp_start, encodings, reader.position, actions, types)


def landing_pads(old: Object) -> dict[int, frozenset[int]]:
    """Where the unwinder enters code, by section: the landing pads that all LSDAs of IN name."""
    found: dict[int, set[int]] = {}
    for section, lsda, number, function in frames.handlers(old):
        data = old.sections[section].data
        try:
            header = _header(data, lsda)
            reader = Reader(data, header.call_sites, header.actions)
            while not reader.done and header.lp_start is None:
                _, _, pad = (reader.pointer(header.encodings[2]) for _ in range(3))
                reader.uleb()
                if pad:
                    found.setdefault(number, set()).add(function + pad)
        except Malformed:
            # The same is found, and reported, where the table is compared.
            continue
    return {number: frozenset(pads) for number, pads in found.items()}


def check(fields: Fields, handlers: list[Handler]) -> dict[int, int]:
    """Compare the LSDAs of one .gcc_except_table. Returns where each went (old start: new start).

    `handlers` are the LSDAs of this section with their functions.
    """
    starts: dict[int, int] = {}
    functions: dict[int, Target] = {}
    for handler in handlers:
        starts[handler.lsda.old] = handler.lsda.new
        functions[handler.lsda.old] = handler.function
    order = sorted(starts)
    if [starts[old] for old in order] != sorted(starts.values()):
        raise Malformed("the LSDAs are in another order in OUT")
    ends = order[1:] + [len(fields.raw)]
    new_ends = [starts[old] for old in order[1:]] + [len(fields.new_raw)]
    if not order:
        if fields.raw != fields.new_raw:
            fields.differ("lsda", None, None, "no FDE refers to it, yet it changed")
        return starts
    _check_gap(fields, 0, order[0], 0, starts[order[0]])
    for old, end, new_end in zip(order, ends, new_ends, strict=True):
        _check_one(fields, old, end, starts[old], new_end, functions[old])
        _check_end(fields, old, end, starts[old], new_end)
    return starts


def _check_gap(fields: Fields, old: int, end: int, new: int, new_end: int) -> None:
    """Padding between LSDAs: zeros, less than an alignment's worth."""
    if any(fields.raw[old:end]):
        # Not padding: something that no FDE refers to.
        fields.equal("lsda", old, new, fields.raw[old:end], fields.new_raw[new:new_end])
    elif any(fields.new_raw[new:new_end]) or (new_end - new > 3 and end - old <= 3):
        fields.differ("lsda", old, new, "bytes between the tables that are not padding")


def _check_end(fields: Fields, old: int, end: int, new: int, new_end: int) -> None:
    """Zeros behind an LSDA are as many, unless what follows is aligned in both: then they differ by
    less than an alignment's worth.
    """
    zeros, new_zeros = (
        len(data) - len(data.rstrip(b"\0"))
        for data in (fields.raw[old:end], fields.new_raw[new:new_end])
    )
    unaligned = end % 4 or new_end % 4
    most = 0 if unaligned else max(4, fields.section.alignment) - 1
    if abs(zeros - new_zeros) > most:
        fields.differ("lsda", end, new_end, f"{new_zeros} bytes of padding, {zeros} in IN")


def _check_one(
    fields: Fields, old: int, end: int, new: int, new_end: int, function: Target
) -> None:
    before, after = _header(fields.raw, old), _header(fields.new_raw, new)
    if not fields.equal("lsda", old, new, before.encodings, after.encodings):
        return
    landing = function
    if before.lp_start and after.lp_start:
        found = fields.relocated(before.lp_start[0], after.lp_start[0])
        if found:
            landing = found
        else:
            fields.equal("lsda", old, new, before.lp_start[1], after.lp_start[1])
            landing = Target(0, 0, 0)
    if (before.types is None) != (after.types is None):
        fields.differ("lsda", old, new, "a type table only in one of the two")
        return
    actions = _check_sites(fields, before, after, function, landing)
    used = _used(fields.raw, before, actions)
    _check_rest(fields, before, after, (end, new_end), used)
    fields.findings.count("exception table")


def _check_sites(
    fields: Fields, before: Header, after: Header, function: Target, landing: Target
) -> set[int]:
    """Compare the call sites. Returns what they say of actions: 0 for none, or 1 and an offset."""
    actions: set[int] = set()
    encoding = before.encodings[2]
    a = Reader(fields.raw, before.call_sites, before.actions)
    b = Reader(fields.new_raw, after.call_sites, after.actions)
    count = 0
    while not a.done and not b.done:
        place, new_place = a.position, b.position
        start, length, pad = (a.pointer(encoding) for _ in range(3))
        new_start, new_length, new_pad = (b.pointer(encoding) for _ in range(3))
        action = a.uleb()
        fields.equal("call-site", place, new_place, action, b.uleb())
        actions.add(action)
        count += 1
        places = place, new_place
        expected = fields.distance(function, start, START)
        if expected != new_start:
            _wrong(fields, places, "begins at", start, expected, new_start)
            continue
        stop, new_stop = start + length, new_start + new_length
        expected = fields.distance(function, stop, END)
        if length and expected != new_stop:
            _wrong(fields, places, "ends at", stop, expected, new_stop)
        elif not length and new_length:
            _wrong(fields, places, "has length", 0, 0, new_length)
        moved = fields.distance(landing, pad, START) if pad else 0
        if moved != new_pad:
            _wrong(fields, places, "has its landing pad at", pad, moved, new_pad)
    if not (a.done and b.done):
        fields.differ("call-site", a.position, b.position, "the number of call sites differs")
    fields.findings.count("call site", count)
    return actions


def _wrong(
    fields: Fields, places: tuple[int, int], what: str, old: int, expected: int | None, found: int
) -> None:
    fields.differ(
        "call-site",
        *places,
        f"a call site {what} function+{old:#x} in IN, so {shown(expected)} in OUT, but {found:#x}",
    )


def _used(data: bytes, header: Header, actions: set[int]) -> Used:
    """What the call sites lead to, by their actions.

    A record is a filter and the distance from there to the next record, 0 at the last one.
    """
    size = first_type = 0
    specifications: set[int] = set()
    seen = {header.actions + action - 1 for action in actions if action}
    waiting = list(seen)
    while waiting:
        reader = Reader(data, waiting.pop(), len(data))
        kind, at = reader.sleb(), reader.position
        following = at + reader.sleb()
        size = max(size, reader.position - header.actions)
        first_type = max(first_type, kind)
        if kind < 0:
            specifications.add(-kind - 1)
        if following not in (at, *seen):
            seen.add(following)
            waiting.append(following)
    behind, base = 0, header.types or 0
    for offset in specifications if base else ():
        reader = Reader(data, base + offset, len(data))
        while reader.uleb():
            pass
        behind = max(behind, reader.position - base)
    return Used(size, first_type, behind)


def _check_rest(
    fields: Fields, before: Header, after: Header, ends: tuple[int, int], used: Used
) -> None:
    """Action records, type table and exception specifications: equal, and all there.

    Zeros at the end of each may be padding, which is its own business.
    """
    raw, new_raw, (end, new_end) = fields.raw, fields.new_raw, ends
    if before.types is None or after.types is None:
        body, new_body = raw[before.actions : end], new_raw[after.actions : new_end]
        _same_but_zeros(fields, (before.actions, after.actions), body, new_body, used.actions)
        return
    # Actions grow up from the start, types down from TTBase. GCC aligns the types to their size
    # (except.cc, output_one_function_exception_table), LLVM to 4 (EHStreamer.cpp).
    size = POINTER_SIZES.get(before.encodings[1] & 0x0F, 4)
    alignment = max(4, min(size, fields.section.alignment))
    shift = after.types - before.types
    old_places = [p for p in fields.old_relocations if before.actions <= p < before.types]
    first_type = min([*old_places, before.types - size * used.types])
    new_first = first_type + shift
    actions, new_actions = raw[before.actions : first_type], new_raw[after.actions : new_first]
    _same_but_zeros(fields, (before.actions, after.actions), actions, new_actions, used.actions)
    types, new_types = raw[first_type : before.types], new_raw[new_first : after.types]
    fields.equal("lsda-types", first_type, new_first, types, new_types)
    if first_type - before.actions < new_first - after.actions - (alignment - 1):
        fields.differ("lsda", before.actions, after.actions, "more padding than alignment needs")
    if before.types % alignment == 0 and after.types % alignment:
        fields.differ("lsda", before.actions, after.actions, "the type table is not aligned")
    for place in old_places:
        fields.relocated(place, place + shift)
    # Exception specifications (uleb128 lists) follow TTBase.
    tail, new_tail = raw[before.types : end], new_raw[after.types : new_end]
    _same_but_zeros(fields, (before.types, after.types), tail, new_tail, used.specifications)


def _same_but_zeros(
    fields: Fields, places: tuple[int, int], old: bytes, new: bytes, size: int
) -> None:
    """Two parts are equal but for zeros behind their first `size` bytes, which are used."""
    if fields.equal("lsda", *places, old.rstrip(b"\0"), new.rstrip(b"\0")) and len(new) < size:
        text = f"has {len(new):#x} bytes in OUT of the {size:#x} that are used"
        fields.differ("lsda", *places, text)
