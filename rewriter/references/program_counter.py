"""Distances from the program counter: refused where they change.

The problem: hand-written code reads its program counter (``bcl 20,31,$+4; mflr r``, ``addpcis``, a
function that gives its caller the return address) and addresses what lies at a known distance from
there.  The assembler has resolved the distance, so a slot between the two makes it stale.

The rule: from where the program counter comes into a register it is followed forwards, through
copies, sums with numbers, the stack and CTR, along all branches of the function.  Every
displacement and every number that is added to it on the way has to lead to the same spot as
before, a literal's number too; behind a ``bl`` that only leads over data to read its address, no
word may look like a branch that changes, or like a distance.  What a vector is loaded from has to
stay aligned to 16, since the processor drops the low bits of such an address.  An instruction is
used once for a value that it has made, so a pointer that walks through a loop takes one step.

What a register holds as a number is made by the last instruction that wrote it, where that lies in
front with nothing between that anything leads to: a table's entry that was just read is no number
of these.  Else it is collected over the whole function, whatever the order: that errs on the side
of refusing.

Source: Power ISA 3.1, Book I, 2.4 (bcl 20,31,$+4), 3.3 (D-form instructions, addpcis).
"""

from __future__ import annotations

from bisect import bisect_right

from nopfix.dwarf.record import TYPE_CHECKING
from nopfix.rewriter.power import instruction, opcodes, semantics
from nopfix.rewriter.power.instruction import (
    BLR,
    BRANCH,
    BRANCH_REGISTER,
    CTR,
    LR,
    branch_displacement,
    signed_field,
)
from nopfix.rewriter.references.counter_reads import Code, Value, Values, calls_inside

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence


_SHIFTED, _NOT_SHIFTED = ("oris", "xoris"), ("ori", "xori")
_MTSPR, _MFSPR, _MTVSRD, _MFVSRD = 467, 339, 179, 51
_VECTOR, _SPECIAL = 1 << 8, 1 << 9
"""What is added to the number of a vector register or a special one, to tell it from others."""
_MANY = 64
"""Values that one register may hold: more are no program's."""
_STACK = 1 << 20
"""What is added to the displacement from r1, to tell words of the stack from registers."""


def check(code: Code, reads: Iterable[tuple[int, int, Value]]) -> None:
    """Raise `Refusal` for a distance from the program counter that changes as ``code`` moves.

    ``reads`` are where it comes into a register (`counter_reads.find`).

    What a function holds where it returns goes on behind the calls of it.
    """
    waiting = list(reads)
    # A branch that only reads LR has the same look as a call, and its target is no function.
    read_by = {(place, value.number) for place, cell, value in waiting if cell == LR}
    calls_by_target: dict[int, list[int]] = {}
    for place, target in calls_inside(code):
        if (target, place + 4) not in read_by:
            calls_by_target.setdefault(target, []).append(place)
    entries = sorted(calls_by_target)
    entered = _entered(code)
    seen = set(waiting)
    functions: dict[tuple[int, int], _Function] = {}
    while waiting:
        source = waiting.pop()
        extent = code.extent(source[0] - 4)
        function = functions.get(extent)
        if function is None:
            function = functions[extent] = _Function(code, extent, entered)
        returned = function.follow(source)
        if function.has_new_numbers():  # that literals hold, which is known only now
            returned = function.follow(source)
        if returned:
            entry = _entry_in_front(code, entries, source[0])
            for place in calls_by_target.get(entry, ()):
                more = [(place + 4, cell, value) for cell, value in sorted(returned)]
                waiting += [one for one in more if one not in seen]
                seen.update(more)


def _entry_in_front(code: Code, entries: Sequence[int], place: int) -> int:
    """The nearest of ``entries`` in front of ``place`` from which its code is reached; -1 if none.

    It lies in the function of ``place``, or in one in front of it that goes on to it.
    """
    at = bisect_right(entries, place) - 1
    start = place
    while at >= 0:
        start, _ = code.extent(start)
        if entries[at] >= start:
            return entries[at]
        while start and code.words[(start >> 2) - 1] in instruction.NO_OPERATIONS:
            start -= 4
        start -= 4
        if start < 0 or start in code.data or instruction.goes_elsewhere(code.words[start >> 2]):
            break
    return -1


def _entered(code: Code) -> Container[int]:
    """The places that a branch, a table, an exception or a relocation anywhere leads to."""
    found = {target for _, target in code.found.branches}
    found.update(code.targets)
    pads = [site.pad for site in code.program.landing_pads()]
    found.update(pad.offset for pad in pads if pad.section == code.number)
    for number in code.program.filled:
        references = code.program.references_to_code_from(number)
        found.update(r.offset for r in references if r.target == code.number)
    return found


