"""The nops are where the calls that need a slot are, and nowhere else."""

from __future__ import annotations

import pytest

from nopfix.corpus import assembly

FUNCTION = """\t.section\t".text"
\t.align 2
\t.p2align 4,,15
\t.globl f
\t.type\tf, @function
f:
{body}\tblr
\t.size\tf,.-f
"""


def want(body: str) -> str:
    return assembly.edit(FUNCTION.format(body=body)).want


@pytest.mark.parametrize(
    "call",
    [
        "bl _mcount",
        "bl _savegpr0_28",
        "bl _restgpr1_14",
        "bl _savefpr_14",
        "bl _restvr_20",
        "bl __morestack",
        "bl g@notoc",
        "bl .+4",
        "bl 1f",
        "bl .LCF0\n.LCF0:",
        "bcl 20,31,$+4",
        "bctrl",
    ],
)
def test_what_is_no_call_of_a_function_gets_no_nop(call: str) -> None:
    assert assembly.edit(FUNCTION.format(body=f"\t{call}\n\tmr 3,4\n")).nops == 0


@pytest.mark.parametrize(
    "slot", ["nop", "ori 0,0,0", "ld 2,24(1)", "cror 15,15,15", "cror 31,31,31"]
)
def test_a_call_that_has_its_slot_gets_no_second_one(slot: str) -> None:
    assert assembly.edit(FUNCTION.format(body=f"\tbl g\n.LVL1:\n\t{slot}\n")).nops == 0


@pytest.mark.parametrize(
    "callee", ["g", "_ZN1A1fEv", "f", "my_mcount", "g+8", "_restgpr0", "__morestack_make_guard"]
)
def test_any_other_bl_gets_a_nop_right_behind_it(callee: str) -> None:
    edited = assembly.edit(FUNCTION.format(body=f"\tbl {callee}\n\tmr 3,4\n"))
    assert edited.calls == (callee,)
    assert f"\tbl {callee}\n\tnop\n\tmr 3,4\n" in edited.want


def test_a_call_at_the_end_of_a_function_gets_its_nop_before_the_padding() -> None:
    text = FUNCTION.format(body="").replace("\tblr\n", "\tbl g\n")
    following = text.replace("f", "h")
    assert "\tbl g\n\tnop\n\t.size\tf,.-f" in assembly.edit(text + following).want


def test_labels_stay_behind_the_nop_and_get_an_alias_before_it() -> None:
    assert "\tbl g\n.LVL1_ret:\n.L2_ret:\n\tnop\n.LVL1:\n\t.loc 1 2 3\n.L2:\n" in want(
        "\tbl g\n.LVL1:\n\t.loc 1 2 3\n.L2:\n\tmr 3,4\n"
    )


def test_only_uses_that_mean_the_return_address_take_the_alias() -> None:
    debug = (
        '\t.section\t.debug_info,"",@progbits\n'
        "\t.8byte\t.LVL1\t # DW_AT_call_return_pc\n"
        "\t.uleb128 0x9\t # (DIE (0xb9) DW_TAG_GNU_call_site)\n"
        "\t.8byte\t.LVL1\t # DW_AT_low_pc\n"
        "\t.8byte\t.LVL1\t # DW_AT_low_pc\n"
        '\t.section\t.debug_loclists,"",@progbits\n'
        "\t.uleb128 .LVL1-1-.LVL0\t # end\n"
        "\t.uleb128 .LVL1-.LVL0\t # end\n"
    )
    edited = assembly.edit(FUNCTION.format(body="\tbl g\n.LVL1:\n\tmr 3,4\n") + debug).want
    assert "\t.8byte\t.LVL1_ret\t # DW_AT_call_return_pc\n" in edited
    assert "GNU_call_site)\n\t.8byte\t.LVL1_ret\t # DW_AT_low_pc\n\t.8byte\t.LVL1\t" in edited
    assert "\t.uleb128 .LVL1_ret-1-.LVL0\t # end\n\t.uleb128 .LVL1-.LVL0\t # end\n" in edited


def test_a_use_after_a_call_that_had_its_slot_takes_no_alias() -> None:
    debug = '\t.section\t.debug_info,"",@progbits\n\t.8byte\t.LVL1\t # DW_AT_call_return_pc\n'
    text = FUNCTION.format(body="\tbl g\n\tnop\n.LVL1:\n\tbl h\n\tmr 3,4\n") + debug
    assert "\t.8byte\t.LVL1\t # DW_AT_call_return_pc\n" in assembly.edit(text).want


def test_alignment_inside_functions_goes_and_that_of_starts_and_tables_stays() -> None:
    body = "\tbctr\n\t.p2align 2\n\t.align 2\n.L4:\n\t.long .L5-.L4\n\t.p2align 4,,15\n.L5:\n"
    edited = assembly.edit(FUNCTION.format(body=body))
    assert edited.dropped_alignments == 1
    assert edited.plain.count(".p2align 4,,15") == 1
    assert ".p2align 2\n" in edited.plain
    kept = assembly.edit(FUNCTION.format(body=body), keep_alignment=True)
    assert kept.plain.count(".p2align 4,,15") == 2


def test_calls_in_other_sections_are_found_and_data_is_left_alone() -> None:
    text = (
        '\t.section\t.rodata\n\t.string "\\tbl g"\n'
        '\t.section\t.text.unlikely,"ax",@progbits\n\tbl g\n\tmr 3,4\n'
        '\t.section\t.init.text,"ax",@progbits\n\tbl g\n'
    )
    assert assembly.edit(text).calls == ("g", "g")


