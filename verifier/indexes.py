"""Sections that index others: .debug_aranges, .debug_addr, .debug_pubnames and kin.

DWARF 5, 6.1 and 7.19 to 7.27; DWARF 4, 6.1 for the older ones. Their offsets follow the entries and
code that they name, everything else in them is equal. `name_index` has .debug_names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nopfix.verifier.fields import shown
from nopfix.verifier.pairing import RET, START, Starts
from nopfix.verifier.reader import Malformed, Reader

if TYPE_CHECKING:
    from nopfix.verifier.elf import Relocation
    from nopfix.verifier.fields import Fields
    from nopfix.verifier.uses import Uses


UNKNOWN = 1 << 62
"""By how much a unit that isn't looked at may have grown at most."""


def check_aranges(fields: Fields) -> None:
    """.debug_aranges: (address, length) pairs for each unit (DWARF 5, 6.1.2). Raises Malformed."""
    a = Reader(fields.raw, 0, len(fields.raw))
    b = Reader(fields.new_raw, 0, len(fields.new_raw))
    if len(fields.raw) != len(fields.new_raw):
        fields.differ("aranges", None, None, "has another size in OUT")
        return
    while not a.done:
        start = a.position
        length, size = a.initial_length()
        fields.equal("aranges", start, start, (length, size), b.initial_length())
        end = a.position + length
        if end > len(fields.raw):
            raise Malformed(f".debug_aranges at {start:#x}: too long")
        fields.equal("aranges", start, start, a.unsigned(2), b.unsigned(2))
        place = a.position
        offset, new_offset = a.unsigned(size), b.unsigned(size)
        if fields.relocated(place, place) is None:
            fields.equal("aranges", place, place, offset, new_offset)
        address, segment = sizes = (a.unsigned(1), a.unsigned(1))
        fields.equal("aranges", place, place, sizes, (b.unsigned(1), b.unsigned(1)))
        if address not in (4, 8) or segment:
            raise Malformed(f".debug_aranges at {start:#x}: address size {address}")
        pad = -(a.position - start) % (2 * address)
        fields.equal("aranges", a.position, b.position, a.take(pad), b.take(pad))
        while a.position < end:
            _range(fields, a, b, address)
        b.position = a.position
        fields.findings.count("address range")


def _range(fields: Fields, a: Reader, b: Reader, size: int) -> None:
    """One address, and the bytes of code from there on."""
    place = a.position
    value, new_value = a.unsigned(size), b.unsigned(size)
    span, new_span = a.unsigned(size), b.unsigned(size)
    target = fields.relocated(place, place, START)
    if target is None:
        fields.equal("aranges", place, place, value, new_value)
    expected = fields.span(target, span)
    if expected != new_span:
        text = f"a range of {span:#x} bytes in IN has {shown(expected)} in OUT, but {new_span:#x}"
        fields.differ("aranges", place, place, text)


def check_addresses(fields: Fields, uses: Uses) -> dict[int, int]:
    """.debug_addr: addresses (DWARF 5, 7.27; before version 5 without headers).

    Who uses an entry has checked what it leads to. An entry that no one here uses is used by a
    .dwo; it follows the code as a start or as a return address. OUT may have entries at the end
    of a unit's part that IN has not, when someone uses them. Returns where each part went.
    """
    starts: dict[int, int] = {}
    entries: set[int] = set()
    headers = fields.raw[4:6] == b"\x05\0" or fields.raw[12:14] == b"\x05\0"
    a = Reader(fields.raw, 0, len(fields.raw))
    b = Reader(fields.new_raw, 0, len(fields.new_raw))
    while not a.done and not b.done:
        end, new_end = len(fields.raw), len(fields.new_raw)
        starts[a.position] = b.position
        if headers:
            (length, size), (new_length, new_size) = a.initial_length(), b.initial_length()
            end, new_end = a.position + length, b.position + new_length
            at = a.position
            fields.equal("addr", at, b.position, (size, a.take(4)), (new_size, b.take(4)))
            starts[a.position] = b.position
        if (
            end > len(fields.raw)
            or new_end > len(fields.new_raw)
            or new_end - b.position < end - a.position
        ):
            raise Malformed(f".debug_addr at {a.position:#x}: length {end - a.position:#x}")
        entries.update(range(b.position, new_end, 8))
        while a.position < end:
            _address(fields, uses, a, b)
        _new_addresses(fields, uses, b, new_end)
    for place in fields.new_relocations.keys() - entries:
        fields.differ("addr", None, place, "a relocation where no address is")
    fields.equal("addr", a.position, b.position, a.done, b.done)
    starts[len(fields.raw)] = len(fields.new_raw)
    return starts


