"""What is known of an object before anything moves: one model that everybody asks.

The problem: which nop is a slot, what is padding, where a branch leads, which table holds what: all
these ask who refers to a place, and what for.  Answered from the relocations and symbols wherever
the question came up, the answers differed, and each difference was an object made wrong.

The rule: an object's relocations and symbols are looked through here, and nowhere else, to find out
who points where.  A `Program` is made once for an object and never changes; each of its indices is
made when it is first asked for, since two of five objects of a kernel need none of them.

- `functions`: where functions begin and end, by section;
- `words`, `filling`: the instruction words of a section, and which relocation fills which of them;
- `symbols_in`, `holder`: the symbols of a section in order, and the one that a place belongs to;
- `filled`, `fields_of`, `naming`: which sections relocations fill, and where, by type and symbol;
- `relocations_of`, `of_types`, `reference_at`: what all of them name, those of some types, and the
  one that fills a place;
- `references_from`, `references_to_code_from`: what the relocations of a section lead to;
- `landing_pads`: where exceptions lead;
- `is_of_llvm`: whose assembler wrote the object.

What a reference means is told by its type (`power.relocation`) and by the section that it is in
(`object.kernel_sections`); who may claim a place in code for himself, by `object.claims`.

Source: gABI 4 (symbol table, relocation); 64-bit ELFv2 ABI, 3.4.1 (local entry points), 3.5.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import compress

from nopfix.dwarf.record import TYPE_CHECKING, Record, make
from nopfix.rewriter.errors import Refusal
from nopfix.rewriter.object import elf
from nopfix.rewriter.power.relocation import MARKERS, TYPES

if TYPE_CHECKING:
    from array import array
    from collections.abc import Container, Iterator, Mapping, Sequence

    from nopfix.dwarf.lsda import CallSite

Place = tuple[int, int]
"""A section's number and an offset in bytes into it."""


class Functions(Record):
    """The functions of one section in ascending order: start and end offsets in bytes, names."""

    starts: Sequence[int]
    ends: Sequence[int]
    names: Sequence[str]

    def at(self, offset: int) -> str | None:
        """The name of the function that ``offset`` lies in, None outside of all."""
        index = bisect_right(self.starts, offset) - 1
        if index >= 0 and offset < self.ends[index]:
            return self.names[index]
        return None

    def start(self, offset: int) -> int | None:
        """The start of the function that ``offset`` lies in."""
        index = bisect_right(self.starts, offset) - 1
        return self.starts[index] if index >= 0 and offset < self.ends[index] else None

    def end(self, offset: int) -> int | None:
        """The end of the function that ``offset`` lies in."""
        index = bisect_right(self.starts, offset) - 1
        if index >= 0 and offset < self.ends[index]:
            return self.ends[index]
        return None


NO_FUNCTIONS = Functions((), (), ())


class Reference(Record):
    """A relocation of the field at ``place`` of ``section``, and the spot that it leads to.

    ``type`` is the relocation's, ``symbol`` the index of its symbol; symbol + addend are ``offset``
    in section ``target``, which is none (0 or less) only where `Program.reference_at` says so.
    What is carried in the addend besides (``place - base``) still is.
    """

    section: int
    place: int
    type: int
    symbol: int
    target: int
    offset: int


