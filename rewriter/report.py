"""What a rewrite did, in the user's terms."""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.options import Insertion, Left, Report, Resized, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nopfix.rewriter.errors import Refusal
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
    old_size = len(obj.data)
    return Report(
        insertions, tables, expanded, resized, old_size, new_size, left(obj, plan, analysis)
    )


def left(obj: elf.Object, plan: Plan, analysis: Analysis) -> list[Left]:
    """What is left as it is though calls in it lack a slot: an item for each reason."""
    units: dict[Refusal, list[int]] = {}
    for number, why in sorted(analysis.unproved.items()):
        units.setdefault(why, []).append(number)
    found = []
    for why, numbers in units.items():
        calls = sum(plan.lacking.get(number, 0) for number in numbers)
        if calls:
            names = [obj.sections[number].name for number in numbers]
            place = why.section or names[0], why.offset or 0
            found.append(Left(*place, why.function, why.found, names, calls))
    return found