class _Function:
    """One function, through which values are followed; ``entered`` is what is known to be."""

    def __init__(self, code: Code, extent: tuple[int, int], entered: Container[int]) -> None:
        self._code = code
        self._start, self._end = extent
        self._entered = entered
        self._filling = code.program.filling(code.number)
        self._loaded: dict[tuple[int, int], set[int]] = {}
        self._known_loaded = 0
        self._all: dict[int, set[Value]] | None = None
        self._targets = [target for target in code.targets if extent[0] <= target < extent[1]]

    def follow(self, source: tuple[int, int, Value]) -> set[tuple[int, Value]]:
        """Follow a read of the program counter to where nothing holds it any more.

        Returns what general registers hold where the function returns; raises `Refusal`.
        """
        place, cell, value = source
        states: dict[int, dict[int, Values[Value]]] = {place: {cell: Values((value,))}}
        waiting = [place]
        returned: set[tuple[int, Value]] = set()
        while waiting:
            place = waiting.pop()
            if not self._start <= place < self._end or place in self._code.data:
                continue
            if self._code.words[place >> 2] == BLR:
                held = [(cell, own) for cell, own in states[place].items() if cell < CTR]
                returned.update((cell, value) for cell, own in held for value in own)
            behind, nexts = self._step(place, states[place])
            for target in nexts if behind else ():
                known = states.setdefault(target, {})
                new = {
                    cell: known.get(cell, Values()) | values
                    for cell, values in behind.items()
                    if not values <= known.get(cell, Values())
                }
                if new:
                    known.update(new)
                    waiting.append(target)
        return returned

    def has_new_numbers(self) -> bool:
        """Whether literals gave numbers since this was asked last."""
        count = sum(map(len, self._loaded.values()))
        if count == self._known_loaded:
            return False
        self._known_loaded, self._all = count, None
        return True

    def _step(
        self, place: int, state: Mapping[int, Values[Value]]
    ) -> tuple[dict[int, Values[Value]], list[int]]:
        """What is held behind the instruction at ``place``, and the places it goes on to."""
        word = self._code.words[place >> 2]
        if instruction.is_prefix(word):
            return self._prefixed(place, state), [place + 8]
        new = dict(state)
        made = {} if place in self._filling else self._made(place, word, state)
        for cell in _written(word):
            new.pop(cell, None)
        self._move_stack(word, new)
        new.update(made)
        opcode = word >> 26
        if opcode not in instruction.BRANCHING or semantics.is_call(word):
            return new, [place + 4]
        nexts = []
        through = opcode == BRANCH_REGISTER and instruction.extended_opcode(word)
        distance = branch_displacement(word)
        if distance is not None and place not in self._filling:
            nexts.append(place + distance)
        elif through == instruction.BCCTR:
            nexts += self._targets
        is_other = opcode == BRANCH_REGISTER and through not in _THROUGH_REGISTER
        if is_other or not (opcode == BRANCH or instruction.always_branches(word)):
            nexts.append(place + 4)
        return new, nexts

    def _made(
        self, place: int, word: int, state: Mapping[int, Values[Value]]
    ) -> dict[int, Values[Value]]:
        """What the instruction makes of what is held, checked on the way."""
        made: dict[int, Values[Value]] = {}
        operation = semantics.operation(word)
        held = state.get(operation.source, Values())
        row = opcodes.find(word)
        formula = row.formula if row else ""
        address = semantics.addressed(word)
        if instruction.drops_low_bits(word):
            self._check_alignment(place, word, state)
        if address is not None:
            values = self._address(place, address, state)
            if row is not None and "RA" in row.writes:
                made[word >> 16 & 31] = values
            self._through_memory(place, address, values, state, made)
        elif operation.kind == "copy":
            made[operation.target] = held
        elif operation.kind == "add" and operation.other < 0:
            made[operation.target] = self._sum(place, held, (operation.immediate,))
        elif formula == "RA + SI":
            base = state.get(word >> 16 & 31, Values())
            number = signed_field(word, 16)
            made[word >> 21 & 31] = self._sum(place, base, (number,))
        elif operation.kind == "add":
            made[operation.target] = self._sum_of_two(
                place, operation.source, operation.other, state
            )
        elif operation.kind == "subtract":
            minus = [-number for number in self._numbers(place, operation.other)]
            made[operation.target] = self._sum(place, held, minus)
        elif operation.kind == "select":
            made[operation.target] = held | state.get(operation.other, Values())
        elif word >> 26 == instruction.REGISTERS:
            source, target = _moved_elsewhere(word)
            made[target] = state.get(source, Values())
        return {cell: values for cell, values in made.items() if values}

    def _address(
        self, place: int, address: tuple[int, int, int], state: Mapping[int, Values[Value]]
    ) -> Values[Value]:
        """The addresses that a load or a store may use, of those that are followed."""
        base, other, displacement = address
        if other < 0:
            return self._sum(place, state.get(base, Values()), (displacement,))
        return self._sum_of_two(place, base, other, state)

    def _check_alignment(self, place: int, word: int, state: Mapping[int, Values[Value]]) -> None:
        """Refuse what the vector unit would take for the address of other data than before."""
        base, other = word >> 16 & 31, word >> 11 & 31
        held = state.get(other, Values())
        if base:
            held = held.union(state.get(base, ()), self._sum_of_two(place, base, other, state))
        for value in sorted(held):
            if not value.number % 16 and self._code.moved.start(value.number) % 16:
                found = f"a vector is read from {value.number:#x}, which is aligned to 16"
                raise self._code.refusal(found, place)

    def _sum_of_two(
        self, place: int, one: int, two: int, state: Mapping[int, Values[Value]]
    ) -> Values[Value]:
        sums = [
            self._sum(place, state[cell], self._numbers(place, other))
            for cell, other in ((one, two), (two, one))
            if cell in state
        ]
        return Values().union(*sums)

    def _sum(self, place: int, values: Values[Value], numbers: Iterable[int]) -> Values[Value]:
        """``values`` with each of ``numbers`` added at ``place``; refuses what changes."""
        sums = set()
        for value in sorted(values):
            if place in value.made:
                continue
            for number in numbers:
                if self._code.changes(value, number):
                    found = f"a distance of {number} bytes is added to the program counter"
                    raise self._code.refusal(found, place)
                is_read = value.is_read and not number
                sums.add(Value(value.number + number, value.made | {place}, is_read))
        if len(sums) > _MANY:
            found = "more numbers than can be followed are added to the program counter"
            raise self._code.refusal(found, place)
        return Values(sums)

    def _through_memory(
        self,
        place: int,
        address: tuple[int, int, int],
        values: Values[Value],
        state: Mapping[int, Values[Value]],
        made: dict[int, Values[Value]],
    ) -> None:
        """Follow what is put on the stack and taken from there, and note what literals hold."""
        base, other, displacement = address
        word = self._code.words[place >> 2]
        store, operation = semantics.store(word), semantics.operation(word)
        slot = _STACK + displacement
        if base == 1 and other < 0:
            if store is not None and store.size == 8:
                made[slot] = state.get(store.source, Values())
            elif operation.kind == "load":
                made[operation.target] = state.get(slot, Values())
        elif operation.kind == "load":
            contents = self._code.program.obj.contents(self._code.number)
            for value in values:
                data = bytes(contents[max(value.number, 0) : value.number + operation.size])
                number = int.from_bytes(data, "little", signed=True)
                self._loaded.setdefault((place, operation.target), set()).add(number)

    @staticmethod
    def _move_stack(word: int, state: dict[int, Values[Value]]) -> None:
        """Number the words of the stack anew where r1 moves by a known number; else forget them."""
        if not semantics.written(word) >> 1 & 1 or semantics.is_call(word):
            return
        slots = {cell: state.pop(cell) for cell in list(state) if cell > _STACK >> 1}
        operation, address = semantics.operation(word), semantics.addressed(word)
        if operation.kind == "add" and operation.source == 1 and operation.other < 0:
            moved = operation.immediate
        elif address is not None and address[0] == 1 and address[1] < 0:
            moved = address[2]
        else:
            return
        state.update({cell - moved: values for cell, values in slots.items()})

    def _prefixed(self, place: int, state: Mapping[int, Values[Value]]) -> dict[int, Values[Value]]:
        """What is held behind a prefixed instruction."""
        words = self._code.words
        prefix, suffix = words[place >> 2], words[(place >> 2) + 1]
        new = dict(state)
        base = suffix >> 16 & 31
        sums: Values[Value] = Values()
        kind = prefix >> 24 & 3
        if kind in (0, 2) and not prefix >> 20 & 1 and base and place not in self._filling:
            number = instruction.prefixed_number(prefix, suffix)
            sums = self._sum(place, state.get(base, Values()), (number,))
        written = semantics.written_by_prefixed(prefix, suffix)
        for cell in [cell for cell in new if cell < 64 and written >> cell & 1]:
            del new[cell]
        if sums and kind == 2 and suffix >> 26 == instruction.ADDI:
            new[suffix >> 21 & 31] = sums
        return new

    def _numbers(self, place: int, register: int) -> list[int]:
        """The numbers that a register may hold in front of ``place``; 0 where there is none."""
        if register < 0:
            return [0]
        if self._all is None:
            self._all = self._collect()
        maker = self._maker(place, register)
        if maker is None:
            values = self._all.get(register, set())
        else:
            made = _constants(self._code.words, maker, self._all)
            values = {value for target, value in made if target == register}
            values.update(map(Value, self._loaded.get((maker, register), ())))
        return sorted({value.number for value in values})

    def _maker(self, place: int, register: int) -> int | None:
        """The instruction that made what a register holds, where it lies straight in front."""
        words = self._code.words
        while self._start < place and place not in self._entered:
            place -= 4
            word = words[place >> 2]
            if semantics.is_call(word) or place in self._code.data:
                return None
            if place > self._start and instruction.is_prefix(words[(place >> 2) - 1]):
                place -= 4
                written = semantics.written_by_prefixed(words[place >> 2], word)
            else:
                written = semantics.written(word)
            if written >> register & 1:
                return None if place in self._filling else place
        return None

    def _collect(self) -> dict[int, set[Value]]:
        """Numbers by register: what is made of immediate fields, wherever it is."""
        found: dict[int, set[Value]] = {}
        for (_, cell), numbers in self._loaded.items():
            found.setdefault(cell, set()).update(map(Value, numbers))
        places = range(self._start, self._end, 4)
        own = [p for p in places if p not in self._code.data and p not in self._filling]
        changed = True
        while changed:
            changed = False
            for place in own:
                for target, value in _constants(self._code.words, place, found):
                    known = found.setdefault(target, set())
                    if value not in known and len(known) < _MANY:
                        known.add(value)
                        changed = True
        return found


