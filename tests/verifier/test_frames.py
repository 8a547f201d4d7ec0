"""Unwind and exception tables: whose they are, whatever they are called."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

import nopfix
from nopfix.verifier import elf, verify
from nopfix.verifier.relocation_types import R_PPC64_NONE, R_PPC64_REL32
from tests.verifier import damage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Variants = Callable[..., tuple[bytes, bytes]]

SOURCE = """
    .text
    .globl f
    .type f, @function
f:  .cfi_startproc
    .cfi_personality 0x9b,DW.ref.p
    .cfi_lsda 0x1b,.Llsda
    mflr 0
    .cfi_def_cfa_offset 32
.Lb: bl g
    SLOT
    bl g
    SLOT
.Le: mtlr 0
    .cfi_def_cfa_offset 0
.Lp: blr
    .cfi_endproc
    .size f, .-f
    .type g, @function
g:  blr
    .size g, .-g
    .section .gcc_except_table,"a",@progbits
.Llsda: .byte 0xff,0xff,1
    .uleb128 .Lce-.Lcs
.Lcs: .uleb128 .Lb-f
    .uleb128 .Le-.Lb
    .uleb128 .Lp-f
    .uleb128 0
.Lce:
    .section .data.DW.ref.p,"aw"
DW.ref.p: .quad __gcc_personality_v0
    .section .rodata
    # What begins as a CIE does, but is none.
    .long 12, 0, 1, 2
"""


def renamed(data: bytes, folder: Path) -> bytes:
    (folder / "in.o").write_bytes(data)
    subprocess.run(
        ["powerpc64le-linux-gnu-objcopy", "--prefix-alloc-sections=.init", "in.o", "out.o"],
        cwd=folder,
        check=True,
    )
    return (folder / "out.o").read_bytes()


@pytest.mark.parametrize("section", ["", ".eh_frame", ".gcc_except_table"])
def test_unwind_tables_are_known_under_another_name(
    section: str, variants: Variants, tmp_path: Path
) -> None:
    """Right where both are the assembler's, wrong where one section is IN's."""
    old, new = (renamed(data, tmp_path) for data in variants(SOURCE))
    if section:
        before, after = (_contents(data, ".init" + section) for data in (old, new))
        assert len(before) == len(after)
        assert before != after
        new = new.replace(after, before)
    assert verify(old, new).verified == (not section)


def _contents(data: bytes, name: str) -> bytes:
    return next(section.data for section in elf.read(data).sections if section.name == name)


def _relocations(data: bytes, name: str) -> tuple[elf.Relocation, ...]:
    obj = elf.read(data)
    return obj.relocations[next(s.number for s in obj.sections if s.name == name)]


#: Two LSDAs with type tables of 8 bytes. The first grows by a byte, as its landing pad gets beyond
#: 127, so that its table needs 7 bytes of padding more; the second has a symbol, as clang gives it.
TYPES = """
    .text
    .type g, @function
g:  blr
    .size g, .-g
"""
for _number, _words in ((1, 30), (2, 1)):
    TYPES += f"""
    .globl f{_number}
    .type f{_number}, @function
f{_number}:
    .cfi_startproc
    .cfi_personality 0x9b,DW.ref.p
    .cfi_lsda 0x1b,table{_number}
.Lb{_number}: bl g
    SLOT
.Le{_number}:
    .rept {_words}
    mr 3,4
    .endr
.Lp{_number}: blr
    .cfi_endproc
    .size f{_number}, .-f{_number}
    .section .gcc_except_table,"a",@progbits
    .balign 8
table{_number}: .byte 0xff,0x94
    .uleb128 .Ltypes{_number}-.Ld{_number}
.Ld{_number}: .byte 1
    .uleb128 .Lce{_number}-.Lcs{_number}
.Lcs{_number}: .uleb128 .Lb{_number}-f{_number}
    .uleb128 .Le{_number}-.Lb{_number}
    .uleb128 .Lp{_number}-f{_number}
    .uleb128 1
    .rept 3
    .uleb128 0,1,0,0
    .endr