class Program:
    """One object, and who refers to what in it; see the module's essay."""

    __slots__ = (
        "_bodies",
        "_filled",
        "_filling",
        "_functions",
        "_is_of_llvm",
        "_landing_pads",
        "_of_code",
        "_references",
        "_references_to_code",
        "_symbols",
        "_words",
        "code",
        "obj",
    )

    def __init__(self, obj: elf.Object) -> None:
        """Nothing is looked at but the section headers.

        ``obj`` is the object as read; `code` the numbers of the sections that hold instructions.
        """
        self.obj = obj
        self.code = tuple(
            section.number
            for section in obj.sections
            if section.flags & elf.SHF_EXECINSTR
            and section.type == elf.SHT_PROGBITS
            and section.size
        )
        self._is_of_llvm: bool | None = None
        self._functions: dict[int, Functions] | None = None
        self._bodies: dict[int, Functions] = {}
        self._words: dict[int, array[int]] = {}
        self._filled: tuple[int, ...] | None = None
        self._filling: dict[int, dict[int, int]] = {}
        self._symbols: dict[int, tuple[list[int], list[int]]] | None = None
        self._of_code: frozenset[int] | None = None
        self._references: dict[int, list[Reference]] = {}
        self._references_to_code: dict[int, list[Reference]] = {}
        self._landing_pads: list[CallSite] | None = None

    @property
    def is_of_llvm(self) -> bool:
        """Whether LLVM's assembler has written the object, as far as that can be seen."""
        if self._is_of_llvm is None:
            self._is_of_llvm = _is_of_llvm(self.obj)
        return self._is_of_llvm

    def is_code(self, section: int) -> bool:
        """Whether the section with this number is executable."""
        return bool(self.obj.sections[section].flags & elf.SHF_EXECINSTR)

    def name(self, section: int) -> str:
        """The name of the section with this number."""
        return self.obj.sections[section].name

    # -- functions and instructions ------------------------------------------------------------

    @property
    def functions(self) -> Mapping[int, Functions]:
        """All functions, by section number; of several at one offset the longest is kept.

        One that begins within another and ends behind it has that one's size by inheritance
        (``.set alias, f + 8``), and ends where the other does.

        Raises `Refusal` for a function that doesn't end inside its section.
        """
        if self._functions is None:
            self._functions = _functions(self.obj)
        return self._functions

    def functions_in(self, section: int) -> Functions:
        """The functions of one section; raises as `functions` does."""
        return self.functions.get(section, NO_FUNCTIONS)

    def bodies_in(self, section: int) -> Functions:
        """The functions of one section, and what lies outside of all by a symbol that has a size
        but no type: functions of a hand that wrote no ``.type``, or data.
        """
        bodies = self._bodies.get(section)
        if bodies is None:
            own, size = self.functions_in(section), self.obj.sections[section].size
            undeclared = _undeclared(self.obj.symbols, *self.symbols_in(section))
            bodies = self._bodies[section] = _with_undeclared(own, undeclared, size)
        return bodies

    def body_end(self, section: int, offset: int) -> int | None:
        """The end of the function that ``offset`` lies in, declared or not."""
        end = self.functions_in(section).end(offset)
        return end if end is not None else self.bodies_in(section).end(offset)

    def words(self, section: int) -> array[int]:
        """The instruction words of a section; bytes behind the last whole word are left out."""
        words = self._words.get(section)
        if words is None:
            data = self.obj.contents(section)
            words = self._words[section] = elf.column(data[: len(data) & ~3], "I")
        return words

    def filling(self, section: int) -> Mapping[int, int]:
        """The index of the relocation that fills each place of ``section``; markers fill none."""
        filling = self._filling.get(section)
        if filling is None:
            relocations = self.obj.relocations.get(section)
            if relocations is None:
                filling = {}
            elif MARKERS.isdisjoint(relocations.types):
                places = relocations.places
                filling = dict(zip(places, range(len(places)), strict=True))
            else:
                filling = {
                    relocations.places[index]: index
                    for index, kind in enumerate(relocations.types)
                    if kind not in MARKERS
                }
            self._filling[section] = filling
        return filling

    # -- symbols -------------------------------------------------------------------------------

    def symbols_in(self, section: int) -> tuple[Sequence[int], Sequence[int]]:
        """Values, ascending, and indices of the symbols of ``section`` but the section's own."""
        if self._symbols is None:
            self._symbols = _symbols_by_section(self.obj)
        return self._symbols.get(section, ((), ()))

    def holder(self, section: int, offset: int) -> int | None:
        """The index of the symbol that ``offset`` in ``section`` belongs to, None if to nobody's.

        That is the last one that begins there or before, unless it has a size and ends before.
        """
        values, indices = self.symbols_in(section)
        at = bisect_right(values, offset) - 1
        if at < 0:
            return None
        size = self.obj.symbols.sizes[indices[at]]
        return indices[at] if not size or offset < values[at] + size else None

    # -- references ----------------------------------------------------------------------------

    @property
    def filled(self) -> tuple[int, ...]:
        """The numbers of the sections that relocations fill, in the order of their tables."""
        if self._filled is None:
            tables = self.obj.relocations.items()
            self._filled = tuple(number for number, own in tables if own.places)
        return self._filled

    def types_in(self, section: int) -> Sequence[int]:
        """The types of the relocations of ``section``, in file order."""
        relocations = self.obj.relocations.get(section)
        return relocations.types if relocations is not None else ()

    def fields_of(self, section: int) -> Sequence[tuple[int, int]]:
        """Place and type of each relocation of ``section``, in file order."""
        relocations = self.obj.relocations.get(section)
        if relocations is None:
            return ()
        return list(zip(relocations.places, relocations.types, strict=True))

    def naming(self, section: int, symbols: Container[int]) -> list[int]:
        """The places whose relocation names one of ``symbols`` (indices), in file order."""
        relocations = self.obj.relocations.get(section)
        if relocations is None:
            return []
        own = relocations.symbols
        return list(compress(relocations.places, map(symbols.__contains__, own)))

    def relocations_of(self, section: int) -> Iterator[Reference]:
        """Every relocation of ``section``, in file order, markers and those that `reference_at`
        has without a target among them.
        """
        for index in range(len(self.types_in(section))):
            yield self._reference(section, index)

    def of_types(self, section: int, types: Container[int]) -> Iterator[Reference]:
        """Those of `relocations_of` whose type is one of ``types``."""
        own = self.types_in(section)
        for index in compress(range(len(own)), map(types.__contains__, own)):
            yield self._reference(section, index)

    def reference_at(self, section: int, place: int) -> Reference | None:
        """The relocation that fills ``place``; ``target`` is SHN_UNDEF or another such number where
        its symbol is in no section of this object.
        """
        index = self.filling(section).get(place)
        return None if index is None else self._reference(section, index)

    def _reference(self, section: int, index: int) -> Reference:
        relocations, symbols = self.obj.relocations[section], self.obj.symbols
        symbol = relocations.symbols[index]
        fields = (
            section,
            relocations.places[index],
            relocations.types[index],
            symbol,
            symbols.sections[symbol],
            symbols.values[symbol] + relocations.addends[index],
        )
        return make(Reference, fields)

    def references_from(self, section: int) -> Sequence[Reference]:
        """What the relocations of ``section`` lead to in this object, in file order."""
        found = self._references.get(section)
        if found is None:
            found = self._references[section] = self._collect(section, None)
        return found

    def references_to_code_from(self, section: int) -> Sequence[Reference]:
        """Those of `references_from` that lead to code, found without a look at the others."""
        found = self._references_to_code.get(section)
        if found is None:
            if self._of_code is None:
                self._of_code = frozenset(
                    index
                    for index, own in enumerate(self.obj.symbols.sections)
                    if own > 0 and self.is_code(own)
                )
            found = self._references_to_code[section] = self._collect(section, self._of_code)
        return found

    def _collect(self, section: int, wanted: Container[int] | None) -> list[Reference]:
        """The references of ``section``, of those whose symbol is ``wanted``.

        A type that isn't known is taken to lead somewhere: who needs to know refuses it.
        """
        relocations = self.obj.relocations.get(section)
        if relocations is None:
            return []
        symbols = self.obj.symbols
        own = relocations.symbols
        indices: Sequence[int] = range(len(own))
        if wanted is not None:
            indices = list(compress(indices, map(wanted.__contains__, own)))
        found = []
        # `_reference` written out: with a call for each a rewrite took 2 to 5 % longer.
        for index in indices:
            target = symbols.sections[own[index]]
            row = TYPES.get(relocations.types[index])
            if target <= 0 or (row is not None and row.addend in ("nothing", "distance")):
                continue
            fields = (
                section,
                relocations.places[index],
                relocations.types[index],
                own[index],
                target,
                symbols.values[own[index]] + relocations.addends[index],
            )
            found.append(make(Reference, fields))
        return found

    def landing_pads(self) -> Sequence[CallSite]:
        """Every call site of the object's exception tables that has a landing pad.

        Raises `Refusal` for tables that aren't understood.
        """
        if self._landing_pads is None:
            self._landing_pads = []
            if any(section.name.startswith(".gcc_except_table") for section in self.obj.sections):
                from nopfix.rewriter.object import debug_sections

                self._landing_pads = debug_sections.landing_pads(self.obj)
        return self._landing_pads


