"""Sections that point into code by a layout of their own, as a table.

The problem: the kernel, and others who patch or watch code, keep tables of code addresses in
sections of their own: exceptions, bugs, static keys, feature fix-ups, probes.  The ELF file says
only where their relocations are; what the numbers between them mean, and what a field counts from,
their names must tell.  The rule: one row a kind.  `object.claims` asks it who claims a place,
`references.special_sections` what moves and what can't.

Source: Linux arch/powerpc/include/asm/feature-fixups.h, asm-compat.h, ppc_asm.h (SOFT_MASK_TABLE,
RESTART_TABLE), bug.h, jump_label.h, extable.h; include/linux/static_call_types.h, init.h, pci.h,
export.h; SystemTap's <sys/sdt.h>; annobin's notes; LLVM's docs/Extensions.rst (.llvm_bb_addr_map),
docs/StackMaps.rst, docs/XRay.rst, and the tables of SanitizerCoverage (__sancov_pcs) and
SanitizerBinaryMetadata (sanmd_covered has the size of each function); Linux's
include/uapi/linux/rseq.h; the SFrame specification, version 2.
"""

from __future__ import annotations

from nopfix.dwarf.record import Literal, Record
from nopfix.rewriter.object import elf

Meaning = Literal["place", "entry", "resolved", "alternative", "sequence"]
"""What a section's code fields hold.

"place": the target, relative to the field itself where the relocation is PC-relative.  "entry": the
target relative to the start of the entry.  "resolved": distances inside code, as plain numbers.
"alternative": targets, and lengths of at most 255 bytes behind them as plain numbers.
"sequence": targets, and the length of the code at the first one as a plain number behind it.
"""


class Descriptor(Record):
    """What is known of a section: name, entry size and code fields in bytes, their meaning.

    ``alignment`` in bytes is what the first field's target was given, since its patcher needs it.
    A name that begins or ends with ``*`` stands for all that end or begin so.  An entry size of 0
    says that entries differ between versions, or that the section is not a table.
    """

    name: str
    entry_size: int
    code_fields: tuple[int, ...]
    meaning: Meaning
    alignment: int = 0


TOC = ".toc"
"""Addresses of anything, which code loads (ELFv2 ABI, 3.4.3)."""
TABLE = (
    # Feature sections: mask, value, then start, end, alternative's start and end.
    Descriptor("__ftr_fixup", 48, (16, 24, 32, 40), "entry"),
    Descriptor("__mmu_ftr_fixup", 48, (16, 24, 32, 40), "entry"),
    Descriptor("__fw_ftr_fixup", 48, (16, 24, 32, 40), "entry"),
    Descriptor("__btb_flush_fixup", 16, (0, 8), "entry"),
    # One word an entry: its start is its place.
    Descriptor("__lwsync_fixup", 8, (0,), "place"),
    Descriptor("*_barrier_fixup", 8, (0,), "place"),
    Descriptor("*_flush_fixup", 8, (0,), "place"),
    Descriptor("__barrier_nospec_fixup", 8, (0,), "place"),
    Descriptor("__ex_table", 8, (0, 4), "place"),
    Descriptor("__bug_table", 0, (0,), "place"),
    Descriptor("__jump_table", 16, (0, 4), "place"),
    Descriptor("__mcount_loc", 8, (0,), "place"),
    Descriptor("__patchable_function_entries", 8, (0,), "place"),
    Descriptor(".note.stapsdt", 0, (), "place"),
    Descriptor(".gnu.build.attributes*", 0, (), "place"),
    Descriptor("__sancov_pcs", 16, (0,), "place"),
    Descriptor("__restart_table", 24, (0, 8, 16), "place"),
    Descriptor("__soft_mask_table", 16, (0, 8), "place"),
    Descriptor(".static_call_sites", 8, (0,), "place"),
    Descriptor(".static_call_tramp_key", 8, (0,), "place"),
    Descriptor(".printk_index", 8, (), "place"),
    Descriptor(".initcall*", 0, (0,), "place"),
    Descriptor(".con_initcall.init", 0, (0,), "place"),
    Descriptor(".pci_fixup_*", 16, (12,), "place"),
    Descriptor("___ksymtab*", 0, (0,), "place"),
    Descriptor("__ksymtab*", 0, (0,), "place"),
    Descriptor("_kprobe_blacklist", 8, (0,), "place"),
    Descriptor("_error_injection_whitelist", 0, (0,), "place"),
    Descriptor("__tracepoints_ptrs", 0, (), "place"),
    Descriptor(".discard.*", 0, (0,), "place"),
    Descriptor(".orc_unwind_ip", 4, (0,), "place"),
    Descriptor("__ftr_alt_*", 0, (), "place"),
    Descriptor(TOC, 8, (0,), "place"),
    Descriptor(".kcfi_traps", 4, (0,), "place"),
    Descriptor("xray_instr_map", 32, (0, 8), "place", 8),
    Descriptor(".altinstructions", 0, (0, 4), "alternative"),
    Descriptor("sanmd_covered*", 0, (), "resolved"),
    Descriptor("sanmd_atomics*", 0, (0,), "place"),
    Descriptor("__rseq_cs", 32, (8, 24), "sequence"),
    Descriptor("__rseq_cs_ptr_array", 8, (), "place"),
    Descriptor("__rseq_exit_point_array", 16, (0, 8), "place"),
    Descriptor(".llvm_bb_addr_map*", 0, (), "resolved"),
    Descriptor(".llvm_stackmaps", 0, (), "resolved"),
    Descriptor(".llvm_faultmaps", 0, (), "resolved"),
    Descriptor(".pseudo_probe", 0, (), "resolved"),
    Descriptor(".sframe", 0, (), "resolved"),
    Descriptor(".BTF.ext", 0, (), "resolved"),
    Descriptor(".gopclntab", 0, (), "resolved"),
    Descriptor(".gdb_index", 0, (), "resolved"),
)

# Unwind and debug sections have modules of their own, which know what their numbers mean.
_ELSEWHERE = (".debug_", ".zdebug_", ".eh_frame", ".gcc_except_table")


def describe(name: str) -> Descriptor | None:
    """The descriptor of the section called ``name``, None when nothing is known of it."""
    known = _EXACT.get(name)
    if known is not None:
        return known
    for prefix, suffix, descriptor in _PATTERNS:
        if name.startswith(prefix) and name.endswith(suffix):
            return descriptor
    return None


_EXACT = {d.name: d for d in TABLE if "*" not in d.name}
_PATTERNS = [
    (d.name.partition("*")[0], d.name.partition("*")[2], d) for d in TABLE if "*" in d.name
]


def is_plain_data(section: elf.Section) -> bool:
    """Whether ``section`` is data that is loaded and that no rule here knows."""
    return (
        section.type == elf.SHT_PROGBITS
        and section.flags & (elf.SHF_EXECINSTR | elf.SHF_ALLOC) == elf.SHF_ALLOC
        and describe(section.name) is None
        and not is_elsewhere(section)
    )


def is_elsewhere(section: elf.Section) -> bool:
    """Whether ``section`` is unwind or debug information, which has modules of its own."""
    return section.name.startswith(_ELSEWHERE)