.Lce{_number}: .byte 1,0,1
    .balign 8
    MORE{_number}
    .8byte DW.ref.t-.
.Ltypes{_number}:
    .text
"""
TYPES += """
    .section .data.DW.ref.p,"aw"
DW.ref.p: .quad __gcc_personality_v0
"""


def test_the_types_of_an_lsda_are_aligned_to_their_size(variants: Variants) -> None:
    words = {"MORE1": ("", ""), "MORE2": ("", "")}
    old, new = variants(TYPES, **words)
    sizes = [len(_contents(data, ".gcc_except_table")) for data in (old, new)]
    assert sizes[1] - sizes[0] == 8
    assert verify(old, new).verified
    assert not verify(*variants(TYPES, **(words | {"MORE2": ("", ".8byte 0")}))).verified


def test_no_byte_comes_behind_an_exception_table_that_aligns_nothing(variants: Variants) -> None:
    source = SOURCE.replace(".Lce:", ".Lce: .byte 1\n MORE")
    assert verify(*variants(source, MORE=("", ""))).verified
    assert not verify(*variants(source, MORE=("", ".byte 0"))).verified


#: Frames of .debug_frame; the advance in f's needs another byte with the slot, and so does its FDE,
#: padded to 8.
DEBUG_FRAME = """
    .cfi_sections .debug_frame
    .text
    .type f, @function
f:  .cfi_startproc
    mflr 0
    .cfi_register 65,0
    .cfi_def_cfa_offset 32
    .cfi_remember_state
    bl f
    SLOT
    .rept 62
    mr 3,4
    .endr
    .cfi_restore_state
    .rept 7
    .cfi_remember_state
    .endr
    blr
    .cfi_endproc
    .size f, .-f
"""


def test_a_cie_behind_a_frame_that_grew_is_named_where_it_went(
    variants: Variants, tmp_path: Path
) -> None:
    """`ld -r` keeps the relocations that name CIEs, and several of these."""
    program = shutil.which("powerpc64le-linux-gnu-ld")
    if program is None:
        pytest.skip("needs powerpc64le-linux-gnu-ld")
    both = []
    for data in variants(DEBUG_FRAME):
        (tmp_path / "one.o").write_bytes(data)
        command = [program, "-r", "-z", "muldefs", "one.o", "one.o", "-o", "both.o"]
        subprocess.run(command, cwd=tmp_path, check=True)
        both.append((tmp_path / "both.o").read_bytes())
    old, new = both
    (_, before), (at, after) = map(_second_cie, both)
    assert before != after
    assert verify(old, new).verified
    for wrong in (before, 0):
        assert not verify(old, new[:at] + wrong.to_bytes(8, "little") + new[at + 8 :]).verified


def _second_cie(data: bytes) -> tuple[int, int]:
    """Where the addend of the last relocation that names a CIE is in the file, and what it is."""
    obj = elf.read(data)
    (number,) = (s.number for s in obj.sections if s.name == ".debug_frame")
    (table,) = (s for s in obj.sections if s.type == elf.SHT_RELA and s.info == number)
    relocations = obj.relocations[number]
    last = max(n for n, r in enumerate(relocations) if obj.target(r)[0] == number)
    return table.offset + 24 * last + 16, relocations[last].addend


#: A function that ends with a call, and what is said of its frame behind that.
AT_THE_END = """
    .text
    .p2align 4
    .globl f
    .type f, @function
f:  .cfi_startproc
    mflr 0
    .cfi_register 65,0
    bl k
    FRONT
    SLOT
    END
    .cfi_endproc
    .size f, .-f
    .p2align 4
    .type k, @function
k:  blr
    .size k, .-k
