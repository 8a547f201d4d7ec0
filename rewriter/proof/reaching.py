"""Which instruction made what a register or a stack slot holds, on every path.

The problem: to show where a jump leads its registers are followed to the instructions that made
them, and from there to others.  In an interpreter each of a thousand labels may be entered from
each of a thousand jumps; whoever walks from one to the other for every question is never done.

The rule: what a *cell* (a register, or a slot of the stack) holds at a place is made by one
instruction, its definition, or it is a *join*: the start of a block that several ways lead to.  A
join's operands are what the cell holds at the end of each of these ways.  All ways in that have no
edge of their own go through two joins that all of them share: what is held where labels are entered
from, and every definition in the function for what may be entered from anywhere.  So for each cell
there are as many operands as the function has edges, and each is found once, when it is asked for.

A slot is at most eight bytes at a displacement from r1 or from the frame pointer.  Compilers keep
registers that they spill in slots whose address nobody takes.  A slot may be a variable of the
program all the same; what others store there is asked for where that matters (`Slot.others`).

Source: static single assignment form, with joins where more than one way leads, found on demand:
Braun and others, Simple and Efficient Construction of SSA Form (2013); 64-bit ELFv2 ABI, 2.2.3.
"""

from __future__ import annotations

from bisect import bisect_left

from nopfix.dwarf.record import TYPE_CHECKING, Record
from nopfix.rewriter.power import instruction, semantics

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from nopfix.rewriter.object.program import Place
    from nopfix.rewriter.proof.control_flow import Block, Graph


class Slot(Record):
    """At most 8 bytes, ``size``, of the stack at ``displacement`` from ``base``, r1 or r31.

    With ``others`` whatever may store anywhere counts as a definition: calls, other stores.
    """

    base: int
    displacement: int
    size: int
    others: bool = False


Cell = int | Slot
"""A register as in `semantics`, or a stack slot."""


class Definition(Record):
    """Where a cell got its value: an instruction, or (place None) the function's entry."""

    place: Place | None
    cell: Cell


class Join(Record):
    """Where ways meet on which a cell holds different things: the start of a block.

    Some places stand for more than one block: `FROM_SOURCES`, `FROM_ANYWHERE`, and those of fans
    (see `control_flow.Graph`), whose section is `_FAN`.  ``is_join`` tells it from the definition
    that the first instruction of the block may be: records are tuples, equal by their elements.
    """

    place: Place
    cell: Cell
    is_join: bool = True


Node = Definition | Join

FROM_SOURCES = (-1, 0)
"""The place of the join of all places that labels are entered from."""
FROM_ANYWHERE = (-1, 1)
"""The place of the join of all definitions of the function."""
_FAN = -2


class Stores(Record):
    """What the instructions of a block do to the stack: offsets, ascending.

    ``by_granule`` are stores relative to r1 and r31, by the eight bytes that they touch, ``moves``
    what writes these two registers, prefixed instructions that do either, and calls of what is no
    function; ``others`` what may store anywhere: other calls, stores through other registers.
    ``escapes`` are those of the two registers, as bits, that addresses are made from.
    """

    by_granule: Mapping[int, Sequence[int]]
    moves: Sequence[int]
    others: Sequence[int]
    escapes: int


