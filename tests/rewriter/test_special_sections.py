"""Sections that point into code: which fields carry a distance, and what must be refused.

The objects are assembled from text, so that the assembler itself says what a section looks like
with and without the nop.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from nopfix import Refusal, rewrite
from nopfix.dwarf.offset_map import OffsetMap, slot
from nopfix.rewriter.object import elf, kernel_sections
from nopfix.rewriter.object.program import Program
from nopfix.rewriter.options import Options
from nopfix.rewriter.references import special_sections

if TYPE_CHECKING:
    from pathlib import Path

AS = shutil.which("powerpc64le-linux-gnu-as")
needs_as = pytest.mark.skipif(AS is None, reason="powerpc64le-linux-gnu-as is not installed")

HEAD = ".abiversion 2\n.type f,@function\nf:\n"
TAIL = "\nblr\n.size f,.-f\n"

# A feature section as Linux' feature-fixups.h writes it, without its size check.
FEATURE = """
1: {body}
2: .pushsection __ftr_alt_97,"a"
.align 2
3: {alternative}
4: .popsection
.pushsection {section},"a"
.align 3
5: .8byte 1
.8byte 2
.8byte 1b-5b
.8byte 2b-5b
.8byte 3b-5b
.8byte 4b-5b
.popsection
"""


def assemble(tmp_path: Path, text: str) -> bytes:
    assert AS is not None
    output = tmp_path / "x.o"
    subprocess.run([AS, "-a64", "-mpower8", "-o", str(output)], input=text, text=True, check=True)
    return output.read_bytes()


def section_number(obj: elf.Object, name: str) -> int:
    return next(s.number for s in obj.sections if s.name == name)


def feature(body: str, alternative: str, section: str = "__ftr_fixup") -> str:
    return FEATURE.format(body=body, alternative=alternative, section=section)


@needs_as
@pytest.mark.parametrize(
    "section", ["__ftr_fixup", "__mmu_ftr_fixup", "__fw_ftr_fixup", "__btb_flush_fixup"]
)
def test_feature_fields_are_relative_to_the_start_of_their_entry(
    tmp_path: Path, section: str
) -> None:
    if section == "__btb_flush_fixup":
        entry = '1: nop\n2:\n.pushsection __btb_flush_fixup,"a"\n5: .8byte 1b-5b\n.8byte 2b-5b\n'
        text = HEAD + entry * 1 + ".popsection\n" + TAIL
        fields, size = [8], 16
    else:
        text = HEAD + feature("nop", "nop", section) * 2 + TAIL
        fields, size = [16, 24], 48
    obj = elf.read(assemble(tmp_path, text))
    table, code = section_number(obj, section), section_number(obj, ".text")
    expected = {
        (table, entry + field): entry
        for entry in range(0, obj.sections[table].size, size)
        for field in fields
    }
    assert special_sections.base_relative(Program(obj), {code}) == expected


@needs_as
@pytest.mark.parametrize(
    "body",
    [
        # An insertion between the target and target + distance is where a plain reading errs.
        "bl g; bl g; bl g; bl g; bl g; bl g; bl g; bl g; bl g; bl g; bl g; bl g",
        "add 3,3,3; bl g; add 3,3,3",
        "bl g",
    ],
)
def test_feature_sections_move_as_the_assembler_moves_them(tmp_path: Path, body: str) -> None:
    text = HEAD + "bl g; " + feature(body, "nop") + "bl g; " + feature("add 3,3,3", "nop") + TAIL
    plain = assemble(tmp_path, text)
    assert rewrite(plain).data == assemble(tmp_path, text.replace("bl g", "bl g; nop"))


WORD_TABLES = [
    '.pushsection __lwsync_fixup,"a"; .align 2; 3: .8byte 1b-3b; .popsection',
    '.pushsection __barrier_nospec_fixup,"a"; 3: .8byte 1b-3b; .popsection',
    '.pushsection __stf_entry_barrier_fixup,"a"; 3: .8byte 1b-3b; .popsection',
    '.pushsection __uaccess_flush_fixup,"a"; 3: .8byte 1b-3b; .popsection',
    '.pushsection __ex_table,"a"; .balign 4; .long 1b - .; .long 2f - .; .popsection',
    '.pushsection __bug_table,"aw"; 3: .long 1b - .; .long f - .; .short 7, 1; .popsection',
    '.pushsection __jump_table,"aw"; .long 1b - ., 2f - .; .8byte key - .; .popsection',
    '.pushsection __mcount_loc,"a"; .8byte 1b; .popsection',
    '.pushsection __patchable_function_entries,"awo",@progbits,f; .8byte 1b; .popsection',
    '.pushsection __restart_table,"a"; .balign 8; .8byte 1b, 2f, f; .popsection',
    '.pushsection __soft_mask_table,"a"; .balign 8; .8byte 1b, 2f; .popsection',
    '.pushsection .static_call_sites,"aw"; .long 1b - .; .long key - .; .popsection',
    '.pushsection sanmd_atomics,"ao",@progbits,f; .long 1b - .; .popsection',
    '.pushsection .printk_index,"aw"; .8byte key; .popsection',
    '.pushsection .initcall4.init,"a"; .long f - .; .popsection',
    '.pushsection _kprobe_blacklist,"aw"; .8byte f, 1b; .popsection',
    '.pushsection .fixup,"ax"; 4: b 1b; bl g; b 2f; .popsection',
    '.pushsection __stf_exit_barrier_fixup,"a"; .balign 4; 3: .8byte 1b-3b; .popsection',
    '.pushsection __entry_flush_fixup,"a"; .balign 4; 3: .8byte 1b-3b; .popsection',
    '.pushsection __scv_entry_flush_fixup,"a"; .balign 4; 3: .8byte 1b-3b; .popsection',
    '.pushsection __rfi_flush_fixup,"a"; .balign 4; 3: .8byte 1b-3b, 2f-(3b+8); .popsection',
    '.pushsection .con_initcall.init,"a"; .long f - ., 2f - .; .popsection',
    '.pushsection .pci_fixup_early,"a"; .balign 16; .short 1, 2; .long 3, 4, 1b - .; .popsection',
    '.pushsection ___ksymtab+f,"a"; .balign 4; .long f - ., 2f - .; .popsection',
    ".pushsection .discard.reachable; .long 1b - ., 2f - .; .popsection",
    '.pushsection .kcfi_traps,"ao",@progbits,.text; .long 1b - ., 2f - .; .popsection',
    '.pushsection _error_injection_whitelist,"aw"; .8byte 2f; .long 1, 0; .popsection',
    '.pushsection .static_call_tramp_key,"a"; .long 1b - ., key - .; .popsection',
    '.pushsection .note.stapsdt,"",@note; .long 8, 24, 3; .8byte 1b, key, 0; .popsection',
    '.pushsection .gnu.build.attributes,"",@note; .8byte f, 2f; .popsection',
    '.pushsection __sancov_pcs,"aw"; .8byte f, 1, 2f, 0; .popsection',
    '.pushsection __rseq_exit_point_array,"aw"; .8byte 1b, 2f; .popsection',
]


@needs_as
@pytest.mark.parametrize("table", WORD_TABLES, ids=lambda t: t.split()[1].split(",")[0])
def test_each_table_of_places_moves_as_the_assembler_moves_it(tmp_path: Path, table: str) -> None:
    text = (
        HEAD + "bl g\n1: add 3,3,3\nbl g\n" + table + "\nbl g\n2: bl g\n" + TAIL
        + '.section .data.key,"aw"\nkey: .8byte 0\n'
    )  # fmt: skip
    plain = assemble(tmp_path, text)
    want = assemble(tmp_path, text.replace("bl g", "bl g; nop"))
    assert rewrite(plain).data == want


def test_every_section_that_the_kernel_headers_make_has_a_test() -> None:
    tested = {text.split()[1].split(",")[0].rstrip(";") for text in WORD_TABLES}
    tested |= {"__ftr_fixup", "__mmu_ftr_fixup", "__fw_ftr_fixup", "__btb_flush_fixup"}
    seen = {kernel_sections.describe(name) for name in tested if name != ".fixup"}
    assert None not in seen
    without_code = {"__tracepoints_ptrs", "__ftr_alt_*", ".toc", ".orc_unwind_ip", "xray_instr_map"}
    without_code |= {"__rseq_cs_ptr_array", "sanmd_atomics*"}
    untested = {
        d.name for d in kernel_sections.TABLE if d.meaning in ("place", "entry") and d not in seen
    }
    assert untested - without_code == {"__ksymtab*"}


@needs_as
def test_a_call_in_a_restartable_sequence_is_refused_and_one_behind_it_is_not(
    tmp_path: Path,
) -> None:
    table = '.pushsection __rseq_cs,"aw"; .long 0, 0; .8byte 1b, 2f-1b, 3f; .popsection\n'
    text = HEAD + "bl g\n1: ld 9,0(3)\n{inside}2: std 5,0(3)\nbl g\n3: trap\n" + table + TAIL
    plain = text.format(inside="").replace("2f", "2b").replace("3f", "3b")
    want = assemble(tmp_path, plain.replace("bl g", "bl g; nop"))
    assert rewrite(assemble(tmp_path, plain)).data == want
    calling = text.format(inside="bl g\n").replace("2f", "2b").replace("3f", "3b")
    with pytest.raises(Refusal, match=r"a restartable sequence at \.text"):
        rewrite(assemble(tmp_path, calling))


@needs_as
def test_an_alternative_must_not_outgrow_what_it_replaces(tmp_path: Path) -> None:
    # Both sides in code that moves, as an alternative written with .subsection would be.
    text = (
        HEAD
        + feature("nop; nop", "bl g; blr").replace('__ftr_alt_97,"a"', '.text.alternative,"ax"')
        + TAIL
    )
    with pytest.raises(Refusal, match="alternative has 12 bytes, the code it replaces 8") as caught:
        rewrite(assemble(tmp_path, text))
    assert caught.value.section == ".text.alternative"
    roomy = text.replace("1: nop; nop", "1: nop; nop; nop")
    assert rewrite(assemble(tmp_path, roomy)).report.insertions


@needs_as
def test_a_call_in_an_alternative_without_slot_is_refused(tmp_path: Path) -> None:
    text = HEAD + "bl g; " + feature("add 3,3,3; nop; nop", "bl g; blr") + TAIL
    with pytest.raises(Refusal, match="calls g without a slot") as caught:
        rewrite(assemble(tmp_path, text))
    assert caught.value.section == "__ftr_alt_97"
    assert caught.value.offset == 0
    assert rewrite(assemble(tmp_path, text.replace("bl g; blr", "bl g; nop")))


@needs_as
def test_an_alternative_is_left_with_the_code_that_it_replaces(tmp_path: Path) -> None:
    text = (
        HEAD
        + "bl g; ori 3,3,64; mtctr 3; bctr; "
        + feature("add 3,3,3; nop; nop", "bl g; blr")
        + TAIL
    )
    other = ' .section .text.other,"ax"\nother: bl g; blr\n'
    left = assemble(tmp_path, text + other)
    with pytest.raises(Refusal, match="indirect branch that can't be followed"):
        rewrite(left)
    report = rewrite(left, Options(leave_unproved=True)).report
    assert [one.section for one in report.insertions] == [".text.other"]
    assert [one.section for one in report.left] == [".text"]
    elsewhere = text.replace("bctr;", "bctrl;") + other
    with pytest.raises(Refusal, match="calls g without a slot"):
        rewrite(assemble(tmp_path, elsewhere), Options(leave_unproved=True))


@needs_as
@pytest.mark.parametrize(
    "change", [("5: .8byte 1\n", "5:\n"), (".8byte 4b-5b", ".8byte 4b-5b, 1b-5b")]
)
def test_a_feature_table_of_another_layout_is_refused(
    tmp_path: Path, change: tuple[str, str]
) -> None:
    text = HEAD + "bl g; " + feature("bl g", "nop").replace(*change) + TAIL
    with pytest.raises(Refusal, match=r"layout|two ranges") as caught:
        rewrite(assemble(tmp_path, text))
    assert caught.value.section == "__ftr_fixup"


UNKNOWN = HEAD + "{before}1: add 3,3,3\n{after}" + TAIL + '.section vendor_table,"a"\n{table}\n'


@needs_as
def test_an_unknown_section_with_one_reading_is_moved(tmp_path: Path) -> None:
    # One field at offset 0: its base can only be itself.
    text = UNKNOWN.format(before="bl g\n", after="bl g\n", table=".long 1b - .")
    want = text.replace("bl g", "bl g; nop")
    assert rewrite(assemble(tmp_path, text)).data == assemble(tmp_path, want)


@needs_as
def test_an_unknown_section_is_moved_where_all_readings_agree(tmp_path: Path) -> None:
    filler = "ori 3,3,0\n" * 8
    text = UNKNOWN.format(
        before="bl g\n" + filler, after=filler + "bl g\n", table="5: .8byte 0, 1b - 5b"
    )
    want = text.replace("bl g", "bl g; nop")
    assert rewrite(assemble(tmp_path, text)).data == assemble(tmp_path, want)


@needs_as
@pytest.mark.parametrize("before", ["bl g\n", ""])
def test_an_unknown_section_is_refused_where_the_readings_differ(
    tmp_path: Path, before: str
) -> None:
    text = UNKNOWN.format(
        before=before, after="ori 3,3,0\nbl g\nori 3,3,0\nbl g\n", table="5: .8byte 0, 1b - 5b"
    )
    data = assemble(tmp_path, text)
    with pytest.raises(Refusal, match="whose base is unknown") as caught:
        rewrite(data)
    assert caught.value.section == "vendor_table"
    assert caught.value.offset == 8
    assert "--plain-section vendor_table" in caught.value.remedy


@needs_as
def test_the_user_may_vouch_for_an_unknown_section(tmp_path: Path) -> None:
    text = UNKNOWN.format(before="bl g\n", after="bl g\nbl g\n", table=".8byte 0\n.long 1b - .")
    data = assemble(tmp_path, text)
    with pytest.raises(Refusal):
        rewrite(data)
    want = assemble(tmp_path, text.replace("bl g", "bl g; nop"))
    assert rewrite(data, Options(plain_sections=["vendor_table"])).data == want


@needs_as
@pytest.mark.parametrize(
    "name", [".llvm_bb_addr_map", ".llvm_stackmaps", ".sframe", ".pseudo_probe"]
)
def test_sections_with_resolved_distances_are_refused_once_code_moves(
    tmp_path: Path, name: str
) -> None:
    table = f'.section {name},"a"\n.8byte f\n.uleb128 1b - f\n'
    with pytest.raises(Refusal, match="plain numbers") as caught:
        rewrite(assemble(tmp_path, HEAD + "bl g\n1:" + TAIL + table))
    assert caught.value.section == name
    still = assemble(tmp_path, HEAD + "bl g\nnop\n1:" + TAIL + table)
    assert rewrite(still).data == still


@needs_as
def test_an_alternative_whose_length_is_a_number_may_not_change(tmp_path: Path) -> None:
    entry = '.section .altinstructions,"a"\n.long 1b - ., 3f - .\n.short 7\n.byte 2b-1b, 0\n'
    near = HEAD + "1: bl g\n2:" + TAIL + '.section .alt,"a"\n3:\n' + entry.replace("3f", "3b")
    with pytest.raises(Refusal, match="length is a plain number"):
        rewrite(assemble(tmp_path, near))
    far = (
        near.replace("2:", "2: nop\n")
        .replace("1: bl g", "1: nop")
        .replace("blr", ".rept 70\nnop\n.endr\nbl g\nblr")
    )
    want = far.replace("bl g", "bl g; nop")
    assert rewrite(assemble(tmp_path, far)).data == assemble(tmp_path, want)


@pytest.mark.skipif(shutil.which("clang-19") is None, reason="clang-19 isn't installed")
@pytest.mark.parametrize("kind", ["covered", "uar", "all", "covered,atomics"])
def test_sizes_of_functions_beside_their_places_are_refused_whatever_the_user_vouches_for(
    tmp_path: Path, kind: str
) -> None:
    """LLVM's SanitizerBinaryMetadata."""
    (tmp_path / "x.c").write_text(
        "extern int g(int); static int v;\n"
        "static __attribute__((noinline)) int f(int x)"
        " { return g(__atomic_add_fetch(&v, x, 5)) + 1; }\n"
        "int h(int x) { return f(x) + f(x + 2); }\n"
    )
    command = ["clang-19", "--target=powerpc64le-linux-gnu", "-O2", "-c", "x.c"]
    option = f"-fexperimental-sanitize-metadata={kind}"
    subprocess.run([*command, option], cwd=tmp_path, check=True)
    data = (tmp_path / "x.o").read_bytes()
    for plain in ([], ["sanmd_covered2", "sanmd_atomics2"]):
        with pytest.raises(Refusal, match="as plain numbers") as refused:
            rewrite(data, Options(plain_sections=plain))
        assert refused.value.section == "sanmd_covered2"
        assert "--plain-section" not in refused.value.remedy