def _new_addresses(fields: Fields, uses: Uses, b: Reader, end: int) -> None:
    """What OUT has more: addresses that something uses, a .dwo perhaps."""
    unseen = uses.unseen
    returns = _return_addresses(fields) if unseen and b.position < end else set()
    while b.position < end:
        place = b.position
        if any(b.take(8)):
            fields.differ("addr", None, place, "bytes in front of what the relocation adds")
        if (fields.section.number, place) in uses.addresses:
            continue
        after = fields.new_relocations.get(place)
        if not unseen or after is None or _target(fields, after) not in returns:
            fields.differ("addr", None, place, "a new address that nothing uses")
        else:
            returns.remove(_target(fields, after))
    fields.equal("addr", len(fields.raw), end, end, b.position)


def _target(fields: Fields, relocation: Relocation) -> tuple[int, int, int]:
    """Section and offset in OUT that a relocation of OUT leads to, and its type."""
    section, offset = fields.checker.new.target(relocation)
    return section, offset, relocation.type


def _return_addresses(fields: Fields) -> set[tuple[int, int | None, int]]:
    """Where the addresses of IN are in OUT as return addresses, if not where they are as starts.

    As `_target` gives them. A .dwo, which isn't looked at, may use them by entries that IN has not.
    """
    targets = [(r.type, *fields.checker.old.target(r)) for r in fields.old_relocations.values()]
    return {
        (section, there, kind)
        for kind, section, at in targets
        if (there := fields.move(section, at, RET)) != fields.move(section, at, START)
    }


def _address(fields: Fields, uses: Uses, a: Reader, b: Reader) -> None:
    """One address of IN and its counterpart."""
    place, new_place = a.position, b.position
    value, new_value = a.unsigned(8), b.unsigned(8)
    filled = fields.raw[place : place + 8]
    fields.equal("addr", place, new_place, filled, fields.new_raw[new_place : new_place + 8])
    before, after = fields.old_relocations.get(place), fields.new_relocations.get(new_place)
    fields.seen[place] = 1
    fields.findings.count("address table entry")
    if before is None or after is None:
        fields.equal("addr", place, new_place, (before, value), (after, new_value))
        return
    if (before.type, before.symbol) != (after.type, after.symbol):
        fields.differ("addr", place, new_place, "its relocation changed type or symbol")
    if (fields.section.number, new_place) in uses.addresses:
        return
    section, target = fields.checker.old.target(before)
    _, new_target = fields.checker.new.target(after)
    if new_target not in {fields.move(section, target, side) for side in (START, RET)}:
        fields.differ(
            "addr", place, new_place, f"leads to {target:#x} in IN, {new_target:#x} in OUT"
        )