class Blocks:
    """What blocks do to registers and to the stack, whatever graph they are in."""

    def __init__(self, sparing: Container[Place], is_unruled: Callable[[Place], bool]) -> None:
        """Nothing is known yet.

        ``sparing`` are the places of calls that keep r0; ``is_unruled`` tells of those of what is
        no function, and keeps no rule of the ABI's.
        """
        self._sparing = sparing
        self._is_unruled = is_unruled
        self._written: dict[int, int] = {}
        self._writes: dict[Block, dict[int, list[int]]] = {}
        self._stores: dict[Block, Stores] = {}

    def writes(
        self, block: Block, words: Sequence[int], suffixes: set[Place]
    ) -> Mapping[int, Sequence[int]]:
        """The offsets of the instructions of ``block`` that may write each register, ascending."""
        found = self._writes.get(block)
        if found is None:
            found = self._writes[block] = {}
            for offset, mask in self._masks(block, words, suffixes):
                while mask:
                    low = mask & -mask
                    found.setdefault(low.bit_length() - 1, []).append(offset)
                    mask ^= low
        return found

    def _masks(
        self, block: Block, words: Sequence[int], suffixes: set[Place]
    ) -> Iterable[tuple[int, int]]:
        """Each instruction's offset and the registers that it may write."""
        known = self._written
        section, start, end = block
        for offset in range(start, end, 4):
            word = words[offset >> 2]
            if suffixes and (section, offset) in suffixes:
                continue
            if suffixes and (section, offset + 4) in suffixes and offset + 4 < 4 * len(words):
                yield offset, semantics.written_by_prefixed(word, words[(offset >> 2) + 1])
                continue
            mask = known.get(word, -1)
            if mask < 0:
                mask = known[word] = semantics.written(word)
            if mask & 1 and (section, offset) in self._sparing:
                mask &= ~1
            if self.calls_no_function(word, (section, offset)):
                mask = semantics.EVERYTHING
            if mask:
                yield offset, mask

    def calls_no_function(self, word: int, place: Place) -> bool:
        """Whether ``word`` at ``place`` calls what may change any register and any slot."""
        return word & 1 == 1 and word >> 26 in _DIRECT and self._is_unruled(place)

    def stores(self, block: Block, words: Sequence[int], suffixes: set[Place]) -> Stores:
        """What ``block`` does to the stack."""
        found = self._stores.get(block)
        if found is None:
            found = self._stores[block] = self._find_stores(block, words, suffixes)
        return found

    def _find_stores(self, block: Block, words: Sequence[int], suffixes: set[Place]) -> Stores:
        granules: dict[int, list[int]] = {}
        moves = []
        others = []
        escapes = 0
        section, start, end = block
        for offset in range(start, end, 4):
            word = words[offset >> 2]
            if suffixes and (section, offset) in suffixes:
                continue
            if suffixes and (section, offset + 4) in suffixes:
                suffix = words[(offset >> 2) + 1]
                base = semantics.prefixed_store_base(word, suffix)
                if base in _FRAME or semantics.written_by_prefixed(word, suffix) & _FRAME_BITS:
                    moves.append(offset)
                elif base >= 0:
                    others.append(offset)
                if suffix >> 26 == instruction.PADDI:
                    escapes |= 1 << (suffix >> 16 & 31)
                continue
            store = semantics.store(word)
            if store is not None:
                if store.base in _FRAME and store.other < 0:
                    first, last = store.displacement >> 3, store.displacement + store.size - 1 >> 3
                    for granule in range(first, last + 1):
                        granules.setdefault(granule, []).append(offset)
                    if semantics.written(word) & _FRAME_BITS:
                        moves.append(offset)
                else:
                    others.append(offset)
                if store.other >= 0:
                    escapes |= 1 << store.other | 1 << max(store.base, 0)
                continue
            if semantics.written(word) & _FRAME_BITS or self.calls_no_function(
                word, (section, offset)
            ):
                moves.append(offset)
            elif semantics.is_call(word):
                others.append(offset)
            if word != SET_FRAME:
                for base in _FRAME:
                    escapes |= semantics.makes_address(word, base) << base
        return Stores(granules, moves, others, escapes & _FRAME_BITS)