def test_a_sled_at_a_return_stays_aligned_and_a_loop_beside_it_doesnt() -> None:
    sled = "blr\n\tnop\n\tstd 0, -8(1)\n\tmflr 0\n\tbl __xray_FunctionExit\n\tnop\n\tmtlr 0\n"
    text = (
        ".Lfunc_begin0:\n\tbl g\n\t.p2align\t4\n.LBB0_1:\n\tbdnz .LBB0_1\n"
        f"\t.p2align\t3\n.Ltmp1:\n\t{sled}\tblr\n.Lfunc_end0:\n"
    )
    edited = assembly.edit("\t.text\n" + text)
    assert (edited.calls, edited.dropped_alignments) == (("g",), 1)
    assert "\t.p2align\t3\n" in edited.want
    assert "\t.p2align\t4\n" not in edited.want


ADDRESSES = """\t.section\t.debug_addr,"",@progbits
\t.4byte\t0x14\t # Length of Address Unit
\t.2byte\t0x5\t # DWARF addr version
.Ldebug_addr0:
\t.8byte\t.LVL1\t # 0x0
\t.8byte\t.LVL2\t # 0x1
\t.section\t.debug_info.dwo,"e",@progbits
\t.uleb128 0\t # DW_AT_call_return_pc
\t.uleb128 0x1\t # DW_AT_call_return_pc
"""
CALLS = FUNCTION.format(body="\tbl g\n.LVL1:\n\tmr 3,4\n\tbl h\n.LVL2:\n\tmr 3,4\n")


def test_an_address_that_only_call_sites_use_becomes_the_return_address() -> None:
    edited = assembly.edit(CALLS + ADDRESSES).want
    assert "\t.8byte\t.LVL1_ret\t # 0x0\n\t.8byte\t.LVL2_ret\t # 0x1\n" in edited


def test_an_address_that_is_a_start_too_is_kept_and_the_call_site_gets_its_own() -> None:
    lists = "\t.uleb128 0x1\t # Location list range start index (*.LVL2)\n"
    edited = assembly.edit(CALLS + ADDRESSES + lists)
    assert (
        "\t.8byte\t.LVL1_ret\t # 0x0\n\t.8byte\t.LVL2\t # 0x1\n\t.8byte\t.LVL2_ret" in edited.want
    )
    assert "\t.4byte\t0x1c\t # Length of Address Unit" in edited.want
    assert "\t.uleb128 0x2\t # DW_AT_call_return_pc\n" in edited.want
    assert lists in edited.want
    assert edited.unwritable_indices == 0


def test_the_start_of_a_list_that_has_no_comment_is_one_all_the_same() -> None:
    lists = (
        '\t.section\t.debug_loc.dwo,"e",@progbits\n\t.byte\t3\n\t.byte\t1\n\t.long\t.LVL9-.LVL2\n'
    )
    edited = assembly.edit(CALLS + ADDRESSES + lists).want
    assert "\t.8byte\t.LVL2\t # 0x1\n\t.8byte\t.LVL2_ret" in edited
    assert lists in edited


def test_the_length_of_64_bit_dwarf_is_no_address() -> None:
    wide = ADDRESSES.replace("\t.4byte\t0x14\t", "\t.4byte\t0xffffffff\n\t.8byte\t0x14\t")
    lists = "\t.uleb128 0x1\t # Location list range start index (*.LVL2)\n"
    edited = assembly.edit(CALLS + wide + lists).want
    assert "\t.8byte\t0x1c\t # Length of Address Unit" in edited
    assert "\t.8byte\t.LVL1_ret\t # 0x0\n\t.8byte\t.LVL2\t # 0x1\n\t.8byte\t.LVL2_ret" in edited


def test_a_call_of_a_label_in_another_section_is_a_call() -> None:
    text = (
        FUNCTION.format(body="\tbl .LC0\n\tmr 3,4\n") + '\t.section .rodata\n.LC0:\n\t.string "x"\n'
    )
    assert assembly.edit(text).calls == (".LC0",)


def test_a_nop_that_something_jumps_to_is_no_slot() -> None:
    jumped = "\tbeq 0,.L2\n\tbl g\n.L2:\n\tnop\n"
    assert assembly.edit(FUNCTION.format(body=jumped)).calls == ("g",)
    fallen = "\tbl g\n.LVL2:\n\tnop\n"
    assert assembly.edit(FUNCTION.format(body=fallen)).calls == ()


@pytest.mark.parametrize(("label", "named"), [(".Ltmp3", ".Ltmp3"), ("990", "990b")])
def test_a_nop_whose_address_stands_in_data_is_no_slot(label: str, named: str) -> None:
    probe = f"\tbl g\n{label}:\n\tnop\n\t.pushsection .note.stapsdt\n\t.8byte {{}}\n\t.popsection\n"
    assert assembly.edit(FUNCTION.format(body=probe.format(named))).calls == ("g",)
    assert assembly.edit(FUNCTION.format(body=probe.format("other"))).calls == ()


def test_a_section_directive_behind_previous_counts() -> None:
    """The kernel's macros write it so, and gas takes it for a statement of its own."""
    tables = (
        '\t.section __ex_table,"a"; .long 1 ; .previous .section __bug_table,"aw"\n'
        "\t.long 1b\n\t.previous\n"
    )
    body = f"1:\ttwi 31,0,0\n{tables}\tbl g\n\tmr 3,4\n"
    assert assembly.edit(FUNCTION.format(body=body)).calls == ("g",)