def check_pubnames(fields: Fields, uses: Uses) -> None:
    """.debug_pubnames, _pubtypes and their gnu_ variants: offsets of entries in their unit."""
    a = Reader(fields.raw, 0, len(fields.raw))
    b = Reader(fields.new_raw, 0, len(fields.new_raw))
    while not a.done and not b.done:
        start = a.position
        length, size = a.initial_length()
        fields.equal("pubnames", start, b.position, (length, size), b.initial_length())
        end = a.position + length
        fields.equal("pubnames", start, start, a.unsigned(2), b.unsigned(2))
        place = a.position
        target = fields.relocated(place, place)
        unit, new_unit = a.unsigned(size), b.unsigned(size)
        section = -1
        if target is not None:
            section, unit, new_unit = target
        entries = uses.entries.get(section, Starts())
        old_size, new_size = a.unsigned(size), b.unsigned(size)
        unit_end = entries.get(unit + old_size)
        if unit_end is not None and unit_end - new_unit != new_size:
            fields.differ(
                "pubnames",
                place,
                place,
                f"its unit has {unit_end - new_unit:#x} bytes in OUT, not {new_size:#x}",
            )
        elsewhere: list[tuple[int, int, int]] = []
        about = unit, new_unit, size
        while a.position < end and _name(fields, a, b, entries, about, elsewhere):
            pass
        # GCC gives the size of the unit in the .dwo, LLVM that of the skeleton (AsmPrinter,
        # DwarfDebug.cpp, emitDebugPubSection), which tells nothing of the other.
        growth = new_size - old_size if unit_end is None else UNKNOWN
        if unit_end is None:
            elsewhere.append((old_size, new_size, place))
        left = [name for name in elsewhere if not in_split(fields, uses, (section, unit), name)]
        check_elsewhere(fields, "pubnames", sorted(left), growth)
        fields.findings.count("name table")
    fields.equal("pubnames", a.position, b.position, a.done, b.done)


def in_split(
    fields: Fields, uses: Uses, skeleton: tuple[int, int], name: tuple[int, int, int]
) -> bool:
    """Whether a name is of the split unit that belongs to a skeleton, which is then compared.

    `skeleton`: its section and offset in IN; `name`: an offset in the split unit in IN and in OUT,
    and the place in the section.
    """
    offset, new_offset, place = name
    expected = uses.split_entry(*skeleton, offset)
    if expected is not None and expected != new_offset:
        text = f"names the entry at {offset:#x}, so at {expected:#x} in OUT, but {new_offset:#x}"
        fields.differ("pubnames", place, place, text)
    return expected is not None


def check_elsewhere(
    fields: Fields, rule: str, names: list[tuple[int, int, int]], growth: int
) -> None:
    """The entries of a .dwo, which is not looked at, are further apart there by no more than it
    has grown by; `names` are offsets in IN and OUT, and places in the section.
    """
    least = 0
    for offset, new_offset, place in names:
        if not least <= new_offset - offset <= max(growth, 0):
            text = f"names the entry at {offset:#x} in IN, but {new_offset:#x} in OUT"
            fields.differ(rule, place, place, text)
        else:
            least = new_offset - offset


def _name(
    fields: Fields,
    a: Reader,
    b: Reader,
    entries: Starts,
    about: tuple[int, int, int],
    elsewhere: list[tuple[int, int, int]],
) -> bool:
    """One name and the entry that it is of; False at the end of a unit's names.

    `about`: where the unit is in IN and OUT, bytes of an offset. A skeleton unit's names are those
    of entries of its .dwo; their offsets and their place here are added to `elsewhere`.
    """
    place = a.position
    unit, new_unit, size = about
    offset, new_offset = a.unsigned(size), b.unsigned(size)
    if offset == 0:
        return fields.equal("pubnames", place, place, 0, new_offset) and False
    expected = entries.get(unit + offset)
    if expected is None:
        elsewhere.append((offset, new_offset, place))
    elif expected != new_unit + new_offset:
        text = f"names the entry at {unit + offset:#x} in IN, but {new_unit + new_offset:#x} in OUT"
        fields.differ("pubnames", place, place, text)
    if "gnu_" in fields.name:
        fields.equal("pubnames", place, place, a.unsigned(1), b.unsigned(1))
    fields.equal("pubnames", place, place, a.string(), b.string())
    return True


def check_equal(fields: Fields) -> None:
    """A section whose bytes are equal and whose relocations follow their targets."""
    fields.equal("contents", 0, 0, fields.raw, fields.new_raw)
    for place in fields.old_relocations:
        fields.relocated(place, place)
    fields.findings.count("byte compared", len(fields.raw))


__all__ = [
    "UNKNOWN",
    "check_addresses",
    "check_aranges",
    "check_elsewhere",
    "check_equal",
    "check_pubnames",
    "in_split",
]