class Reaching:
    """The definitions and joins of one function."""

    def __init__(self, graph: Graph, blocks: Blocks) -> None:
        """Nothing is asked yet."""
        self.graph = graph
        self.words = {fragment.section: fragment.words for fragment in graph.fragments}
        self._blocks = blocks
        self._ways: dict[Block, tuple[list[tuple[Block, int]], list[Place]] | None] = {}
        self._at_start: dict[tuple[Block, Cell], Node] = {}
        self._operands: dict[Join, Sequence[Node]] = {}
        self._definitions: dict[Node, Sequence[Definition]] = {}
        self._single: dict[Node, Definition | None] = {}
        self._everywhere: dict[int, list[Definition]] | None = None
        self._frame_pointer: bool | None = None
        self._escapes: bool | None = None

    # -- nodes ---------------------------------------------------------------------------------

    def at(self, cell: Cell, place: Place) -> Node:
        """What made the value that ``cell`` holds when the instruction at ``place`` begins."""
        return self._before(cell, self.graph.block_at(place), place[1])

    def operands(self, join: Join) -> Sequence[Node]:
        """What the cell of ``join`` holds on each way that leads there; each node once."""
        known = self._operands.get(join)
        if known is None:
            known = self._operands[join] = list(dict.fromkeys(self._find_operands(join)))
        return known

    def _find_operands(self, join: Join) -> Iterable[Node]:
        place, cell, _ = join
        if place == FROM_SOURCES or place[0] == _FAN:
            for at in self.graph.fans[place[1]] if place[0] == _FAN else self.graph.sources:
                block = self.graph.block_at(at)
                if not self.graph.is_dead(block):
                    yield self._before(cell, block, self._left_at(cell, block, at[1]))
            return
        if place == FROM_ANYWHERE:
            yield Definition(None, cell)
            if isinstance(cell, int):
                yield from self._defined_anywhere(cell)
            return
        block = self.graph.block_at(place)
        ways, joins = self._ways_into(block)
        if place in self.graph.roots.entries:
            yield Definition(None, cell)
        for shared in joins:
            yield Join(shared, cell)
        for before, end in ways:
            yield self._before(cell, before, self._left_at(cell, before, end))

    def _left_at(self, cell: Cell, block: Block, end: int) -> int:
        """``end``, or the offset behind the call there, where a block is left in its middle.

        Who is called finds registers as they were in front of the call, but for LR: what that held
        is gone.
        """
        if cell != instruction.LR or end == block.end:
            return end
        word = self.words[block.section][end >> 2]
        return end + 4 if semantics.is_call(word) else end

    def _before(self, cell: Cell, block: Block, end: int) -> Node:
        """What made the value of ``cell`` in ``block`` in front of offset ``end``."""
        passed: list[tuple[Block, Cell]] = []
        seen: set[Block] = set()
        while True:
            offset = self._last(cell, block, end)
            if offset is not None:
                node: Node = Definition((block.section, offset), cell)
                break
            known = self._at_start.get((block, cell))
            if known is not None:
                node = known
                break
            passed.append((block, cell))
            ways, joins = self._ways_into(block)
            place = (block.section, block.start)
            if len(ways) != 1 or joins or place in self.graph.roots.entries or block in seen:
                node = Join(place, cell)
                break
            seen.add(block)
            ((block, end),) = ways
            end = self._left_at(cell, block, end)
        self._at_start.update(dict.fromkeys(passed, node))
        return node

    def _ways_into(self, block: Block) -> tuple[list[tuple[Block, int]], list[Place]]:
        """The ways into ``block``: (block that leads there, offset behind its last instruction).

        And the joins that it shares with others.  A landing pad is entered from calls, with what
        is held in front of them.
        """
        known = self._ways.get(block)
        if known is None:
            graph = self.graph
            ways = {
                (before, self._end_towards(before, block)): None
                for before in graph.predecessors(block)
            }
            for at in graph.calls_into(block):
                source = graph.block_at(at)
                if not graph.is_dead(source):
                    ways[source, at[1]] = None
            joins = [(_FAN, number) for number in graph.fans_into(block)]
            if graph.is_label(block):
                joins.append(FROM_SOURCES)
            if graph.is_anywhere(block):
                joins.append(FROM_ANYWHERE)
            known = self._ways[block] = list(ways), joins
        return known

    def _end_towards(self, before: Block, block: Block) -> int:
        """Behind the last instruction of ``before`` on its way to ``block``, or in front of a call.

        Who is called inside of the function finds what was there in front of it.
        """
        last = before.end - 4
        if (before.section, before.end) != (block.section, block.start) and semantics.is_call(
            self.words[before.section][last >> 2]
        ):
            return last
        return before.end

    def _defined_anywhere(self, register: int) -> Sequence[Definition]:
        """Every definition of ``register`` in the function, wherever it is."""
        if self._everywhere is None:
            self._everywhere = {}
            for block in self.graph.live_blocks():
                for written, offsets in self._writes(block).items():
                    self._everywhere.setdefault(written, []).extend(
                        Definition((block.section, offset), written) for offset in offsets
                    )
        return self._everywhere.get(register, ())

    # -- definitions ---------------------------------------------------------------------------

    def definitions(self, cell: Cell, place: Place) -> Sequence[Definition]:
        """Every definition of ``cell`` that may reach the instruction at ``place``."""
        node = self.at(cell, place)
        known = self._definitions.get(node)
        if known is None:
            known = self._definitions[node] = list(self._reachable((node,)))
        return known

    def reaching_any(self, cell: Cell, places: Iterable[Place]) -> set[Definition]:
        """Every definition of ``cell`` that may reach one of ``places``."""
        return set(self._reachable([self.at(cell, place) for place in places]))

    def single(self, cell: Cell, place: Place) -> Definition | None:
        """The only definition of ``cell`` that reaches ``place``, None where there are several."""
        node = self.at(cell, place)
        if isinstance(node, Definition):
            return node
        if node not in self._single:
            found: Definition | None = None
            for definition in self._reachable((node,)):
                if found is not None:
                    found = None
                    break
                found = definition
            self._single[node] = found
        return self._single[node]

    def _reachable(self, nodes: Iterable[Node]) -> Iterable[Definition]:
        """The definitions behind all joins that lead to ``nodes``."""
        pending = list(nodes)
        seen = set(pending)
        while pending:
            node = pending.pop()
            if isinstance(node, Definition):
                yield node
                continue
            for operand in self.operands(node):
                if operand not in seen:
                    seen.add(operand)
                    pending.append(operand)

    # -- in a block ----------------------------------------------------------------------------

    def _last(self, cell: Cell, block: Block, end: int) -> int | None:
        """The last instruction of ``block`` before offset ``end`` that defines ``cell``."""
        if isinstance(cell, int):
            return _last_before(self._writes(block).get(cell, ()), end)
        return self._last_store(cell, block, end)

    def last_write(self, register: int, block: Block, end: int) -> int | None:
        """The last instruction of ``block`` before offset ``end`` that writes ``register``."""
        return _last_before(self._writes(block).get(register, ()), end)

    def _writes(self, block: Block) -> Mapping[int, Sequence[int]]:
        return self._blocks.writes(block, self.words[block.section], self.graph.suffixes)

    def _stores(self, block: Block) -> Stores:
        return self._blocks.stores(block, self.words[block.section], self.graph.suffixes)

    def _last_store(self, slot: Slot, block: Block, end: int) -> int | None:
        """The last instruction before ``end`` that stores into ``slot``, or moves its base."""
        stores = self._stores(block)
        words = self.words[block.section]
        latest = _last_before(stores.others, end) if slot.others else None
        found = -1 if latest is None else latest
        for offset in reversed(stores.moves):
            if offset <= found:
                break
            if offset < end and self._moves_or_stores(slot.base, block.section, offset):
                found = offset
                break
        for granule in {slot.displacement >> 3, slot.displacement + 7 >> 3}:
            for offset in reversed(stores.by_granule.get(granule, ())):
                if offset <= found:
                    break
                if offset < end and self._stores_into(slot, words[offset >> 2]):
                    found = offset
                    break
        if slot.others and not self._has_frame_pointer():
            # Through the other of the two registers, wherever that points.
            for offset in (o for own in stores.by_granule.values() for o in own):
                store = semantics.store(words[offset >> 2])
                if found < offset < end and store is not None and store.base != slot.base:
                    found = offset
        return found if found >= 0 else None

    def _moves_or_stores(self, base: int, section: int, offset: int) -> bool:
        """Whether one of `Stores.moves` writes ``base``, or may: a prefixed instruction, a call."""
        word = self.words[section][offset >> 2]
        if (section, offset + 4) in self.graph.suffixes:
            return True
        return bool(semantics.written(word) & 1 << base) or self._blocks.calls_no_function(
            word, (section, offset)
        )

    def _stores_into(self, slot: Slot, word: int) -> bool:
        store = semantics.store(word)
        if store is None or (store.base != slot.base and not self._has_frame_pointer()):
            return False
        return -store.size < store.displacement - slot.displacement < slot.size

    # -- the frame -----------------------------------------------------------------------------

    def is_plain_store(self, slot: Slot, place: Place) -> bool:
        """Whether the instruction at ``place`` stores a register, whole, to exactly ``slot``."""
        word = self.words[place[0]][place[1] >> 2]
        opcode, low = (
            (62, slot.displacement & 0xFFFC) if slot.size == 8 else (36, slot.displacement & 0xFFFF)
        )
        return word & 0xFC1FFFFF == opcode << 26 | slot.base << 16 | low

    def stores(self, base: int, displacement: int, size: int, place: Place) -> list[Place] | None:
        """The stores that may have filled a slot; None if one isn't plain or may be missing."""
        if size not in (4, 8) or not self.is_frame(base, place):
            return None
        slot = Slot(base, displacement, size, self.stack_escapes())
        found = []
        for definition in self.definitions(slot, place):
            if definition.place is None or not self.is_plain_store(slot, definition.place):
                return None
            found.append(definition.place)
        return found

    def is_frame(self, base: int, place: Place) -> bool:
        """Whether ``base`` is r1, or r31 as the frame pointer.

        Restored from the stack r31 may be a pointer to anything; on entry it holds nothing that is
        read.
        """
        if base != 31:
            return base == 1
        return self._has_frame_pointer() and all(
            found.place is None or self.words[found.place[0]][found.place[1] >> 2] == SET_FRAME
            for found in self.definitions(base, place)
        )

    def stack_escapes(self) -> bool:
        """Whether the function makes an address on its stack that it could hand on."""
        if self._escapes is None:
            bases = _FRAME_BITS if self._has_frame_pointer() else 1 << 1
            self._escapes = any(
                self._stores(block).escapes & bases for block in self.graph.live_blocks()
            )
        return self._escapes

    def _has_frame_pointer(self) -> bool:
        """Whether the function sets r31 from r1 anywhere."""
        if self._frame_pointer is None:
            self._frame_pointer = any(
                self.words[block.section][offset >> 2] == SET_FRAME
                for block in self.graph.live_blocks()
                for offset in self._writes(block).get(31, ())
            )
        return self._frame_pointer


def _last_before(offsets: Sequence[int], end: int) -> int | None:
    index = bisect_left(offsets, end)
    return offsets[index - 1] if index else None


_DIRECT = (instruction.BRANCH_CONDITIONAL, instruction.BRANCH)
_FRAME = (1, 31)
_FRAME_BITS = 1 << 1 | 1 << 31
SET_FRAME = 0x7C3F0B78
"""``mr r31,r1``."""