"""


@pytest.mark.parametrize("in_front", [False, True])
def test_what_is_said_at_a_functions_end_is_behind_the_slot_and_in_front_of_the_padding(
    in_front: bool, variants: Variants
) -> None:
    said = ".cfi_restore 65"
    words = {"FRONT": ("", said if in_front else ""), "END": (said, "" if in_front else said)}
    assert verify(*variants(AT_THE_END, **words)).verified != in_front


#: Numbers of the call site grow with the slots; what is behind it has other padding then.
ACTIONS = (
    SOURCE.replace(".Le: mtlr 0\n", ".Le: mtlr 0\n .rept 27\n li 3,1\n .endr\n")
    .replace(".byte 0xff,0xff,1", ".byte 0xff,0x9b\n .uleb128 .Lt-.Lx\n.Lx: .byte 1")
    .replace(".uleb128 0\n.Lce:", ".uleb128 3+MORE\n.Lce: RECORDS\n .balign 4\n TYPES\n.Lt: LISTS")
)


@pytest.mark.parametrize(
    ("types", "records", "lists"),
    [
        (".long DW.ref.p-.", ".byte 1,0\n .skip MORE\n .byte 1,ZERO", ""),
        (".long 0", ".byte 1,0\n .skip MORE\n .byte 1,ZERO", ""),
        ("", ".byte 1,0\n .skip MORE\n .byte 0x7f,0", ".byte 1,ZERO"),
    ],
)
def test_the_zero_at_the_end_of_what_an_exception_table_uses_is_no_padding(
    types: str, records: str, lists: str, variants: Variants
) -> None:
    source = ACTIONS.replace("RECORDS", records).replace("LISTS", lists).replace("TYPES", types)
    damaged = 0
    for more in range(4):
        words = {"MORE": (str(more), str(more))}
        old, new = variants(source, ZERO=("0", "0"), **words)
        assert verify(old, new).verified
        _, cut = variants(source.replace("1,ZERO", "1"), **words)
        if cut != new:
            damaged += 1
            assert not verify(old, cut).verified, more
    assert damaged


@pytest.mark.parametrize(("zeros", "right"), [(0, True), (4, True), (8, False), (24, False)])
def test_zeros_behind_exception_tables_are_no_more_than_an_alignment_needs(
    zeros: int, right: bool, variants: Variants
) -> None:
    source = TYPES + '.section .gcc_except_table,"a",@progbits\n .skip ZEROS'
    words = {"MORE1": ("", ""), "MORE2": ("", ""), "ZEROS": ("0", str(zeros))}
    assert verify(*variants(source, **words)).verified == right


@pytest.mark.parametrize(("there", "right"), [(1, True), (0, False)])
def test_what_is_left_of_a_dropped_functions_field_names_no_field(
    there: int, right: bool, variants: Variants
) -> None:
    """`ld -r` leaves R_PPC64_NONE against nothing, where another field may be by then."""
    words = {"MORE1": ("", ""), "MORE2": ("", ""), "THERE": ("1", str(there))}
    place = _relocations(variants(TYPES, **words)[0], ".eh_frame")[-1].place
    left = f'.section .eh_frame,"a"\n.if THERE\n.reloc {place}, R_PPC64_NONE\n.endif\n'
    old, new = variants(TYPES + left, **words)
    kinds = [r.type for r in _relocations(old, ".eh_frame") if r.place == place]
    assert sorted(kinds) == [R_PPC64_NONE, R_PPC64_REL32]
    assert verify(old, new).verified == right


#: A label between the rows of a frame description, which data names.
CFI_LABEL = """
    .text
    .type f, @function
f:  .cfi_startproc
    mflr 0
    .cfi_label early
    bl g
    SLOT
    .cfi_label late
    .cfi_register lr,0
    mtlr 0
    blr
    .cfi_label last
    .cfi_endproc
    .size f, .-f
    .type g, @function
g:  blr
    .size g, .-g
    .data
    .quad early, late, last
"""


def test_a_label_between_the_rows_of_a_frame_follows_its_row(variants: Variants) -> None:
    old, new = variants(CFI_LABEL)
    assert verify(old, new).differences == ()
    assert verify(old, bytes(nopfix.rewrite(old).data)).differences == ()
    damaged = [*damage.symbol_values(new), *damage.addends(new)]
    assert len(damaged) > 12
    for name, make in damaged:
        assert not verify(old, make()).verified, name
