"""The instruction table against objdump: no instruction writes or stores more than its row says.

objdump says what an instruction's operands are, and the assembler's convention which of them it
writes: the first, except in stores, compares, traps and moves to other kinds of registers; forms
"with update" write the base register too.  Every extended opcode is looked at, with register fields
that can be told apart, and with all values of the field that extends some opcodes further.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from array import array
from collections import Counter
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import pytest

from nopfix.rewriter.power import opcodes, semantics
from nopfix.rewriter.power.instruction import CTR, LR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    Disassemble = Callable[..., Iterable["Line"]]

EXTENDED = (4, 19, 31, 59, 60, 63)
"""Primary opcodes with extended opcodes of up to eleven bits."""

T, A, B = 20, 18, 22
"""Even, as pairs must be, and with zeros where RT holds a condition register field."""


class Line(NamedTuple):
    """An instruction as objdump sees it; ``suffix`` is 0 unless it's prefixed."""

    word: int
    suffix: int
    mnemonic: str
    operands: Sequence[str]

    def __str__(self) -> str:
        return f"{self.word:08x} {self.suffix:08x} {self.mnemonic} {','.join(self.operands)}"


@pytest.fixture(scope="module")
def disassemble(tmp_path_factory: pytest.TempPathFactory) -> Disassemble:
    """A function that gives objdump's view of those words that it knows."""
    objdump = shutil.which("powerpc64le-linux-gnu-objdump")
    if objdump is None:
        pytest.skip("needs powerpc64le-linux-gnu-objdump (binutils-powerpc64le-linux-gnu)")
    file: Path = tmp_path_factory.mktemp("words") / "words"

    def run(words: array[int], processor: str = "power10") -> Iterator[Line]:
        file.write_bytes(words.tobytes())
        text = subprocess.run(
            [objdump, "-D", "-z", "-b", "binary", "-m", "powerpc:common64", "-EL"]
            + [f"-M{processor},raw", "--no-show-raw-insn", str(file)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for line in text.splitlines():
            place, tab, instruction = line.partition(":\t")
            if tab and not instruction.startswith(".long"):
                index = int(place, 16) >> 2
                mnemonic, _, operands = instruction.partition(" ")
                is_prefixed = words[index] >> 26 == 1
                suffix = words[index + 1] if is_prefixed else 0
                operands = operands.partition("#")[0].strip()
                yield Line(words[index], suffix, mnemonic, operands.split(","))

    return run


def with_extended_opcode(primary: int) -> array[int]:
    fields = [*product((T,), range(32), (0, B)), *product((0,), (0, A), (0, B))]
    return array(
        "I",
        [
            primary << 26 | rt << 21 | ra << 16 | rb << 11 | low
            for low in range(1 << 11)
            for rt, ra, rb in fields
        ],
    )


def without_extended_opcode() -> array[int]:
    return array(
        "I",
        [
            primary << 26 | rt << 21 | ra << 16 | rb << 11 | low
            for primary in range(64)
            if primary not in EXTENDED and primary != 1
            for rt in (range(32) if primary == 16 else (0, T))
            for ra, rb, low in product((0, A), (0, B), range(64))
        ],
    )


def with_prefix() -> array[int]:
    """RT is 4, so that accumulator 1, which lies in VSR 4 to 7, overlaps no operand."""
    words = array("I")
    for prefix, primary, ra in product(range(64), range(64), (0, 2, 4, 6, A)):
        for low in range(0, 1 << 11, 8) if primary == 59 else range(0, 1 << 6, 16):
            words.append(1 << 26 | prefix << 20)
            words.append(primary << 26 | 4 << 21 | ra << 16 | B << 11 | low)
    return words


# -- what is written, by the assembler's convention ------------------------------------------------

_NO_DESTINATION = (
    "st",
    "pst",
    "tw",
    "td",
    "cmp",
    "mt",
    "tlb",
    "slbi",
    "slbmte",
    "msg",
    "rmieg",
    "dc",
    "ic",
) + ("ds", "hash", "copy", "paste", "ecowx", "tabort", "treclaim")
_UPDATE = re.compile(r"(l|st)\w+(u|ux)")
_BRANCH = re.compile(r"b(c|clr|cctr|ctar)?(l?)a?[+-]?")
_SPECIAL = {"8": LR, "9": CTR}


def numbers(operand: str) -> list[int]:
    """The general registers that an operand names: ``r22`` or ``-8(r22)``."""
    return [int(number) for number in re.findall(r"\br(\d+)\b", operand)]


def registers_written(line: Line) -> set[int]:
    mnemonic, operands = line.mnemonic, line.operands
    written = set()
    if mnemonic == "cmpb" or not mnemonic.startswith(_NO_DESTINATION):
        written.update(numbers(operands[0]))
    if mnemonic in ("lq", "plq", "lqarx"):
        written = {number | 1 for number in written} | written
    if mnemonic == "lmw":
        written.update(range(T, 32))
    if mnemonic == "lswi":
        written.update((min(written) + more) & 31 for more in range(int(operands[2]) + 3 >> 2))
    if _UPDATE.fullmatch(mnemonic):
        written.update(numbers(operands[1]))
    if mnemonic in ("mtlr", "mtctr"):
        written.add(LR if mnemonic == "mtlr" else CTR)
    if mnemonic == "mtspr" and operands[0] in _SPECIAL:
        written.add(_SPECIAL[operands[0]])
    branch = _BRANCH.fullmatch(mnemonic)
    if branch:
        written |= {LR} if branch[2] else set()
        written |= {CTR} if branch[1] and not int(operands[0]) & 0b00100 else set()
    return written


def fields_written(line: Line) -> set[int]:
    mnemonic, operands = line.mnemonic, line.operands
    found = re.match(r"(?:4\*)?cr(\d)", operands[0])
    written = {int(found[1])} if found else set()
    if mnemonic.endswith("."):
        written.add({4: 6, 60: 6, 59: 1, 63: 1}.get(line.word >> 26, 0))
    if mnemonic in ("mtcrf", "mtocrf"):
        written |= {field for field in range(8) if int(operands[0]) >> 7 - field & 1}
    branch = _BRANCH.fullmatch(mnemonic)
    goes_on = line.word == 0x48000005 or line.word & 0xFC00FFFF == 0x40000005  # to .+4: no call
    return set(range(8)) if branch and branch[2] and not goes_on else written


_STORES = ("st", "pst", "dcbz", "hashst", "ecowx", "lwat", "ldat")
_NO_STORES = ("stop", "stsync", "stcisync", "stncisync")


def is_store(line: Line) -> bool:
    return line.mnemonic.startswith(_STORES) and line.mnemonic not in _NO_STORES


# -- what the table makes of it --------------------------------------------------------------------

_WRITES_MORE = ("sc", "scv", "lswi", "lswx", "treclaim.")
"""Instructions that write registers that they don't name; calls do so too."""


def as_set(mask: int) -> set[int]:
    return {register for register in range(34) if mask >> register & 1}


def faults(line: Line) -> Iterator[str]:
    """What the table says wrong of an unprefixed instruction."""
    word = line.word
    written, found = registers_written(line), as_set(semantics.written(word))
    if written - found:
        yield f"{line}: writes {written - found} as well"
    for field in fields_written(line):
        if not semantics.may_write_condition(word, field):
            yield f"{line}: writes cr{field} as well"
    if opcodes.find(word) is None:
        return
    if found - written and LR not in written and line.mnemonic not in _WRITES_MORE:
        yield f"{line}: doesn't write {found - written}"
    named = {number for operand in line.operands for number in numbers(operand)}
    rest = named - written - as_set(semantics.read(word)) - {0}
    if rest:
        yield f"{line}: reads {rest} as well"
    store = semantics.store(word)
    if is_store(line) != (store is not None):
        yield f"{line}: is{'' if is_store(line) else ' no'} store"
    if store is not None and not {store.base, store.other} <= named | {-1, 0}:
        yield f"{line}: stores elsewhere than at {store}"


def few_of_each(lines: Iterable[Line]) -> list[Line]:
    """Four instructions of the same name and low bits: RA is 0 and 1, RB is 0 and something."""
    seen: Counter[tuple[str, int]] = Counter()
    found = []
    for line in lines:
        kind = line.mnemonic, line.word & 0x7FF
        seen[kind] += 1
        if seen[kind] <= 4:
            found.append(line)
    return found


@pytest.mark.parametrize("primary", EXTENDED)
def test_no_instruction_does_more_than_its_row_says(primary: int, disassemble: Disassemble) -> None:
    lines = few_of_each(disassemble(with_extended_opcode(primary)))
    assert len({line.mnemonic for line in lines}) > {19: 20}.get(primary, 90)
    assert [fault for line in lines for fault in faults(line)] == []


def test_no_instruction_that_its_primary_opcode_tells_does_more_than_its_row_says(
    disassemble: Disassemble,
) -> None:
    lines = list(disassemble(without_extended_opcode()))
    assert len({line.mnemonic for line in lines}) > 80
    assert [fault for line in lines for fault in faults(line)] == []


def test_no_prefixed_instruction_does_more_than_its_row_says(disassemble: Disassemble) -> None:
    wrong = []
    seen = set()
    for line in disassemble(with_prefix()):
        if line.word >> 26 != 1:
            continue
        seen.add(line.mnemonic)
        found = as_set(semantics.written_by_prefixed(line.word, line.suffix))
        if found != registers_written(line):
            wrong.append(f"{line}: written are {found}")
        base = line.suffix >> 16 & 31 or -1 if is_store(line) else -1
        if semantics.prefixed_store_base(line.word, line.suffix) != base:
            wrong.append(f"{line}: stores elsewhere")
    assert {"paddi", "pld", "plq", "pstd", "pstxvp", "xxeval", "pnop"} < seen
    assert len(seen) > 60
    assert wrong == []


# -- the table itself ------------------------------------------------------------------------------


class Entry(NamedTuple):
    """An instruction of the table: the opcode's bits in a word, or suffix, and its mnemonic."""

    chapter: str
    mask: int
    opcode: int
    mnemonic: str


def entries() -> Iterator[Entry]:
    """The instructions of the table, read another way than the rewriter does."""
    for chapter in opcodes.TABLE.strip().split("\n\n"):
        name = chapter.splitlines()[0]
        primary = name.rpartition("PO")[2]
        fields: list[tuple[int, int]] = []
        for heading, opcode, mnemonic in re.findall(
            r"^\[(.*)\]$|\b(\d[\d.]*) ([a-z][a-z0-9.]*)", chapter, re.M
        ):
            if heading:
                ends = re.findall(r"\b(\d+)(?::(\d+))?", heading)
                fields = [(int(first), int(last or first)) for first, last in ends]
                continue
            mask = bits = 0
            parts = opcode.split(".")
            if primary:
                mask, bits = 63 << 26, int(primary) << 26
            for part, (first, last) in zip(parts, fields, strict=True):
                mask |= (1 << last - first + 1) - 1 << 31 - last
                bits |= int(part) << 31 - last
            assert bits & ~mask == 0, (name, opcode, mnemonic)
            yield Entry(name, mask, bits, mnemonic)


def unprefixed() -> list[Entry]:
    return [entry for entry in entries() if entry.chapter.startswith("PO")]


def test_every_entry_of_the_table_is_found_by_its_opcode() -> None:
    count = 0
    for entry in unprefixed():
        for rest in (0, 0xFFFFFFFF, 0xAAAAAAAA, 0x55555555):
            row = opcodes.find(entry.opcode | rest & ~entry.mask)
            assert row is not None
            assert row.mnemonic == entry.mnemonic
            count += 1
    assert count > 4_000


def test_no_word_has_two_rows() -> None:
    by_chapter: dict[str, list[Entry]] = {}
    for entry in entries():
        by_chapter.setdefault(entry.chapter, []).append(entry)
    for own in by_chapter.values():
        for index, one in enumerate(own):
            for two in own[:index]:
                assert (one.opcode ^ two.opcode) & one.mask & two.mask, (one, two)


def test_every_mnemonic_is_that_of_its_opcode(disassemble: Disassemble) -> None:
    """Of several words with an opcode objdump knows one, by that name: reserved fields are 0."""
    left = {(entry.mask, entry.opcode): entry for entry in unprefixed()}
    forms = [*product((T, 0, 1, 4), (A, 0, 2, 8), (B, 0), (0, 1, 1 << 10)), (T, 12, 8, 0)]
    for processor in ("power10", "power8", "any"):
        words, expected = array("I"), {}
        for key, entry in left.items():
            for rt, ra, rb, low in forms:
                word = (rt << 21 | ra << 16 | rb << 11 | low) & ~entry.mask | entry.opcode
                expected[word] = key
                words.append(word)
        for line in disassemble(words, processor):
            found = left.get(expected[line.word])
            # objdump's name for what works on accumulators is that of their successors.
            mnemonic = line.mnemonic.removeprefix("dmx").removeprefix("dm")
            names = {mnemonic, mnemonic.rstrip("."), "x" + mnemonic, "xx" + mnemonic}
            if found and found.mnemonic in names | {line.mnemonic}:
                del left[expected[line.word]]
    assert [entry.mnemonic for entry in left.values()] == []


def test_names_in_the_table_are_fields_that_are_explained() -> None:
    explained = set(re.findall(r"[A-Za-z0-9.+]+", opcodes.__doc__ or ""))
    others = {"FRTp", "XTp"}
    for entry in unprefixed():
        row = opcodes.find(entry.opcode)
        assert row is not None
        assert set(row.writes) <= explained | others, row


@pytest.mark.parametrize("primary", [0, 5, 9, 22, *EXTENDED, 57, 58, 62])
def test_a_word_without_a_row_may_write_everything(primary: int) -> None:
    unknown = [
        word
        for low in range(1 << 11)
        if opcodes.find(word := primary << 26 | T << 21 | A << 16 | B << 11 | low) is None
    ]
    assert len(unknown) > 100
    for word in unknown:
        assert semantics.written(word) == semantics.read(word) == semantics.EVERYTHING
        assert all(semantics.may_write_condition(word, field) for field in range(8))


def test_an_unknown_prefixed_instruction_may_write_everything() -> None:
    assert semantics.written_by_prefixed(0x0580_0000, 0x8000_0000) == semantics.EVERYTHING
    assert semantics.written_by_prefixed(0x0400_0000, 0x0000_0000) == semantics.EVERYTHING
