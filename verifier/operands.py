"""What the expressions of IN and OUT point at: addresses, indices, entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nopfix.verifier import expressions
from nopfix.verifier.pairing import START
from nopfix.verifier.uses import Reference, Unit, Uses, indexed_address

if TYPE_CHECKING:
    from nopfix.verifier.fields import Block, Fields


def compare_expressions(
    fields: Fields, uses: Uses, a: Block, b: Block, unit: Unit
) -> list[Reference]:
    """Compare an expression of IN with OUT's; returns its references to entries of the unit's
    section.  Raises Malformed.
    """
    fields.block(a, b)
    before = expressions.parse(a.data, unit.shape)
    if a.data == b.data and not before.operands:
        return []
    after = expressions.parse(b.data, unit.shape)
    kinds, new_kinds = ([operand.kind for operand in e.operands] for e in (before, after))
    if before.constant != after.constant or kinds != new_kinds:
        text = f"{a.data.hex(' ')} became {b.data.hex(' ')}"
        fields.differ("expression", a.place, b.place, text)
        return []
    references = []
    for x, y in zip(before.operands, after.operands, strict=True):
        at, new_at = a.place + x.offset, b.place + y.offset
        if x.kind == expressions.UNIT_DIE and (x.value or y.value):
            references.append(Reference(at, new_at, unit.old + x.value, unit.new + y.value))
        elif x.kind == expressions.SECTION_DIE and at not in fields.old_relocations:
            references.append(Reference(at, new_at, x.value, y.value))
        elif x.kind == expressions.INDEX:
            indexed_address(fields, uses, unit, (x.value, y.value), at, START)
        elif at not in fields.old_relocations:
            fields.equal("expression", at, new_at, x.value, y.value)
    return references
