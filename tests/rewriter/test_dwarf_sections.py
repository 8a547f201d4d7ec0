"""Debug sections of whole objects: those that are dropped on request, and split files."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from nopfix import Options, Refusal, rewrite
from nopfix.corpus import assembly, compare
from nopfix.rewriter.command import main
from nopfix.rewriter.references import split_dwarf
from nopfix.verifier import verify

GCC = "powerpc64le-linux-gnu-gcc"
CLANG = "clang-19"
needs_compiler = pytest.mark.skipif(shutil.which(GCC) is None, reason=f"{GCC} isn't installed")

SOURCE = """
static int __attribute__((noinline)) f(int x) { return x * x; }
int g(int y) { return f(y) + f(y + 1); }
"""
UNKNOWN = '__asm__(".pushsection .debug_new,\\"\\",@progbits; .8byte g; .popsection");\n'


def compiled(folder: Path, *flags: str, more: str = "") -> Path:
    (folder / "f.c").write_text(SOURCE + more)
    subprocess.run([GCC, "-O2", *flags, "-c", "f.c"], cwd=folder, check=True)
    return folder / "f.o"


def sizes(data: bytes) -> dict[str, int]:
    return {s.name: s["sh_size"] for s in ELFFile(io.BytesIO(data)).iter_sections()}


@needs_compiler
def test_a_debug_section_that_isnt_known_is_dropped_on_request(tmp_path: Path) -> None:
    data = compiled(tmp_path, "-g", more=UNKNOWN).read_bytes()
    with pytest.raises(Refusal, match="debug_new"):
        rewrite(data)
    after = sizes(bytes(rewrite(data, Options(strip_unknown_debug=True)).data))
    assert after[".debug_new"] == after[".rela.debug_new"] == 0
    assert after[".debug_info"] == sizes(data)[".debug_info"] > 0


@needs_compiler
def test_frames_for_debuggers_only_are_dropped_on_request(tmp_path: Path) -> None:
    data = bytearray(compiled(tmp_path, "-g", "-fno-asynchronous-unwind-tables").read_bytes())
    with io.BytesIO(bytes(data)) as stream:
        place = ELFFile(stream).get_section_by_name(".debug_frame")["sh_offset"]
    data[place + 8] = 99  # the CIE's version
    with pytest.raises(Refusal, match=r"debug_frame.*version 99"):
        rewrite(bytes(data))
    after = sizes(bytes(rewrite(bytes(data), Options(strip_unknown_debug=True)).data))
    assert after[".debug_frame"] == after[".rela.debug_frame"] == 0
    assert after[".debug_info"] > 0


@needs_compiler
@pytest.mark.parametrize("flags", [(), ("-ffunction-sections",), ("-gdwarf-5", "-O0")])
def test_rows_in_sections_of_their_own_are_refused_with_the_option_that_makes_them(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    data = compiled(tmp_path, "-g", *flags, "-Wa,--gdwarf-sections").read_bytes()
    with pytest.raises(Refusal, match=r"rows of the line table|left to the linker") as refused:
        rewrite(data)
    assert (refused.value.section or "").startswith(".debug_line")
    assert "--gdwarf-sections" in refused.value.remedy
    after = sizes(bytes(rewrite(data, Options(strip_unknown_debug=True)).data))
    assert not any(size for name, size in after.items() if "debug_line" in name)


@pytest.mark.skipif(shutil.which("clang-19") is None, reason="clang-19 isn't installed")
@pytest.mark.parametrize("form", ["Expressions", "Ranges", "Form", "Disabled"])
def test_addresses_that_are_expressions_are_refused_with_the_option_that_makes_them(
    tmp_path: Path, form: str
) -> None:
    (tmp_path / "f.c").write_text(SOURCE)
    command = ["clang-19", "--target=powerpc64le-linux-gnu", "-O2", "-g", "-c", "f.c"]
    option = f"-minimize-addr-in-v5={form}"
    subprocess.run([*command, "-mllvm", option], cwd=tmp_path, check=True)
    data = (tmp_path / "f.o").read_bytes()
    if form != "Expressions":
        assert len(rewrite(data).report.insertions) == 2
        return
    with pytest.raises(Refusal, match="in DW_FORM_exprloc, which is no address") as refused:
        rewrite(data)
    assert option in refused.value.remedy


@needs_compiler
def test_all_debug_sections_go_where_the_others_need_the_one_that_is_refused(
    tmp_path: Path,
) -> None:
    data = bytearray(compiled(tmp_path, "-g").read_bytes())
    with io.BytesIO(bytes(data)) as stream:
        place = ELFFile(stream).get_section_by_name(".debug_info")["sh_offset"]
    data[place + 4] = 99  # the version
    with pytest.raises(Refusal, match="DWARF version 99"):
        rewrite(bytes(data))
    after = sizes(bytes(rewrite(bytes(data), Options(strip_unknown_debug=True)).data))
    assert not any(size for name, size in after.items() if "debug_" in name)
    assert after[".text"] > sizes(bytes(data))[".text"]


@needs_compiler
@pytest.mark.parametrize("version", ["-gdwarf-4", "-gdwarf-5"])
def test_a_split_file_beside_the_object_is_rewritten_with_it(tmp_path: Path, version: str) -> None:
    path = compiled(tmp_path, version, "-gsplit-dwarf")
    before = (tmp_path / "f.dwo").read_bytes()
    assert main(["-q", str(path), str(path)]) == 0
    assert (tmp_path / "f.dwo").read_bytes() != before


@needs_compiler
@pytest.mark.parametrize("flags", ["-O0 -gdwarf-4", "-O0 -gdwarf-5", "-O2 -gdwarf-5"])
def test_a_split_file_is_not_rewritten_twice(
    flags: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = compiled(tmp_path, *flags.split(), "-gsplit-dwarf")
    assert main(["-q", str(path), str(tmp_path / "out.o")]) == 0
    after = (tmp_path / "f.dwo").read_bytes()
    assert main(["-q", str(path), str(tmp_path / "again.o")]) == 1
    assert "rewritten before" in capsys.readouterr().err
    assert (tmp_path / "f.dwo").read_bytes() == after
    assert not (tmp_path / "again.o").exists()


@needs_compiler
def test_a_split_file_elsewhere_is_given_by_name(tmp_path: Path) -> None:
    path = compiled(tmp_path, "-g", "-gsplit-dwarf")
    beside = (tmp_path / "f.dwo").read_bytes()
    apart = tmp_path / "apart"
    apart.mkdir()
    shutil.move(tmp_path / "f.dwo", apart / "other.dwo")
    out = str(tmp_path / "out.o")
    assert main(["-q", "--dwo", str(apart / "other.dwo"), str(path), out]) == 0
    (tmp_path / "f.dwo").write_bytes(beside)
    assert main(["-q", str(path), str(tmp_path / "found.o")]) == 0
    assert (apart / "other.dwo").read_bytes() == (tmp_path / "f.dwo").read_bytes() != beside
    assert Path(out).read_bytes() == (tmp_path / "found.o").read_bytes()


RANGES = """
extern int g(int);
static __attribute__((noinline)) int f(int x) { return x * 3; }
static inline __attribute__((always_inline)) int pick(int x)
{ int y = f(x); if (y > 3) y = g(y) + f(y); return y; }
int h(int x) { int r = 0; for (int i = 0; i < x; i++) r += pick(i) - f(r); return r; }
int k(int x) { return pick(x) + f(x); }
"""


def with_ranges_in_the_object(text: str) -> str:
    """GCC 12's text as GCC 9 and 10 write it: .debug_rnglists in the object, named there."""
    assert ".debug_rnglists.dwo" in text
    text = text.replace('.debug_rnglists.dwo,"e"', '.debug_rnglists,""')
    for old, new in (
        (r"(\t\.uleb128 )0x73(\b.*\n\t\.uleb128 0x17.*\n)", r"\g<0>\g<1>0x74\2"),  # DW_AT_addr_base
        (r"\t\.4byte\t\.Ldebug_addr0\b.*\n", r"\g<0>\t.4byte\t.Ldebug_ranges1\n"),
    ):
        text, count = re.subn(old, new, text, count=1)
        assert count == 1
    return re.sub(  # the skeleton's length
        r"(\.Lskeleton_debug_info0:\n\t\.4byte\t)(0x[0-9a-f]+)",
        lambda length: f"{length[1]}{int(length[2], 16) + 4:#x}",
        text,
    )


