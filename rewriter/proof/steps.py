"""In what steps the index of a table goes: every how many bytes an entry may be read.

The problem: a table of label differences may have other numbers in between, members of a struct or
operands of an interpreter.  Small multiples of 4 lead to an instruction as well as a difference
does, so the table itself doesn't tell which is which; how the code computes the index does.

The rule: an index is a number plus products of what isn't followed any further (an argument, a
load, a result) with numbers.  Of what isn't followed nothing is known, so it may be any number, and
the steps are the greatest common divisor of the factors.  That is certain only where nothing hides
a factor: where the number added is no multiple of the steps, one value comes in twice, or an
instruction computes what isn't one of these products, nothing is said.

Source: GNU C's manual, "Labels as Values".
"""

from __future__ import annotations

from math import gcd

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.power import instruction, semantics
from nopfix.rewriter.power.opcodes import find
from nopfix.rewriter.proof.reaching import Definition, Slot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nopfix.rewriter.object.program import Place
    from nopfix.rewriter.proof.indirect import Values
    from nopfix.rewriter.proof.reaching import Cell, Node

_MOST_QUESTIONS = 256
_LONGEST_CHAIN = 8
_ANY_NUMBER = frozenset(
    ("srw", "srd", "sraw", "srad", "srawi", "sradi", "xor", "or", "rlwimi", "rldimi")
    + ("divw", "divwu", "divd", "divdu", "modsw", "moduw", "modsd", "modud")
    + ("cntlzw", "cntlzd", "cnttzw", "cnttzd", "popcntb", "popcntw", "popcntd")
)
"""Instructions that may give any number, whatever their operands are multiples of."""

Sum = dict["Node | None", int]
"""A factor for each value that isn't followed; the number that is added, for None."""


def steps(slices: Values, register: int, place: Place) -> int | None:
    """By how many bytes what ``register`` holds at ``place`` may differ at least; None if unknown.

    It may then be any multiple of that, as far as the code tells.
    """
    found = _Sums(slices).of(register, place)
    factors = [factor for value, factor in (found or {}).items() if value is not None]
    step = gcd(*factors)
    if found is None or not step or found.get(None, 0) % step:
        return None
    return step


