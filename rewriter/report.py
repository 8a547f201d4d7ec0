"""What a rewrite did, in the user's terms."""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.options import Insertion, Report, Resized, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nopfix.rewriter.layout.layout import Layout
    from nopfix.rewriter.layout.plan import Plan
    from nopfix.rewriter.object import elf
    from nopfix.rewriter.proof.analysis import Analysis


def make(
    obj: elf.Object,
    plan: Plan,
    analysis: Analysis,
    layouts: Mapping[int, Layout],
    contents: Mapping[int, bytes | bytearray | memoryview],
    new_size: int,
) -> Report:
    """The report of one object's rewrite; ``contents`` are its sections that changed."""
    insertions = []
    for number, offsets in plan.slots.items():
        name = obj.sections[number].name
        moved = layouts[number].map
        for offset in sorted(offsets):
            site = plan.sites.get((number, offset))
            caller, callee = (site.function, site.callee) if site else (None, None)
            insertions.append(Insertion(name, offset, moved.before(offset), caller, callee))
    tables = []
    for number, found in layouts.items():
        for region in analysis.regions.get(number, ()):
            start, size = region.start, region.end - region.start
            new = found.map.start(start)
            tables.append(Table(region.kind, obj.sections[number].name, start, new, size))
    expanded = [
        (obj.sections[number].name, branch.place)
        for number, found in layouts.items()
        for branch in found.expanded
    ]
    resized = [
        Resized(obj.sections[number].name, obj.sections[number].size, len(data))
        for number, data in sorted(contents.items())
        if obj.sections[number].size != len(data)
    ]
    return Report(insertions, tables, expanded, resized, len(obj.data), new_size)