@needs_compiler
@pytest.mark.parametrize("level", ["-O1", "-O2", "-Os"])
def test_ranges_that_a_split_unit_names_by_index_may_lie_in_the_object(
    tmp_path: Path, level: str
) -> None:
    (tmp_path / "f.c").write_text(RANGES)
    command = [GCC, level, "-gdwarf-5", "-gsplit-dwarf", "-dA", "-S", "f.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    texts = assembly.edit(with_ranges_in_the_object((tmp_path / "f.s").read_text()))
    for name, text in (("plain", texts.plain), ("want", texts.want)):
        command = [GCC, "-c", "-x", "assembler", "-", "-o", "whole.o"]
        subprocess.run(command, cwd=tmp_path, input=text, text=True, check=True)
        for option, to in (("--extract-dwo", f"{name}.dwo"), ("--strip-dwo", f"{name}.o")):
            command = ["powerpc64le-linux-gnu-objcopy", option, "whole.o", to]
            subprocess.run(command, cwd=tmp_path, check=True)
    plain, want, dwo = (
        (tmp_path / name).read_bytes() for name in ("plain.o", "want.o", "plain.dwo")
    )
    result = rewrite(plain, Options(dwo={"plain.dwo": dwo}))
    assert result.report.insertions
    assert compare.differences(bytes(result.data), want) == []
    assert verify(plain, bytes(result.data)).verified


@needs_compiler
def test_an_object_whose_split_file_is_missing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = compiled(tmp_path, "-g", "-gsplit-dwarf")
    (tmp_path / "f.dwo").unlink()
    assert main(["-q", str(path), str(tmp_path / "out.o")]) == 1
    assert "--dwo" in capsys.readouterr().err
    assert not (tmp_path / "out.o").exists()


@needs_compiler
def test_a_split_file_is_found_under_the_name_in_the_skeleton(tmp_path: Path) -> None:
    path = compiled(tmp_path, "-g", "-gsplit-dwarf")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.copy(tmp_path / "f.dwo", moved)
    shutil.copy(path, moved / "renamed.o")
    found = split_dwarf.beside(str(moved / "renamed.o"), path.read_bytes())
    assert list(found) == [str(moved / "f.dwo")]
    assert split_dwarf.beside(str(tmp_path / "g.o"), compiled(tmp_path, "-g").read_bytes()) == {}


@pytest.mark.skipif(shutil.which(CLANG) is None, reason=f"{CLANG} isn't installed")
@pytest.mark.parametrize("version", ["-gdwarf-4", "-gdwarf-5"])
@pytest.mark.parametrize("beside", ["nothing", "another object's"])
def test_an_object_that_holds_its_split_units_names_no_other_file(
    tmp_path: Path, version: str, beside: str
) -> None:
    (tmp_path / "f.c").write_text(SOURCE)
    command = [CLANG, "--target=powerpc64le-linux-gnu", "-O1", "-g", version, "-fPIC"]
    subprocess.run(
        [*command, "-gsplit-dwarf=single", "-c", "f.c", "-o", "f.o"], cwd=tmp_path, check=True
    )
    if beside != "nothing":
        (tmp_path / "f.dwo").write_bytes(b"left from an older build")
    before = (tmp_path / "f.o").read_bytes()
    assert split_dwarf.beside(str(tmp_path / "f.o"), before) == {}
    assert main(["-q", str(tmp_path / "f.o"), str(tmp_path / "out.o")]) == 0
    verdict = verify(before, (tmp_path / "out.o").read_bytes())
    assert verdict.verified
    assert len(verdict.insertions) == 2


def assembled(folder: Path, version: int, *, slots: bool) -> bytes:
    """Functions around 128 bytes long, in assembly, with the assembler's own debug information."""
    call = "bl f{0}; nop" if slots else "bl f{0}"
    lines = [".abiversion 2", ".text"]
    for number in range(30):
        lines += [f".type f{number},@function", f"f{number}:"]
        lines += ["li 3,1\n" + call.format(number * 7 % 30)] * (10 + number // 4)
        lines += ["blr", f".size f{number},.-f{number}"]
    (folder / "f.s").write_text("\n".join(lines) + "\n")
    command = ["powerpc64le-linux-gnu-as", f"--gdwarf-{version}", "-o", "f.o", "f.s"]
    subprocess.run(command, cwd=folder, check=True)
    return (folder / "f.o").read_bytes()


@needs_compiler
@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_what_the_assembler_writes_for_assembly_grows_as_it_would_write_it(
    tmp_path: Path, version: int
) -> None:
    data = assembled(tmp_path, version, slots=False)
    want = assembled(tmp_path, version, slots=True)
    assert compare.differences(bytes(rewrite(data).data), want) == []
    assert (sizes(want)[".debug_info"] > sizes(data)[".debug_info"]) == (version > 3)


THROWS = """
struct Guard { ~Guard(); };
extern void ext(int);
static __attribute__((noinline)) int f(int x) { if (x > 5) throw x; return x; }
int g(int x) { Guard guard; try { return f(x); } catch (int y) { ext(y); return f(y); } }
"""


@needs_compiler
@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_exception_tables_without_frames_are_refused(tmp_path: Path, level: str) -> None:
    """objcopy -R .eh_frame leaves tables that nothing says of whose they are."""
    (tmp_path / "f.cc").write_text(THROWS)
    subprocess.run([GCC, level, "-c", "f.cc"], cwd=tmp_path, check=True)
    remove = ["powerpc64le-linux-gnu-objcopy", "-R", ".eh_frame"]
    subprocess.run([*remove, "f.o", "g.o"], cwd=tmp_path, check=True)
    data = (tmp_path / "g.o").read_bytes()
    with pytest.raises(Refusal, match=r"no \.eh_frame that says whose") as refused:
        rewrite(data)
    assert "-R .gcc_except_table" in refused.value.remedy
    remove += ["-R", ".gcc_except_table*"]
    subprocess.run([*remove, "f.o", "h.o"], cwd=tmp_path, check=True)
    data = (tmp_path / "h.o").read_bytes()
    assert verify(data, bytes(rewrite(data).data), need_slots=True).verified


@needs_compiler
@pytest.mark.parametrize(
    ("section", "flags"),
    [
        (".eh_frame", "-O2"),
        (".eh_frame", "-O1 -g"),
        (".debug_frame", "-O2 -g -fno-asynchronous-unwind-tables"),
        (".debug_aranges", "-O2 -g"),
    ],
)
def test_frames_and_ranges_whose_relocations_are_gone_are_refused(
    section: str, flags: str, tmp_path: Path
) -> None:
    plain = compiled(tmp_path, *flags.split())
    command = ["powerpc64le-linux-gnu-objcopy", f"--remove-relocations={section}", plain, "g.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    data = (tmp_path / "g.o").read_bytes()
    with pytest.raises(Refusal, match="addresses of code without any relocation") as refused:
        rewrite(data)
    assert refused.value.section == section
    assert f"-R {section}" in refused.value.remedy
    command = ["powerpc64le-linux-gnu-objcopy", "-R", section, "g.o", "h.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    data = (tmp_path / "h.o").read_bytes()
    assert verify(data, bytes(rewrite(data).data), need_slots=True).verified
