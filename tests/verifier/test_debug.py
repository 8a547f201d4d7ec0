"""Debug information: what is decoded that only some compilers write."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

import nopfix
from nopfix.rewriter.build import second_opinion
from nopfix.verifier import elf, verify
from nopfix.verifier.command import main
from tests.verifier import damage, damaging

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Variants = Callable[..., tuple[bytes, bytes]]

GCC = "powerpc64le-linux-gnu-gcc"
SOURCE = """
int g(int);
static __attribute__((noinline)) int h(int x) { return g(x) + 1; }
int f(int x)
{
    int y = h(x);
    if (y > 3) {
        int z = h(y) + x;
        y += h(z);
    }
    return y;
}
"""


def compiled(folder: Path, *options: str, source: str = SOURCE) -> bytes:
    if shutil.which(GCC) is None:
        pytest.skip(f"needs {GCC}")
    (folder / "in.c").write_text(source)
    command = [GCC, "-O2", "-g", "-w", *options, "-c", "in.c", "-o", "in.o"]
    subprocess.run(command, cwd=folder, check=True)
    return (folder / "in.o").read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        # DW_LLE_view_pair
        ("-gdwarf-5", "-gvariable-location-views=incompat5"),
        # Lists of .debug_ranges that only the .dwo names
        ("-gdwarf-4", "-gsplit-dwarf", "-freorder-blocks-and-partition"),
    ],
)
def test_a_rewritten_object_of_gcc_is_verified(options: tuple[str, ...], tmp_path: Path) -> None:
    old = compiled(tmp_path, *options)
    split = {path.name: path.read_bytes() for path in tmp_path.glob("*.dwo")}
    new = bytes(nopfix.rewrite(old, nopfix.Options(dwo=split)).data)
    report = verify(old, new)
    assert report.differences == ()
    assert report.insertions


# More than 127 addresses: the index of one takes two bytes where it took one.
MANY = """
int g(int);
static __attribute__((noinline)) int h(int x) { return g(x) + 1; }
""" + "".join(
    f"static inline int i{n}(int x) {{ int y = h(x); return y * {n + 3}; }}\n"
    f"int f{n}(int x) {{ int a = i{n}(x); int b = h(a); if (b > {n}) {{ int c = h(b);"
    f" return c + a; }} return i{n}(b) + a; }}\n"
    for n in range(40)
)


def test_names_of_entries_that_lie_elsewhere_may_be_further_apart_as_their_unit_has_grown(
    tmp_path: Path,
) -> None:
    old = compiled(tmp_path, "-gdwarf-4", "-gsplit-dwarf", source=MANY)
    split = {path.name: path.read_bytes() for path in tmp_path.glob("*.dwo")}
    result = nopfix.rewrite(old, nopfix.Options(dwo=split))
    new = bytes(result.data)
    assert verify(old, new).verified
    (names,) = (s for s in elf.read(new).sections if s.name == ".debug_gnu_pubnames")
    # The size of the unit, as it was; behind it the offset of an entry, then its kind.
    for at, value in ((10, elf.read(old).sections[names.number].data[10]), (14, 0xFF)):
        place = names.offset + at
        damaged = new[:place] + bytes([value]) + new[place + 1 :]
        assert damaged == new or not verify(old, damaged).verified


#: What is inlined begins at a return address: that is one address in IN, and two in OUT.
INLINED = """
extern int e(int);
static inline int i(int z) { int q = z * 3; __asm__ volatile("# %0" : : "r"(q)); return q + 1; }
""" + "".join(
    f'static __attribute__((noinline)) int l{n}(int a) {{ __asm__ volatile("");'
    f" return a + {n}; }}\n"
    f"int f{n}(int a) {{ int x = l{n}(a); int y = i(x); return l{n}(y) * i(y) + e(x); }}\n"
    for n in range(26)
)


def with_clang(folder: Path, source: str, *options: str) -> bytes:
    if shutil.which("clang-19") is None:
        pytest.skip("needs clang-19")
    (folder / "in.c").write_text(source)
    command = ["clang-19", "--target=powerpc64le-linux-gnu", "-O1", "-g", *options, "-c", "in.c"]
    subprocess.run(command, cwd=folder, check=True)
    return (folder / "in.o").read_bytes()


def section(data: bytes, name: str) -> elf.Section:
    (found,) = (section for section in elf.read(data).sections if section.name == name)
    return found


def put(data: bytes, name: str, offset: int, value: bytes) -> bytes:
    """The object with other bytes in a section."""
    return damage.patched(data, section(data, name).offset + offset, value)


@pytest.mark.parametrize("linked", [False, True])
def test_the_name_index_names_the_entries_where_they_are_now(linked: bool, tmp_path: Path) -> None:
    options = ("-gdwarf-5", "-gpubnames")
    old = with_clang(tmp_path, INLINED, *options)
    if linked:
        (tmp_path / "a.o").write_bytes(old)
        with_clang(tmp_path, INLINED.replace("int f", "int other"), *options)
        command = ["powerpc64le-linux-gnu-ld", "-r", "a.o", "in.o", "-o", "both.o"]
        subprocess.run(command, cwd=tmp_path, check=True)
        old = (tmp_path / "both.o").read_bytes()
    new = bytes(nopfix.rewrite(old).data)
    assert section(new, ".debug_info").size > section(old, ".debug_info").size
    assert verify(old, new).differences == ()
    before, after = (section(data, ".debug_names").data for data in (old, new))
    assert not verify(old, put(new, ".debug_names", 0, before)).verified
    for at in range(3, len(after), 89):
        damaged = put(new, ".debug_names", at, bytes([after[at] ^ 4]))
        assert not verify(old, damaged).verified, hex(at)


def test_an_address_that_is_new_is_whole(tmp_path: Path) -> None:
    old = with_clang(tmp_path, INLINED, "-gdwarf-5")
    new = bytes(nopfix.rewrite(old).data)
    size, table = section(old, ".debug_addr").size, section(new, ".debug_addr").data
    assert len(table) > size
    assert verify(old, new).differences == ()
    for at in (0, size, len(table) - 1):
        damaged = put(new, ".debug_addr", at, bytes([table[at] ^ 4]))
        assert not verify(old, damaged).verified, hex(at)
    kind = section(new, ".rela.debug_addr").offset + section(new, ".rela.debug_addr").size - 16
    assert not verify(old, damage.patched(new, kind, b"\x27")).verified
    short = damage.relaid(new, section(new, ".debug_addr").number, table[:-8])
    assert not verify(old, short).verified


def split_pair(folder: Path, old: bytes) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """An object and what nopfix makes of it, and the same of its .dwo."""
    before = (folder / "in.dwo").read_bytes()
    result = nopfix.rewrite(old, nopfix.Options(dwo={"in.dwo": before}))
    return (old, bytes(result.data)), (before, result.dwo["in.dwo"])


def last_addresses(data: bytes, count: int) -> list[int]:
    """Where the addends of the last relocations of .debug_addr are in the file."""
    table = section(data, ".rela.debug_addr")
    return [table.offset + table.size - 24 * number - 8 for number in range(count)]


def test_an_address_that_is_new_for_a_dwo_is_there_once(tmp_path: Path) -> None:
    old = with_clang(tmp_path, INLINED, "-gdwarf-4", "-gsplit-dwarf")
    (_, new), dwo = split_pair(tmp_path, old)
    assert section(new, ".debug_addr").size >= section(old, ".debug_addr").size + 16
    assert verify(old, new).differences == ()
    assert verify(old, new, dwo=dwo).differences == ()
    last, other = last_addresses(new, 2)
    doubled = damage.patched(new, last, new[other : other + 8])
    assert not verify(old, doubled).verified
    for place in last_addresses(new, 12):
        moved = damage.patched(new, place, bytes([new[place] ^ 4]))
        assert not verify(old, moved, dwo=dwo).verified


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_a_dwo_is_compared_beside_its_object(compiler: str, version: int, tmp_path: Path) -> None:
    options = (f"-gdwarf-{version}", "-gsplit-dwarf")
    clang = compiler == "clang"
    old = with_clang(tmp_path, SOURCE, *options) if clang else compiled(tmp_path, *options)
    both, dwo = split_pair(tmp_path, old)
    assert verify(*both, dwo=dwo).differences == ()
    assert not verify(*both, dwo=(dwo[0], dwo[0])).verified
    for place in last_addresses(both[1], 3):
        moved = damage.patched(both[1], place, bytes([both[1][place] ^ 4]))
        assert not verify(old, moved, dwo=dwo).verified
    for kind in ("entry", "location list", "range list", "abbreviation or string", "header"):
        # Fields of four bytes are hit where they stand, tables of views among them.
        for what, make in list(damage.KINDS[kind](dwo[1]))[3 :: 4 if kind == "entry" else 37]:
            assert damaging.caught(*both, (dwo[0], make())), what


#: What is inlined and the block in it have one list of ranges.
SHARED = """
int e(int);
static __attribute__((noinline)) int l(int a) { __asm__ volatile(""); return a + 1; }
static inline int i(int q) { int t = l(q); return t + e(t); }
int f(int x)
{
    int r = 0;
    for (int k = 0; k < x; k++) {
        int z = l(k);
        if (z > 9)
            r += i(z);
        else
            r -= l(z);
    }
    return r;
}
"""


def test_each_of_those_who_share_a_list_refers_to_it(tmp_path: Path) -> None:
    old = compiled(tmp_path, "-gdwarf-4", "-gsplit-dwarf", source=SHARED)
    both, dwo = split_pair(tmp_path, old)
    assert verify(*both, dwo=dwo).differences == ()
    for what, make in list(damage.KINDS["entry"](dwo[1]))[1::4]:
        assert damaging.caught(*both, (dwo[0], make())), what


def test_the_command_and_the_second_opinion_look_at_the_dwo(tmp_path: Path) -> None:
    old = compiled(tmp_path, "-gdwarf-5", "-gsplit-dwarf")
    (_, new), dwo = split_pair(tmp_path, old)
    names = [str(tmp_path / name) for name in ("in.o", "out.o", "in.dwo", "out.dwo")]
    (tmp_path / "out.o").write_bytes(new)
    for there, status in ((dwo[1], 0), (dwo[0], 1), (b"", 1)):
        (tmp_path / "out.dwo").write_bytes(there)
        assert main(["-q", "--dwo", *names[2:], *names[:2]]) == status
    options = nopfix.Options(dwo={"in.dwo": dwo[0]})
    result = nopfix.rewrite(old, options)
    second_opinion.ask(old, options, result)
    with pytest.raises(nopfix.Refusal, match="does not agree"):
        second_opinion.ask(old, options, result._replace(dwo={}))


def test_an_address_may_be_an_index_and_an_offset(tmp_path: Path) -> None:
    """DW_FORM_LLVM_addrx_offset."""
    if shutil.which("clang-19") is None:
        pytest.skip("needs clang-19")
    (tmp_path / "in.c").write_text(SOURCE)
    options = ["--target=powerpc64le-linux-gnu", "-O2", "-g", "-mllvm"]
    command = ["clang-19", *options, "-minimize-addr-in-v5=Form", "-c", "in.c", "-o", "in.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    old = (tmp_path / "in.o").read_bytes()
    new = bytes(nopfix.rewrite(old).data)
    assert verify(old, new).verified
    (info,) = (s for s in elf.read(new).sections if s.name == ".debug_info")
    for at in range(info.offset, info.offset + info.size):
        damaged = new[:at] + bytes([new[at] ^ 4]) + new[at + 1 :]
        assert not verify(old, damaged).verified, hex(at - info.offset)


@pytest.mark.parametrize("options", [(), ("-ffunction-sections",), ("-gdwarf-4",)])
def test_line_tables_in_pieces_are_no_matter_where_nothing_changed(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    """gas --gdwarf-sections: the header is in .debug_line, each section's rows have their own."""
    old = compiled(tmp_path, "-Wa,--gdwarf-sections", *options)
    report = verify(old, old, need_slots=True)
    assert {difference.rule for difference in report.differences} == {"call-slot"}
    (tmp_path / "in.c").write_text("int f(int x) { return x * 3; }\n")
    command = [GCC, "-O2", "-g", "-Wa,--gdwarf-sections", *options, "-c", "in.c", "-o", "in.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    old = (tmp_path / "in.o").read_bytes()
    assert verify(old, old, need_slots=True).verified


def test_the_length_of_a_nested_expression_is_part_of_it(tmp_path: Path) -> None:
    old = compiled(tmp_path, "-gdwarf-5")
    new = bytes(nopfix.rewrite(old).data)
    # DW_OP_entry_value of (DW_OP_reg3), DW_OP_stack_value
    at = new.index(b"\xa3\x01\x53\x9f")
    assert not verify(old, new[: at + 1] + b"\0" + new[at + 2 :]).verified


#: An entry whose scope starts within its function, and one whose scope starts within the entry
#: that it lies in.
START_SCOPE = """
    .text
    .globl f
    .type f, @function
f:
.Lf: mflr 0
    bl g
    SLOT
.Lb: bl g
    SLOT
.Lm: mtlr 0
    blr
.Lend:
    .size f, .-f
    .type g, @function
g:  blr
    .size g, .-g
    .section .debug_abbrev,"",@progbits
.La: .uleb128 1, 0x11
    .byte 1
    .uleb128 0x11, 1, 0x12, 7       # DW_AT_low_pc, DW_AT_high_pc
    .byte 0,0
    .uleb128 2, 0x2e
    .byte 1
    .uleb128 0x11, 1, 0x2c, 0xf     # DW_AT_low_pc, DW_AT_start_scope
    .byte 0,0
    .uleb128 3, 0x34
    .byte 0
    .uleb128 0x2c, 0xf
    .byte 0,0
    .uleb128 4, 0xb
    .byte 1
    .uleb128 0x11, 1
    .byte 0,0,0
    .section .debug_info,"",@progbits
    .4byte .Lie-.Lis
.Lis: .2byte 5
    .byte 1,8
    .4byte .La
    .uleb128 1
    .8byte .Lf, .Lend-.Lf
    .uleb128 2
    .8byte .Lf
    .uleb128 FIRST-.Lf
    .uleb128 3
    .uleb128 SECOND-.Lf
    .uleb128 4
    .8byte .Lb
    .uleb128 3
    .uleb128 THIRD-.Lb
    .byte 0
    .uleb128 3
    .uleb128 SECOND-.Lf
    .byte 0,0
.Lie:
"""


@pytest.mark.parametrize("fault", ["", "FIRST", "SECOND", "THIRD"])
def test_a_scope_starts_at_a_distance_from_the_entry_around_it(
    fault: str, variants: Variants
) -> None:
    words = dict.fromkeys(("FIRST", "SECOND", "THIRD"), (".Lm", ".Lm"))
    if fault:
        words[fault] = (".Lm", ".Lm-4")
    assert verify(*variants(START_SCOPE, **words)).verified == (not fault)


@pytest.mark.parametrize(
    "command",
    [
        (GCC, "-O2", "-g"),
        (GCC, "-O2", "-gdwarf-4", "-fPIC"),
        ("clang-19", "--target=powerpc64le-linux-gnu", "-O2", "-g"),
    ],
)
def test_where_a_thread_local_variable_lies_is_no_place_in_code(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    (tmp_path / "in.c").write_text(
        SOURCE + "static _Thread_local int own = 5;\nint k(int x) { return own += h(x); }\n"
    )
    subprocess.run([*command, "-c", "in.c"], cwd=tmp_path, check=True)
    old = (tmp_path / "in.o").read_bytes()
    assert verify(old, bytes(nopfix.rewrite(old).data)).differences == ()


@pytest.mark.parametrize("option", ["--only-keep-debug", "--extract-symbol"])
def test_an_object_that_has_functions_and_no_code_is_read(option: str, tmp_path: Path) -> None:
    compiled(tmp_path)
    command = ["powerpc64le-linux-gnu-objcopy", option, "in.o", "out.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    data = (tmp_path / "out.o").read_bytes()
    assert verify(data, data).differences == ()


OTHER = """
struct s { int a; double b; const char *name; } first = {1, 2.0, "x"};
double k(struct s *p, int (*q)(int)) { return p->b + p->a * q(p->a) + g(2); }
"""


@pytest.mark.parametrize("pattern", [".debug_info", ".debug_abbrev", ".debug_*"])
@pytest.mark.parametrize("turned", [False, True])
def test_each_unit_has_its_own_section_of_abbreviations(
    pattern: str, turned: bool, tmp_path: Path
) -> None:
    """`ld -r --unique` keeps those of its inputs apart."""
    linker = GCC.replace("gcc", "ld")
    if shutil.which(linker) is None:
        pytest.skip(f"needs {linker}")
    one = compiled(tmp_path, "-gdwarf-5")
    local = "static __attribute__((noinline)) int g(int x) { return x * x; }\n"
    other = compiled(tmp_path, "-gdwarf-5", source=local + OTHER)
    (tmp_path / "a.o").write_bytes(other if turned else one)
    (tmp_path / "b.o").write_bytes(one if turned else other)
    command = [linker, "-r", f"--unique={pattern}", "a.o", "b.o", "-o", "both.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    old = (tmp_path / "both.o").read_bytes()
    report = verify(old, bytes(nopfix.rewrite(old).data), need_slots=True)
    assert report.differences == ()
    assert report.insertions