@needs_as
def test_nothing_is_refused_for_sections_that_dont_move(tmp_path: Path) -> None:
    text = HEAD + "nop\n1:" + TAIL + '.section vendor_table,"a"\n5: .8byte 0, 1b - 5b\n'
    obj = elf.read(assemble(tmp_path, text))
    other = OffsetMap([slot(8)])
    special_sections.check(Program(obj), {99: other})
    special_sections.check(Program(obj), {section_number(obj, ".text"): OffsetMap()})


@needs_as
@pytest.mark.parametrize(
    "table",
    [
        '.pushsection __jump_table,"aw"; .long 1b - ., 2f - .; .8byte key - .; .popsection',
        '.pushsection __lwsync_fixup,"a"; 3: .8byte 1b-3b; .popsection',
        '.pushsection __mcount_loc,"a"; .8byte 1b; .popsection',
        '.pushsection vendor_table,"a"; .4byte 1b - .; .popsection',
        '.pushsection .note.stapsdt,"",@note; .8byte 1b; .popsection',
        FEATURE.partition(": .pushsection")[2].join(["2: .pushsection", ""]).format(
            alternative="li 3,0", section="__ftr_fixup"
        ),
    ],
)  # fmt: skip
def test_a_nop_that_a_table_names_is_no_calls_slot(tmp_path: Path, table: str) -> None:
    """A static key's nop becomes a branch; the TOC would not be restored then."""
    text = HEAD + "bl g\n1: nop\n" + table + "\n2: add 3,3,3\n" + TAIL
    text += '.section .data.key,"aw"\nkey: .8byte 0\n'
    want = assemble(tmp_path, text.replace("bl g\n1:", "bl g\nnop\n1:"))
    assert rewrite(assemble(tmp_path, text)).data == want


@needs_as
def test_a_nop_that_a_branch_leads_to_is_no_calls_slot(tmp_path: Path) -> None:
    """As a slot it becomes a load of r2 from a frame in which nobody saved it."""
    text = HEAD + "beq 1f\nbl g\n1: nop\n" + TAIL
    want = assemble(tmp_path, text.replace("bl g\n", "bl g\nnop\n"))
    assert rewrite(assemble(tmp_path, text)).data == want
    slot = assemble(tmp_path, HEAD + "beq 1f\nbl g\nnop\n1: nop\n" + TAIL)
    assert rewrite(slot).data == slot
