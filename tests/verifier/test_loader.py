"""What the kernel's loader would refuse in a live patch, and what it wouldn't."""

from __future__ import annotations

import json
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from nopfix.verifier import elf, loader
from nopfix.verifier.command import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Assemble = Callable[..., bytes]

MODULE = """
    .abiversion 2
    .section .modinfo,"a",@progbits
    .asciz "livepatch=Y"
    .asciz "depends="
    .asciz "vermagic=6.1.0 SMP mod_unload "
    .section .text.f,"ax",@progbits
    .globl f
    .type f, @function
f:  mflr 0
    BODY
    mtlr 0
    blr
    .size f, .-f
    .section .kpatch.funcs,"a",@progbits
    .quad f
    .zero 48
"""
KERNEL = """
    .abiversion 2
    .globl _start
_start: blr
one: blr
twice: blr
__ksymtab_helper: .quad 0
    .section .rodata,"a",@progbits
    .asciz "6.1.0 SMP mod_unload "
    .text 1
other: blr
"""


def module(assemble: Assemble, body: str) -> bytes:
    return assemble(MODULE.replace("BODY", body))


def livepatched(data: bytes, table: str, **names: str) -> bytes:
    """The module with a table flagged as livepatch relocations under another name, and symbols as
    livepatch symbols: what kpatch-build and klp-convert write.  Names in the object are as long as
    the new ones.
    """
    obj = elf.read_module(data)
    out = bytearray(data)
    (table_at,) = struct.unpack_from("<Q", data, 40)
    for section in obj.sections:
        if section.name == table:
            flags = section.flags | loader.SHF_ALLOC | loader.SHF_RELA_LIVEPATCH
            struct.pack_into("<Q", out, table_at + 64 * section.number + 8, flags)
        if section.type == elf.SHT_SYMTAB:
            for number, symbol in enumerate(obj.symbols):
                if symbol.name in names:
                    struct.pack_into("<H", out, section.offset + 24 * number + 6, 0xFF20)
    for old, new in [*names.items(), (table, table.replace(".rela.X", ".klp.rela."))]:
        assert len(old) >= len(new)
        out = out.replace(old.encode() + b"\0", new.encode().ljust(len(old) + 1, b"\0"))
    return bytes(out)


def refused(data: bytes, kernel: bytes | None = None) -> list[tuple[str, int | None, str]]:
    return [(found.by, found.offset, found.symbol) for found in loader.check(data, kernel).refusals]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("bl helper; nop", []),
        ("bl helper", [("restore_r2", 8, "helper")]),
        ("bl helper; mr 3,4; bl helper; nop", [("restore_r2", 8, "helper")]),
        ("bl helper; ld 2,24(1)", [("restore_r2", 8, "helper")]),
        ("bl helper; cror 15,15,15", [("restore_r2", 8, "helper")]),
        ("bl _mcount; mr 3,4", []),
        ("bl f; mr 3,4", []),  # the module's own
        ("bl helper@notoc", [("apply_relocate_add", 4, "helper")]),
        (".long helper - .; .quad helper", []),
        (".reloc ., R_PPC64_ADDR16_HIGHEST, helper; nop", [("apply_relocate_add", 4, "helper")]),
    ],
)
def test_a_call_that_leaves_the_module_needs_its_slot(
    body: str, expected: list[tuple[str, int, str]], assemble: Assemble
) -> None:
    assert refused(module(assemble, body)) == expected


def test_a_sibling_call_in_a_patched_function_is_what_kpatch_refuses(assemble: Assemble) -> None:
    data = module(assemble, "b helper")
    assert refused(data) == [("kpatch_no_sibling_calls_ppc64le", 4, "helper")]
    # In a function that isn't on kpatch's list it does no harm.
    assert refused(data.replace(b".kpatch.funcs", b".kpatch.other")) == []


TABLE = ".rela.text.f"
ONE = ".klp.sym.vmlinux.one,0"


def klp(assemble: Assemble, name: str, table: str = ".klp.rela.vmlinux..text.f") -> bytes:
    """A call of a livepatch symbol, in a table of that name."""
    padded = "x" * len(name)
    data = assemble(
        MODULE.replace("BODY", f"bl {padded}; nop").replace(".text.f", "t" * (len(table) - 5))
    )
    old = ".rela" + "t" * (len(table) - 5)
    data = livepatched(data, old, **{padded: name})
    return data.replace(old.encode() + b"\0", table.encode() + b"\0")


