"""Pointers that go through an array in a loop: where they begin, and in what steps they go.

The problem: an interpreter's program may be a constant array of label differences, and its jumps
take the next one: ``goto *(base + *p++)``.  What ``p`` holds is computed from itself, so following
it never ends.

The rule: who makes a pointer from itself by nothing but copies and sums with numbers lies on a
circle.  What comes into the circle are the addresses that it begins at, and whatever the way round,
it differs from one of them by a multiple of the greatest common divisor of all that is added on it.

Source: Tarjan, Depth-First Search and Linear Graph Algorithms (1972): a circle is what a node
depends on and what depends on it.
"""

from __future__ import annotations

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.power import instruction, semantics
from nopfix.rewriter.proof.reaching import Definition, Join, Slot

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Mapping, Sequence

    from nopfix.rewriter.proof.indirect import Value, Values
    from nopfix.rewriter.proof.reaching import Node

_MOST_NODES = 1 << 14


class Walk(Record):
    """A circle: who adds to the pointer on it, and what is added, on the circle and on the way in.

    For each addition: the values that come in, each with what is added to it on the shortest way to
    behind that addition.
    """

    additions: Mapping[Definition, Collection[tuple[Value, int]]]
    strides: frozenset[int]


class _Passed(Record):
    """Where a definition has its value from, and what it adds to that."""

    sources: Sequence[Node]
    stride: int


def is_addition(slices: Values, node: Node) -> bool:
    """Whether ``node`` adds a number to something."""
    own = _passed(slices, node) if isinstance(node, Definition) else None
    return own is not None and own.stride != 0


def find(slices: Values, node: Node, given_up: Container[Node]) -> Walk | None:
    """The circle that ``node``, an addition, is on; None where there is none, or not such a one.

    Who leads to one of ``given_up`` is on no such circle.
    """
    users: dict[Node, list[Node]] = {node: []}
    additions: dict[Definition, int] = {}
    entering: dict[Definition, frozenset[Value]] = {}
    pending: list[Node] = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, Join):
            sources = slices.reaching.operands(current)
        else:
            passed = _passed(slices, current)
            if passed is None:
                entering[current] = slices.made(current)
                continue
            sources = passed.sources
            if passed.stride:
                additions[current] = passed.stride
        for source in sources:
            if source in given_up or len(users) > _MOST_NODES:
                return None
            if source not in users:
                users[source] = []
                pending.append(source)
            users[source].append(current)
    circle = _depending(node, users)
    if node not in circle:
        return None
    found: dict[Definition, set[tuple[Value, int]]] = {
        one: set() for one in additions if one in circle
    }
    for begin, values in entering.items():
        behind = _shortest(begin, users, additions)
        for addition, first in found.items():
            if addition in behind:
                first.update((value, behind[addition]) for value in values)
    # What is added on the way in is taken for a step as well: there may be more of them, not fewer.
    return Walk(found, frozenset(additions.values()))


def _shortest(
    begin: Node, users: Mapping[Node, Sequence[Node]], additions: Mapping[Definition, int]
) -> dict[Node, int]:
    """What is added to ``begin`` up to behind each node, on the way with the fewest additions."""
    found: dict[Node, int] = {begin: 0}
    near = [begin]
    while near:
        far: list[Node] = []
        while near:
            node = near.pop()
            for user in users[node]:
                if user in found:
                    continue
                stride = additions.get(user, 0) if isinstance(user, Definition) else 0
                found[user] = found[node] + stride
                (far if stride else near).append(user)
        near = far
    return found


def _depending(node: Node, users: Mapping[Node, Sequence[Node]]) -> set[Node]:
    """What depends on ``node``, itself included where it's computed from itself."""
    found: set[Node] = set()
    pending = list(users[node])
    while pending:
        current = pending.pop()
        if current not in found:
            found.add(current)
            pending += users[current]
    return found


def _passed(slices: Values, definition: Definition) -> _Passed | None:
    """What ``definition`` passes on, with a number added to it; None where it does something else.

    A slot of the stack passes on what is stored there, unless others may store into it as well.
    """
    place, cell = definition
    if place is None or slices.facts.relocated(place) is not None:
        return None
    reaching = slices.reaching
    word = slices.words[place[0]][place[1] >> 2]
    if not isinstance(cell, int):
        if cell.size != 8 or reaching.stack_escapes() or not reaching.is_plain_store(cell, place):
            return None
        return _Passed((reaching.at(word >> 21 & 31, place),), 0)
    if instruction.is_prefix(word) or semantics.is_call(word):
        return None
    operation = semantics.operation(word)
    if operation.target != cell:
        updated = semantics.updated(word)
        if updated is None:
            return None
        operation = updated
    if operation.kind == "load":
        slot = Slot(operation.source, operation.immediate, operation.size)
        is_slot = operation.other < 0 and operation.size == 8
        if not is_slot or not reaching.is_frame(operation.source, place):
            return None
        return _Passed((reaching.at(slot, place),), 0)
    if operation.source < 0:
        return None
    if operation.kind == "select":
        return _Passed([reaching.at(of, place) for of in (operation.source, operation.other)], 0)
    if operation.kind not in ("copy", "add") or operation.other >= 0:
        return None
    return _Passed((reaching.at(operation.source, place),), operation.immediate)
