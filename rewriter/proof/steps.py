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
from nopfix.rewriter.power import semantics
from nopfix.rewriter.power.opcodes import find
from nopfix.rewriter.proof.indirect import SUMMED, WALKED, Address, Distance, Indexed
from nopfix.rewriter.proof.reaching import Definition, Slot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nopfix.rewriter.object.program import Place
    from nopfix.rewriter.proof.indirect import Values
    from nopfix.rewriter.proof.reaching import Cell, Node

_MOST_QUESTIONS = 256
_LONGEST_CHAIN = 16
_ANY_NUMBER = frozenset(
    ("srw", "srd", "sraw", "srad", "srawi", "sradi", "xor", "or", "rlwimi", "rldimi")
    + ("divw", "divwu", "divd", "divdu", "modsw", "moduw", "modsd", "modud")
    + ("cntlzw", "cntlzd", "cnttzw", "cnttzd", "popcntb", "popcntw", "popcntd")
)
"""Instructions that may give any number, unless it is a product that they compute with."""
_KEEPING = ("copy", "extend", "scale")
"""Kinds of operations that keep low bits as they are, or shift them."""

Sum = dict["Node | None", int]
"""A factor for each value that isn't followed; the number that is added, for None."""


def steps(slices: Values, register: int, place: Place) -> int | None:
    """By how many bytes what ``register`` holds at ``place`` may differ at least; None if unknown.

    It may then be any multiple of that, as far as the code tells.
    """
    sums = Sums(slices)
    found = sums.of(register, place) or {}
    step = _factor(found)
    number = 0 if register == SUMMED else found.get(None, 0)
    return None if not step or number % step or sums.leaves_gaps(found, step) else step


def _factor(found: Sum) -> int:
    return gcd(*(factor for value, factor in found.items() if value is not None))