@pytest.mark.parametrize(
    ("name", "table", "expected"),
    [
        (ONE, ".klp.rela.vmlinux..text.f", []),
        (".klp.sym.vmlinux.one", ".klp.rela.vmlinux..text.f", ["klp_resolve_symbols"]),
        (ONE, ".klp.rela.overlay..text.f", ["klp_resolve_symbols"]),
        (".klp.sym.overlay.one,0", ".klp.rela.overlay..text.f", []),
        (ONE, ".odd.rela.vmlinux..text.f", ["klp_apply_section_relocs"]),
    ],
)
def test_livepatch_relocations_have_their_names(
    name: str, table: str, expected: list[str], assemble: Assemble
) -> None:
    assert [by for by, *_ in refused(klp(assemble, name, table))] == expected


def test_livepatch_relocations_need_a_module_that_says_so(assemble: Assemble) -> None:
    data = klp(assemble, ONE).replace(b"livepatch=Y", b"livepatch=N")
    assert [by for by, *_ in refused(data)] == ["check_modinfo_livepatch"]


@pytest.fixture
def kernel(assemble: Assemble, tmp_path: Path) -> bytes:
    """A linked file with the symbols of KERNEL; `twice` is there twice."""
    (tmp_path / "a.o").write_bytes(assemble(KERNEL))
    (tmp_path / "b.o").write_bytes(assemble("    .abiversion 2\ntwice: blr\n"))
    link = ["powerpc64le-linux-gnu-ld", "-o", "vmlinux", "a.o", "b.o"]
    subprocess.run(link, cwd=tmp_path, check=True)
    return (tmp_path / "vmlinux").read_bytes()


@pytest.mark.parametrize(
    ("name", "refusals"),
    [
        (".klp.sym.vmlinux.one,0", 0),
        (".klp.sym.vmlinux.one,1", 0),
        (".klp.sym.vmlinux.one,2", 1),
        (".klp.sym.vmlinux.none,0", 1),
        (".klp.sym.vmlinux.twice,0", 1),
        (".klp.sym.vmlinux.twice,2", 0),
        (".klp.sym.overlay.none,0", 0),
    ],
)
def test_livepatch_symbols_are_the_kernels(
    name: str, refusals: int, kernel: bytes, assemble: Assemble
) -> None:
    table = ".klp.rela.overlay..text.f" if "overlay" in name else ".klp.rela.vmlinux..text.f"
    found = refused(klp(assemble, name, table), kernel)
    assert [by for by, *_ in found] == ["klp_find_object_symbol"] * refusals


def test_undefined_symbols_are_exported_by_the_kernel_or_by_modules_that_are_named(
    kernel: bytes, assemble: Assemble
) -> None:
    body = "bl helper; nop; bl other; nop; .weak weak; bl weak; nop"
    data = module(assemble, body)
    assert refused(data, kernel) == [("simplify_symbols", None, "other")]
    assert refused(data.replace(b"depends=\0vermagic", b"depends=\xb5vermagic"), kernel) == []


def test_a_patch_for_another_kernel_is_refused(kernel: bytes, assemble: Assemble) -> None:
    data = module(assemble, "").replace(b"6.1.0", b"6.1.1")
    assert [by for by, *_ in refused(data, kernel)] == ["check_modinfo"]


def test_a_refusal_names_function_source_line_and_callee(
    assemble: Assemble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = MODULE.replace("BODY", '.file 1 "drivers/in.c"\n.loc 1 7\nbl helper\n.loc 1 8')
    (tmp_path / "p.ko").write_bytes(assemble(source))
    report = tmp_path / "report.json"
    assert main(["--module", str(tmp_path / "p.ko"), "--report", str(report)]) == 1
    printed = capsys.readouterr().out
    assert ".text.f+0x8 (in f " in printed
    assert "in.c:8): expected nop after the call of helper, got 7c0803a6" in printed
    (found,) = json.loads(report.read_text())["refusals"]
    assert (found["by"], found["offset"], found["function"]) == ("restore_r2", 8, "f")
    assert found["source"].endswith("in.c:8")


@pytest.mark.parametrize(
    "arguments", [["--module", "a.ko", "b.o"], ["--vmlinux", "v", "a.o", "b.o"], ["a.o"], []]
)
def test_one_thing_is_asked_at_a_time(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
