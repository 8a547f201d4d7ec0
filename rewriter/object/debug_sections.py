"""Unwind and debug sections as `dwarf` wants them.

The problem: `dwarf` knows sections as bytes with resolved relocations in ascending order, the
object knows them as ELF has them: compressed perhaps, with relocations in file order.

Source: gABI 4 (SHF_COMPRESSED); LSB Core, 10.6 (.eh_frame); DWARF 5, 7.1.
"""

from __future__ import annotations

from nopfix.dwarf.errors import Unsupported
from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.dwarf.section import Relocations, Section
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object import elf

if TYPE_CHECKING:
    from nopfix.dwarf import lsda

_REMEDY = "report it with the object"
_DROPPED = "or drop it with --strip-unknown-debug"


def view(obj: elf.Object, section: elf.Section) -> Section:
    """The section as `dwarf` wants it: decompressed, relocations sorted by place."""
    data = bytes(obj.contents(section.number))
    if section.is_compressed:
        from nopfix.rewriter.object import compressed

        data = compressed.decompress(section, data)
    relocations = relocations_of(obj, section.number)
    return Section(section.number, section.plain_name, data, relocations)


def relocations_of(obj: elf.Object, section: int) -> Relocations:
    """The relocations of section ``section`` in ascending order of place."""
    found = obj.relocations.get(section)
    if found is None:
        return Relocations()
    places, symbols, addends = found.places, found.symbols, found.addends
    if sorted(places) != list(places):
        order = sorted(range(len(places)), key=places.__getitem__)
        return Relocations(
            [places[i] for i in order],
            [symbols[i] for i in order],
            [addends[i] for i in order],
            obj.symbols.sections,
            obj.symbols.values,
        )
    return Relocations(places, symbols, addends, obj.symbols.sections, obj.symbols.values)


def debug(obj: elf.Object) -> list[Section]:
    """The debug sections of an object or a .dwo file but .debug_frame, as `dwarf` wants them."""
    return [
        view(obj, section)
        for section in obj.sections
        if (name := section.plain_name).startswith(".debug_")
        and name != ".debug_frame"
        and section.type == elf.SHT_PROGBITS
        and section.size
    ]


def landing_pads(obj: elf.Object) -> list[lsda.CallSite]:
    """Every call site of the object's exception tables that has a landing pad.

    Raises `Refusal` for tables that aren't understood.
    """
    tables = [s for s in obj.sections if s.name.startswith(".gcc_except_table") and s.size]
    if not tables:
        return []
    from nopfix.dwarf import frame
    from nopfix.dwarf.lsda import landing_pads as read

    try:
        users = [
            user
            for section in obj.sections
            if section.name == ".eh_frame" and section.size
            for user in frame.call_site_tables(view(obj, section))
        ]
        return [site for table in tables for site in read(view(obj, table), users)]
    except Unsupported as error:
        raise refusal(error) from error


def refusal(error: Unsupported) -> Refusal:
    """What `dwarf` doesn't understand, as an error of the rewriter's."""
    return Refusal(
        error.found,
        section=error.section,
        offset=error.offset,
        remedy=error.remedy or _remedy(error.section),
    )


def _remedy(section: str) -> str:
    return f"{_REMEDY}, {_DROPPED}" if section.startswith(".debug_") else _REMEDY
