"""What the kernel would refuse in a finished live patch: call by call, before anyone boots it.

Linux loads a module in this order (kernel/module/main.c): modinfo (vermagic, livepatch), undefined
symbols (simplify_symbols), then each relocation table of a section that is loaded
(apply_relocations). Tables with SHF_RELA_LIVEPATCH name symbols that aren't exported
(kernel/livepatch/core.c, klp_apply_section_relocs, klp_resolve_symbols, klp_find_object_symbol).
On PowerPC apply_relocate_add (arch/powerpc/kernel/module_64.c) knows a few types, and a REL24 of
a symbol that is not the module's goes through a stub; so the instruction behind its `bl` has to be
a nop, which restore_r2 overwrites. ("Expected nop after call".)

One thing is refused earlier, when kpatch-build cuts out what changed: a sibling call in a patched
function (kpatch, create-diff-object.c, kpatch_no_sibling_calls_ppc64le).

Not looked at, as they need the addresses that a running kernel gives: branches and TOC entries out
of reach.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from nopfix.verifier import power, regions, relocation_types
from nopfix.verifier.elf import (
    RESERVED,
    SHT_NOBITS,
    STT_FILE,
    STT_SECTION,
    read_module,
    read_symbols,
)
from nopfix.verifier.report import one_line
from nopfix.verifier.source_lines import SourceLines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nopfix.verifier.elf import Linked, Relocation, Section, Symbol

SHF_ALLOC, SHF_RELA_LIVEPATCH = 0x2, 0x00100000
SHN_LIVEPATCH = RESERVED + 0xFF20
STB_WEAK = 2

KNOWN_TYPES = frozenset({1, 10, 26, 38, 44, 47, 48, 50, 51, 63, 64, 109, 118, 250, 252})
"""Those of apply_relocate_add: ADDR32, REL24, REL32, ADDR64, REL64, TOC16 (_LO, _HA), TOC,
TOC16_DS, TOC16_LO_DS, TOCSAVE, ENTRY, REL16_LO, REL16_HA."""
PCREL_TYPES = frozenset({relocation_types.R_PPC64_REL24_NOTOC, 132, 133})
"""Those that only a kernel with CONFIG_PPC_KERNEL_PCREL knows: REL24_NOTOC, PCREL34, GOT_PCREL34.
"""
WITHOUT_RESTORE = frozenset({"_mcount", "ftrace_caller", "ftrace_regs_caller"})
"""is_mprofile_ftrace_call"""

PATCHED, PATCHED_ENTRY = ".kpatch.funcs", 56
"""kpatch's list of patched functions: the first field of each entry is the new one's address."""

_TABLE_NAME = re.compile(r"\.klp\.rela\.([^.]{1,55})")
_SYMBOL_NAME = re.compile(r"\.klp\.sym\.([^.]{1,55})\.([^,]{1,511}),(\d+)")


class Refusal(NamedTuple):
    """One thing that would be refused."""

    by: str
    """The function that refuses: the kernel's, or kpatch's."""
    section: str
    offset: int | None
    """Offset in the section (bytes); None where the refusal is of no place."""
    function: str
    symbol: str
    source: str
    """File and line, where debug information says them; else empty."""
    text: str

    def __str__(self) -> str:
        where = self.section + ("" if self.offset is None else f"+{self.offset:#x}")
        about = " ".join(filter(None, (self.function and f"in {self.function}", self.source)))
        return one_line(f"{where}{f' ({about})' if about else ''}: {self.text} [{self.by}]")


class ModuleReport(NamedTuple):
    """What of a module would be refused, and how much was looked at."""

    refusals: tuple[Refusal, ...]
    counts: dict[str, int]

    @property
    def loads(self) -> bool:
        """True when nothing is known that would be refused."""
        return not self.refusals

    def as_json(self) -> dict[str, Any]:
        """The report as plain lists and dictionaries, for --report."""
        return {
            "loads": self.loads,
            "refusals": [refusal._asdict() for refusal in self.refusals],
            "compared": dict(sorted(self.counts.items())),
        }


def check(module: bytes, vmlinux: bytes | None = None) -> ModuleReport:
    """What would be refused in a module (.ko); `vmlinux` is the kernel that it is for.

    Without the kernel, what depends on its symbols isn't looked at. Raises Unreadable.
    """
    checker = _Checker(module, read_module(module))
    if vmlinux is not None:
        checker.kernel(vmlinux)
    checker.tables()
    checker.sibling_calls()
    return ModuleReport(tuple(checker.refusals), dict(checker.counts))


class _Checker:
    """One module, while it is looked at."""

    def __init__(self, data: bytes, module: Linked) -> None:
        self.module = module
        self.refusals: list[Refusal] = []
        self.counts: Counter[str] = Counter()
        self.sources = SourceLines(data)
        by_section: dict[int, list[Symbol]] = {}
        for symbol in module.symbols:
            by_section.setdefault(symbol.section, []).append(symbol)
        self.functions = {n: regions.functions(found) for n, found in by_section.items()}
        modinfo = [s.data for s in module.sections if s.name == ".modinfo"]
        pairs = (item.partition(b"=") for item in b"\0".join(modinfo).split(b"\0") if item)
        self.modinfo = {key.decode("utf-8", "replace"): value for key, _, value in pairs}

    def refuse(
        self, by: str, section: Section | None, offset: int | None, symbol: str, text: str
    ) -> None:
        """Note a refusal, at a place of a section where there is one."""
        function = source = ""
        if section is not None and offset is not None:
            functions = self.functions.get(section.number)
            start = functions.at(offset) if functions else None
            function = functions.names[start] if functions and start is not None else ""
            source = self.sources.at(section.number, offset)
        name = section.name if section is not None else "module"
        self.refusals.append(Refusal(by, name, offset, function, symbol, source, text))

    # The kernel that the module is for

    def kernel(self, vmlinux: bytes) -> None:
        """modinfo, undefined symbols and livepatch symbols, against the kernel's."""
        magic = self.modinfo.get("vermagic", b"")
        if magic and vmlinux.find(magic) < 0:
            text = f"the kernel's version magic isn't {magic.decode(errors='replace').strip()!r}"
            self.refuse("check_modinfo", None, None, "", text)
        names: Counter[str] = Counter()
        exported = set()
        for symbol in read_symbols(vmlinux):
            if symbol.section and symbol.type not in (STT_FILE, STT_SECTION):
                names[symbol.name] += 1
                if symbol.name.startswith("__ksymtab_"):
                    exported.add(symbol.name.removeprefix("__ksymtab_"))
        others = bool(self.modinfo.get("depends"))
        for symbol in self.module.symbols[1:]:
            if symbol.section == 0 and symbol.name != ".TOC." and symbol.info >> 4 != STB_WEAK:
                self.counts["undefined symbol"] += 1
                if symbol.name.removeprefix(".") not in exported and not others:
                    text = f"unknown symbol {symbol.name}: the kernel doesn't export it"
                    self.refuse("simplify_symbols", None, None, symbol.name, text)
            elif symbol.section == SHN_LIVEPATCH:
                self._livepatch_symbol(symbol, names)

    def _livepatch_symbol(self, symbol: Symbol, names: Counter[str]) -> None:
        """klp_find_object_symbol, for symbols of the kernel itself."""
        parts = _SYMBOL_NAME.match(symbol.name)
        if not parts or parts[1] != "vmlinux":
            return
        self.counts["livepatch symbol"] += 1
        name, position = parts[2], int(parts[3])
        count, text = names[name], ""
        if not count:
            text = f"symbol '{name}' not found in the kernel's symbol table"
        elif count > 1 and not position:
            text = f"unresolvable ambiguity for symbol '{name}': the kernel has {count}"
        elif position > count:
            text = f"symbol position {position} for symbol '{name}' not found: there are {count}"
        if text:
            self.refuse("klp_find_object_symbol", None, None, name, text)

    # Relocations

    def tables(self) -> None:
        """Each relocation table of a section that is loaded."""
        for number, table in self.module.tables.items():
            section = self.module.sections[number]
            target = self.module.sections[section.info]
            if not target.flags & SHF_ALLOC:
                continue
            if section.flags & SHF_RELA_LIVEPATCH:
                self._livepatch_table(section, table)
            for relocation in table:
                self.counts["relocation"] += 1
                self._relocation(target, relocation)

    def _livepatch_table(self, section: Section, table: tuple[Relocation, ...]) -> None:
        """klp_apply_section_relocs and klp_resolve_symbols."""
        if self.modinfo.get("livepatch") != b"Y":
            text = "has livepatch relocations, but its modinfo doesn't say livepatch=Y"
            self.refuse("check_modinfo_livepatch", section, None, "", text)
        named = _TABLE_NAME.match(section.name)
        if not named:
            text = "a livepatch relocation section with an incorrectly formatted name"
            self.refuse("klp_apply_section_relocs", section, None, "", text)
        target = self.module.sections[section.info]
        for relocation in table:
            symbol = self.module.symbols[relocation.symbol]
            parts = _SYMBOL_NAME.match(symbol.name)
            text = ""
            if symbol.section != SHN_LIVEPATCH:
                text = f"symbol {symbol.name} is not marked as a livepatch symbol"
            elif not parts:
                text = f"symbol {symbol.name} has an incorrectly formatted name"
            elif parts[1] == "vmlinux" and named and named[1] != "vmlinux":
                text = f"invalid access to vmlinux symbol '{parts[2]}' from {section.name}"
            if text:
                self.refuse("klp_resolve_symbols", target, relocation.place, symbol.name, text)

    def _relocation(self, target: Section, relocation: Relocation) -> None:
        """apply_relocate_add"""
        kind, place = relocation.type, relocation.place
        symbol = self.module.symbols[relocation.symbol]
        if kind not in KNOWN_TYPES:
            pcrel = " but in a kernel with CONFIG_PPC_KERNEL_PCREL" * (kind in PCREL_TYPES)
            text = f"unknown relocation type {kind} against {symbol.name}{pcrel}"
            self.refuse("apply_relocate_add", target, place, symbol.name, text)
        elif target.type == SHT_NOBITS or place + 4 > len(target.data):
            text = "a relocation of a place that the section doesn't have"
            self.refuse("apply_relocate_add", target, place, symbol.name, text)
        elif kind in (63, 64) and self._misaligned(relocation):
            text = f"bad TOC16_DS relocation: {symbol.name}{relocation.addend:+#x} isn't aligned"
            self.refuse("apply_relocate_add", target, place, symbol.name, text)
        elif kind == relocation_types.R_PPC64_REL24 and symbol.section in (0, SHN_LIVEPATCH):
            self._call(target, place, symbol)

    def _misaligned(self, relocation: Relocation) -> bool:
        """Whether a DS-form's displacement isn't a multiple of 4, as the TOC pointer is."""
        symbol = self.module.symbols[relocation.symbol]
        known = 0 < symbol.section < RESERVED
        aligned = known and self.module.sections[symbol.section].alignment % 4 == 0
        return aligned and (symbol.value + relocation.addend) % 4 != 0

    def _call(self, target: Section, place: int, symbol: Symbol) -> None:
        """restore_r2"""
        self.counts["call that leaves the module"] += 1
        word, behind = (
            int.from_bytes(target.data[at : at + 4], "little") for at in (place, place + 4)
        )
        link = power.is_relative_branch(word) and word & 1
        if symbol.name in WITHOUT_RESTORE or not link or behind == power.NOP:
            return
        name = _SYMBOL_NAME.match(symbol.name)
        callee = name[2] if name else symbol.name
        found = f"{behind:08x} ({power.disassemble(behind, place + 4)})"
        text = f"expected nop after the call of {callee}, got {found}"
        self.refuse("restore_r2", target, place + 4, callee, text)

    # Sibling calls

    def sibling_calls(self) -> None:
        """create-diff-object's check of the sections of patched functions."""
        for section in map(self.module.sections.__getitem__, sorted(self._patched())):
            places = {
                relocation.place: relocation
                for number, table in self.module.tables.items()
                if self.module.sections[number].info == section.number
                for relocation in table
            }
            for place, relocation in sorted(places.items()):
                if section.data[place : place + 4] == b"\0\0\0\x48" and place % 4 == 0:
                    name = self.module.symbols[relocation.symbol].name
                    text = f"an unsupported sibling call of {name or 'a local function'}"
                    by = "kpatch_no_sibling_calls_ppc64le"
                    self.refuse(by, section, place, name, text)

    def _patched(self) -> Iterator[int]:
        """The sections of the patched functions."""
        for number, table in self.module.tables.items():
            if self.module.sections[self.module.sections[number].info].name != PATCHED:
                continue
            for relocation in table:
                section = self.module.symbols[relocation.symbol].section
                if relocation.place % PATCHED_ENTRY == 0 and 0 < section < RESERVED:
                    self.counts["patched function"] += 1
                    yield section