_OF_LLVM = (b"clang version", b"rustc version", b"LLVM", b"flang version", b"ldc version")
"""What compilers that use LLVM's assembler put into .comment."""


def _is_of_llvm(obj: elf.Object) -> bool:
    for header in obj.sections:
        if header.name == ".comment":
            comment = bytes(obj.contents(header.number))
            return any(name in comment for name in _OF_LLVM)
    return any(header.name == ".llvm_addrsig" for header in obj.sections)


def _functions(obj: elf.Object) -> dict[int, Functions]:
    symbols = obj.symbols
    found: dict[int, list[tuple[int, int, int]]] = {}
    for index, info in enumerate(symbols.infos):
        if info & 15 in elf.FUNCTIONS and symbols.sections[index] > 0:
            value = symbols.values[index]
            entry = (value, -(value + symbols.sizes[index]), index)
            found.setdefault(symbols.sections[index], []).append(entry)
    result = {}
    for section, entries in found.items():
        entries.sort()
        entries = _without_inherited_sizes(entries)
        for start, end, index in entries:
            if -end > obj.sections[section].size:
                raise Refusal(
                    "the function ends outside its section",
                    section=obj.sections[section].name,
                    offset=start,
                    function=symbols.name(index),
                    remedy="the object is damaged; build it again",
                )
        unique = [e for i, e in enumerate(entries) if not i or entries[i - 1][0] != e[0]]
        result[section] = Functions(
            [start for start, _, _ in unique],
            [-end for _, end, _ in unique],
            [symbols.name(index) for _, _, index in unique],
        )
    return result