_THROUGH_REGISTER = frozenset((instruction.BCLR, instruction.BCCTR, instruction.BCTAR))


def _moved_elsewhere(word: int) -> tuple[int, int]:
    """Source and target of a move between a register and another one of another kind; -1 twice."""
    register, special = word >> 21 & 31, _SPECIAL + (word >> 11 & 0x3FF)
    vector = _VECTOR + (register | (word & 1) << 5)
    return {
        _MTSPR: (register, special),
        _MFSPR: (special, register),
        _MTVSRD: (word >> 16 & 31, vector),
        _MFVSRD: (vector, word >> 16 & 31),
    }.get(instruction.extended_opcode(word), (-1, -1))


def _written(word: int) -> list[int]:
    """The registers that an instruction writes; of what a call may change only LR is certain."""
    if semantics.is_call(word):
        return [LR]
    written = semantics.written(word)
    return [cell for cell in range(34) if written >> cell & 1]


def _constants(
    words: Sequence[int], place: int, found: Mapping[int, set[Value]]
) -> list[tuple[int, Value]]:
    """The numbers that the instruction at ``place`` makes of those ``found`` in registers."""
    word = words[place >> 2]
    if instruction.is_prefix(word):
        suffix = words[(place >> 2) + 1] if (place >> 2) + 1 < len(words) else 0
        if word >> 24 == 6 and suffix >> 26 == instruction.ADDI and not suffix >> 16 & 31:
            number = instruction.prefixed_number(word, suffix)
            return [(suffix >> 21 & 31, Value(number))]
        return []
    operation = semantics.operation(word)
    if operation.kind == "add" and operation.other < 0 and operation.source < 0:
        return [(operation.target, Value(operation.immediate))]
    row = opcodes.find(word)
    name = row.mnemonic if row else ""
    target, source = operation.target, operation.source
    change = 0 if operation.kind == "copy" else None
    if operation.kind == "add" and operation.other < 0:
        change = operation.immediate
    if name in _NOT_SHIFTED + _SHIFTED:
        target, source = word >> 16 & 31, word >> 21 & 31
    elif name == "mulli":
        target, source = word >> 21 & 31, word >> 16 & 31
    made = []
    for value in list(found.get(source, ())):
        result = _computed(name, word, value.number, operation, change)
        if result is not None and place not in value.made:
            made.append((target, Value(result, value.made | {place})))
    return made


def _computed(
    name: str, word: int, number: int, operation: semantics.Operation, change: int | None
) -> int | None:
    """What one instruction makes of ``number``, None where it is none of those."""
    if name in _NOT_SHIFTED + _SHIFTED:
        bits = (word & 0xFFFF) << (16 if name in _SHIFTED else 0)
        return number ^ bits if name.startswith("x") else number | bits
    if name == "mulli":
        return number * signed_field(word, 16)
    if change is not None:
        return number + change
    if operation.kind == "scale" and operation.source >= 0 and operation.immediate:
        return number << operation.immediate
    return None