class _Sums:
    """Takes values apart into sums of products."""

    def __init__(self, slices: Values) -> None:
        self._slices = slices
        self._asked = 0
        self._active: set[Node] = set()

    def of(self, register: int, place: Place) -> Sum | None:
        """What ``register`` at ``place`` is the sum of; None where that isn't known."""
        return {} if register < 0 else self._of(register, place)

    def _of(self, cell: Cell, place: Place) -> Sum | None:
        self._asked += 1
        if self._asked > _MOST_QUESTIONS:
            return None
        reaching = self._slices.reaching
        node = reaching.single(cell, place) or reaching.at(cell, place)
        if node in self._active:
            return {node: 1}
        self._active.add(node)
        try:
            if isinstance(node, Definition):
                return self._made(node)
            return self._any_of(node, map(self._made, reaching.definitions(cell, place)))
        finally:
            self._active.discard(node)

    @staticmethod
    def _any_of(node: Node, several: Iterable[Sum | None]) -> Sum | None:
        """A value that is one of ``several``: any number, if nothing keeps one of them to steps."""
        is_any = False
        for found in several:
            if found is None:
                return None
            factors = [factor for value, factor in found.items() if value is not None]
            if factors and gcd(*factors) != 1:
                return None
            number = found.get(None, 0)
            if factors and set(found) <= {node, None}:
                # What goes round a loop goes in steps of what is added.
                if number not in (0, 1, -1):
                    return None
                is_any = is_any or bool(number)
            else:
                is_any = is_any or bool(factors)
        return {node: 1} if is_any else None

    def _made(self, definition: Definition) -> Sum | None:
        """What the instruction at ``definition`` leaves in its cell."""
        place, cell = definition
        if place is None:
            return {definition: 1}
        word = self._slices.words[place[0]][place[1] >> 2]
        if not isinstance(cell, int):
            # What others may have stored into a variable is any number.
            plain = self._slices.reaching.is_plain_store(cell, place)
            return self._of(word >> 21 & 31, place) if plain else {definition: 1}
        if instruction.is_prefix(word):
            return None
        if semantics.is_call(word):
            return {definition: 1}
        operation = semantics.operation(word)
        if operation.kind == "opaque":
            row = find(word)
            return {definition: 1} if row and row.mnemonic in _ANY_NUMBER else None
        if operation.target != cell:
            return None
        if self._slices.facts.relocated(place) is not None:
            return {definition: 1} if operation.kind == "load" else None
        return self._computed(definition, operation, place)

    def _computed(
        self, definition: Definition, operation: semantics.Operation, place: Place
    ) -> Sum | None:
        kind, number = operation.kind, operation.immediate
        if kind == "load":
            return self._loaded(definition, operation, place)
        if kind == "scale" and operation.source < 0:
            return _field(definition, operation.limit)
        source = self.of(operation.source, place)
        if source is None or kind == "copy":
            return source
        if kind == "extend":
            return source if operation.size == 32 else _low_bits(definition, 1, source)
        if kind == "scale":
            return _scaled(definition, operation, source)
        if kind == "multiply":
            return {value: factor * number for value, factor in source.items()}
        if kind == "add" and operation.other < 0:
            return {**source, None: source.get(None, 0) + number}
        other = self.of(operation.other, place)
        if kind == "select":
            return self._any_of(definition, (source, other))
        if other is None or not self._may_be_added(operation, source, other, place):
            return None
        sign = -1 if kind == "subtract" else 1
        return {
            value: source.get(value, 0) + sign * other.get(value, 0)
            for value in source.keys() | other.keys()
        }

    def _may_be_added(
        self, operation: semantics.Operation, source: Sum, other: Sum, place: Place
    ) -> bool:
        """Whether two sums have nothing to do with each other, or one is a product of the other."""
        one, two = operation.source, operation.other
        if source.keys() == other.keys():
            if self._is_product(one, two, place) or self._is_product(two, one, place):
                return True
        elif not source.keys() - {None} or not other.keys() - {None}:
            return True
        return self._origins(one, place).isdisjoint(self._origins(two, place))

    def _is_product(self, register: int, factor: int, place: Place) -> bool:
        """Whether ``register`` was made of what ``factor`` holds at ``place``, just in front."""
        graph, reaching = self._slices.graph, self._slices.reaching
        block = graph.block_at(place)
        wanted = reaching.single(factor, place) or reaching.at(factor, place)
        at = place
        for _ in range(_LONGEST_CHAIN):
            node = reaching.single(register, at) or reaching.at(register, at)
            if node == wanted:
                # Made behind the place that reads it, it was another one there.
                made = wanted.place
                return made is None or graph.block_at(made) != block or made < at
            if not isinstance(node, Definition) or node.place is None or node.place >= at:
                return False
            operation = semantics.operation(self._slices.words[node.place[0]][node.place[1] >> 2])
            if graph.block_at(node.place) != block or operation.source < 0:
                return False
            register, at = operation.source, node.place
        return False

    def _loaded(
        self, definition: Definition, load: semantics.Operation, place: Place
    ) -> Sum | None:
        """What was stored where a spilled value is reloaded; from elsewhere, any number."""
        is_spilled = load.other < 0 and load.size in (4, 8)
        if is_spilled and self._slices.reaching.is_frame(load.source, place):
            found = self._of(Slot(load.source, load.immediate, load.size), place)
            if not self._slices.reaching.stack_escapes():
                return found
            return self._any_of(definition, (found,))
        return {definition: 1}

    def _origins(self, register: int, place: Place) -> set[Node]:
        """What comes from memory, a call or another way, and what ``register`` is made of."""
        reaching = self._slices.reaching
        found: set[Node] = set()
        seen: set[Node] = set()
        pending: list[tuple[Cell, Place]] = [(register, place)]
        while pending:
            cell, at = pending.pop()
            node = reaching.single(cell, at) or reaching.at(cell, at)
            if node in seen or cell == -1:
                continue
            seen.add(node)
            made = self._operands(node)
            pending += made
            if not made:
                found.add(node)
        return found

    def _operands(self, node: Node) -> list[tuple[Cell, Place]]:
        """What the instruction at a definition computes with; nothing for what isn't computed."""
        if not isinstance(node, Definition) or node.place is None:
            return []
        place, cell = node.place, node.cell
        word = self._slices.words[place[0]][place[1] >> 2]
        if not isinstance(cell, int):
            plain = self._slices.reaching.is_plain_store(cell, place)
            return [(word >> 21 & 31, place)] if plain else []
        operation = semantics.operation(word)
        if operation.kind == "load":
            is_slot = operation.other < 0 and operation.size in (4, 8)
            if is_slot and self._slices.reaching.is_frame(operation.source, place):
                return [(Slot(operation.source, operation.immediate, operation.size), place)]
            return []
        if semantics.is_call(word):
            return []
        read = semantics.read(word)
        return [(other, place) for other in range(34) if read >> other & 1]


def _field(value: Node, limit: int) -> Sum | None:
    """Some bits of what isn't followed: the numbers up to ``limit`` in steps of its lowest bit."""
    step = limit & -limit
    return {value: step} if limit > 0 and not (limit // step + 1) & limit // step else None


def _scaled(value: Node, operation: semantics.Operation, source: Sum) -> Sum | None:
    """``source`` times a power of 2, or as many of its low bits as are left over."""
    factor = 1 << operation.immediate
    if operation.limit < 0 or operation.limit.bit_length() >= 32:
        return {one: factor * own for one, own in source.items()}
    return _low_bits(value, operation.limit, source)


def _low_bits(value: Node, limit: int, source: Sum) -> Sum | None:
    """Some low bits of ``source``: any number, unless that one goes in steps."""
    factors = [factor for one, factor in source.items() if one is not None]
    return _field(value, limit) if gcd(*factors) == 1 else None