class Sums:
    """Takes values apart into sums of products."""

    def __init__(self, slices: Values) -> None:
        """Nothing is asked yet."""
        self._slices = slices
        self._asked = 0
        self._active: set[Node] = set()
        self._largest: dict[Node, int] = {}

    def leaves_gaps(self, found: Sum, step: int) -> bool:
        """Whether a few low bits times a factor don't reach up to the next larger factor.

        Two of the three members of a struct, for one.
        """
        reached = 0
        for value, signed in sorted(found.items(), key=lambda term: abs(term[1])):
            factor = abs(signed)
            if value is None or not factor:
                continue
            most = self._largest.get(value)
            if factor > reached + step and (reached or most is not None):
                return True
            if most is None:
                return False
            reached += factor * most
        return False

    def factor(self, node: Node) -> int | None:
        """The greatest number of which what ``node`` makes is a multiple, but for what is added.

        0 for a number; None where it isn't known.
        """
        if isinstance(node, Definition):
            found = self._made(node)
        else:
            found = None if node.place[0] < 0 else self._of(node.cell, node.place)
        return None if found is None else _factor(found)

    def of(self, register: int, place: Place) -> Sum | None:
        """What ``register`` at ``place`` is the sum of; None where that isn't known.

        Of what is `SUMMED` the number says nothing: it's part of the address that is the base.
        """
        if register == SUMMED:
            return self._summed(place)
        if register == WALKED:
            return None
        return {} if register < 0 else self._of(register, place)

    def _summed(self, place: Place) -> Sum | None:
        """What the instruction at ``place`` adds to an address, whichever operand that is in."""
        word = self._slices.words[place[0]][place[1] >> 2]
        operation = semantics.operation(word)
        if operation.kind not in ("add", "load") or operation.other < 0:
            return None
        one, two = (self._offset(part, place) for part in (operation.source, operation.other))
        if one is None or two is None or not self._may_be_added(operation, one, two, place):
            return None
        return _added(one, two, 1)

    def _offset(self, register: int, place: Place) -> Sum | None:
        """What is added to an address in ``register``, or all of it where it is none."""
        values = list(self._slices.values(register, place)) if register >= 0 else []
        if not any(isinstance(value, (Address, Indexed, Distance)) for value in values):
            return self.of(register, place)
        value = values[0]
        if len(values) == 1 and isinstance(value, (Indexed, Distance)):
            return self.of(value.register, value.place)
        return {} if len(values) == 1 else None

    def at(self, cell: Cell, place: Place) -> Node:
        """What gave ``cell`` what it holds at ``place``."""
        reaching = self._slices.reaching
        return reaching.single(cell, place) or reaching.at(cell, place)

    def _of(self, cell: Cell, place: Place) -> Sum | None:
        self._asked += 1
        if self._asked > _MOST_QUESTIONS:
            return None
        node = self.at(cell, place)
        if node in self._active:
            return {node: 1}
        self._active.add(node)
        try:
            if isinstance(node, Definition):
                return self._made(node)
            several = self._slices.reaching.definitions(cell, place)
            if not several:  # No way that leads there is known yet.
                return {node: 1}
            return self._any_of(node, map(self._made, several))
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
            if factors and _factor(found) != 1:
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
            return self._stored(definition, cell, place)
        if semantics.is_call(word):
            return {definition: 1}
        operation = semantics.operation(word)
        if operation.kind == "opaque":
            row = find(word)
            is_any = row is not None and row.mnemonic in _ANY_NUMBER
            return {definition: 1} if is_any and not self._hides_steps(word, place) else None
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
            word = self._slices.words[place[0]][place[1] >> 2]
            is_hidden = self._hides_steps(word, place)
            return None if is_hidden else self._field(definition, operation.limit)
        source = self.of(operation.source, place)
        if source is None:
            return None
        if kind == "extend":
            limit = (1 << operation.size) - 1
            return source if operation.size == 32 else self._low_bits(definition, limit, source)
        if kind == "scale":
            return self._scaled(definition, operation, source)
        if kind == "multiply":
            return {value: factor * number for value, factor in source.items()}
        if operation.other < 0:  # a copy, or a sum with a number
            return {**source, None: source.get(None, 0) + number}
        other = self.of(operation.other, place)
        if kind == "select":
            return self._any_of(definition, (source, other))
        if other is None or not self._may_be_added(operation, source, other, place):
            return None
        return _added(source, other, -1 if kind == "subtract" else 1)

    def _hides_steps(self, word: int, place: Place) -> bool:
        """Whether ``word`` computes with a product, of which a part may go in steps as well."""
        read = semantics.read(word)
        return any(
            read >> register & 1 and self._is_product(register, place) for register in range(34)
        )

    def _is_product(self, cell: Cell, place: Place) -> bool:
        """Whether a product with a number is all that ``cell`` may hold, however it came there."""
        for _ in range(_LONGEST_CHAIN):
            node = self.at(cell, place)
            if not isinstance(node, Definition) or node.place is None:
                return False
            place = node.place
            word = self._slices.words[place[0]][place[1] >> 2]
            if not isinstance(node.cell, int):
                store = self.covering(node.cell, place)
                if store is None:
                    return False
                cell = store.source
                continue
            operation = semantics.operation(word)
            if operation.kind == "multiply" or (operation.kind == "scale" and operation.immediate):
                return True
            slot = self.slot(operation, place) if operation.kind == "load" else None
            if slot is None and (operation.kind not in _KEEPING or operation.source < 0):
                return False
            cell = operation.source if slot is None else slot
        return False

    def _may_be_added(
        self, operation: semantics.Operation, source: Sum, other: Sum, place: Place
    ) -> bool:
        """Whether what two sums are made of is the same, or has nothing to do with each other.

        One definition that is the only one to reach two places gave both what they hold.
        """
        of_source, of_other = source.keys() - {None}, other.keys() - {None}
        return of_source == of_other or self._origins(operation.source, place).isdisjoint(
            self._origins(operation.other, place)
        )

    def _loaded(
        self, definition: Definition, load: semantics.Operation, place: Place
    ) -> Sum | None:
        """What was stored where a spilled value is reloaded; from elsewhere, any number."""
        slot = self.slot(load, place)
        if slot is None:
            return {definition: 1}
        found = self._of(slot, place)
        if found is None or (load.size >= 4 and not self._slices.reaching.stack_escapes()):
            return found
        # The low bits of it, or what others may have stored there.
        return self._any_of(definition, (found,))

    def slot(self, load: semantics.Operation, place: Place) -> Slot | None:
        """The slot of the stack that is loaded."""
        if load.other >= 0 or not self._slices.reaching.is_frame(load.source, place):
            return None
        return Slot(load.source, load.immediate, load.size)

    def _stored(self, definition: Definition, slot: Slot, place: Place) -> Sum | None:
        """What is stored into a slot; of one that nobody is seen to store into, any number."""
        store = self.covering(slot, place)
        if store is None:
            return {definition: 1}
        found = self._of(store.source, place)
        return found if store.size == slot.size else self._any_of(definition, (found,))

    def covering(self, slot: Slot, place: Place) -> semantics.Store | None:
        """The store at ``place`` if it fills all of ``slot``, with a register's low bits."""
        word = self._slices.words[place[0]][place[1] >> 2]
        store = semantics.store(word)
        if store is None or store.other >= 0 or semantics.written(word) >> slot.base & 1:
            return None
        same = (store.base, store.displacement) == (slot.base, slot.displacement)
        return store if same and store.source >= 0 and store.size >= slot.size else None

    def _origins(self, register: int, place: Place) -> set[Node]:
        """What comes from memory, a call or several ways, of what ``register`` is made of."""
        found: set[Node] = set()
        seen: set[Node] = set()
        pending: list[tuple[Cell, Place]] = [(register, place)]
        while pending:
            cell, at = pending.pop()
            node = self.at(cell, at)
            if node not in seen:
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
            store = self.covering(cell, place)
            return [] if store is None else [(store.source, place)]
        operation = semantics.operation(word)
        if operation.kind == "load":
            slot = self.slot(operation, place)
            return [] if slot is None else [(slot, place)]
        read = semantics.read(word)
        return [(other, place) for other in range(34) if read >> other & 1]

    def _field(self, value: Node, limit: int) -> Sum | None:
        """Some bits of what isn't followed: numbers up to ``limit`` in steps of its lowest bit."""
        step = limit & -limit
        if limit <= 0 or (limit // step + 1) & limit // step:
            return None
        self._largest[value] = limit // step
        return {value: step}

    def _scaled(self, value: Node, operation: semantics.Operation, source: Sum) -> Sum | None:
        """``source`` times a power of 2, or as many of its low bits as are left over."""
        factor = 1 << operation.immediate
        if operation.limit < 0 or operation.limit.bit_length() >= 32:
            return {one: factor * own for one, own in source.items()}
        return self._low_bits(value, operation.limit, source)

    def _low_bits(self, value: Node, limit: int, source: Sum) -> Sum | None:
        """Some low bits of ``source``: any number, unless that one goes in steps.

        Odd steps that are larger than what is left over are those of a hash, and leave nothing out.
        """
        step = _factor(source)
        is_hash = step & 1 and step > limit
        if step != 1 and (not is_hash or not self._largest.keys().isdisjoint(source)):
            return None
        return self._field(value, limit)


def _added(one: Sum, two: Sum, sign: int) -> Sum:
    """``one`` and ``sign`` times ``two``."""
    return {
        value: one.get(value, 0) + sign * two.get(value, 0) for value in one.keys() | two.keys()
    }