def _undeclared(
    symbols: elf.Symbols, values: Sequence[int], indices: Sequence[int]
) -> list[tuple[int, int, str]]:
    """Start, end and name of the symbols among ``indices`` that have a size and no type."""
    sizes, infos = symbols.sizes, symbols.infos
    return [
        (value, value + sizes[index], symbols.name(index))
        for value, index in zip(values, indices, strict=True)
        if sizes[index] and infos[index] & 15 == elf.STT_NOTYPE
    ]


def _with_undeclared(
    functions: Functions, undeclared: Sequence[tuple[int, int, str]], size: int
) -> Functions:
    """``functions`` and those of ``undeclared`` that neither lie in another nor have one in them,
    in a section of ``size`` bytes; of several at one place the longest.
    """
    if not undeclared:
        return functions
    ranked = [(start, False, -end, name) for start, end, name in zip(*functions, strict=True)]
    ranked += [(start, True, -end, name) for start, end, name in undeclared]
    stops = [*functions.starts, size]
    found: list[tuple[int, int, str]] = []
    furthest = following = 0
    for start, is_undeclared, end, name in sorted(ranked):
        following += not is_undeclared
        if not is_undeclared or (furthest <= start and -end <= stops[following]):
            found.append((start, -end, name))
            furthest = max(furthest, -end)
    starts, ends, names = map(list, zip(*found, strict=True)) if found else ([], [], [])
    return Functions(starts, ends, names)


def _without_inherited_sizes(entries: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """``entries``, sorted, each a start, an end with its sign changed, and an index."""
    found = []
    around: list[int] = []
    for start, end, index in entries:
        while around and around[-1] <= start:
            around.pop()
        own = min(-end, around[-1]) if around else -end
        around.append(own)
        found.append((start, -own, index))
    return found


def _symbols_by_section(obj: elf.Object) -> dict[int, tuple[list[int], list[int]]]:
    symbols = obj.symbols
    found: dict[int, list[tuple[int, int]]] = {}
    for index, section in enumerate(symbols.sections):
        if section > 0 and symbols.infos[index] & 15 != elf.STT_SECTION:
            found.setdefault(section, []).append((symbols.values[index], index))
    for pairs in found.values():
        pairs.sort()
    return {
        section: ([value for value, _ in pairs], [index for _, index in pairs])
        for section, pairs in found.items()
    }
