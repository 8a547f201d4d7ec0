"""What the compiler's arguments say, as the compilers themselves read them."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from nopfix.rewriter.build import compiler_arguments, rust_arguments

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "powerpc64le-linux-gnu-"
GCC = shutil.which(PREFIX + "gcc")

needs_gcc = pytest.mark.skipif(GCC is None, reason=f"{PREFIX}gcc is not installed")


def plan(*arguments: str, assembly: bool = False) -> dict[str, bool]:
    expanded, _ = compiler_arguments.response_files(arguments)
    return compiler_arguments.plan(expanded, assembly)[0]


def sure(*arguments: str, assembly: bool = False) -> list[str]:
    return [path for path, comes in plan(*arguments, assembly=assembly).items() if comes]


@pytest.mark.parametrize(
    ("arguments", "objects"),
    [
        (["-c", "a.c"], ["a.o"]),
        (["-c", "dir/a.b.c"], ["a.b.o"]),
        (["-c", "a.c", "-o", "x/y.o"], ["x/y.o"]),
        (["-c", "a.c", "-oy.o"], ["y.o"]),
        (["--compile", "a.c", "--output=y.o"], ["y.o"]),
        (["--compile", "a.c", "--output", "y.o"], ["y.o"]),
        (["-c", "a b.c"], ["a b.o"]),
        (["-c", "..c", "...c", "d/..c"], ["..o", "...o"]),
        (["-c", "a.b/.c.c"], [".c.o"]),
        (["-c", "a.c", "b.cc", "c.cpp", "d.C", "e.ii"], ["a.o", "b.o", "c.o", "d.o", "e.o"]),
        (["-c", "a.c", "b.s", "c.S"], ["a.o"]),
        (["-c", "a.c", "old.o", "-lm"], ["a.o"]),
        (["-c", "a.CC", "b.CXX", "c.cppm", "d.c++m"], ["a.o", "b.o", "c.o", "d.o"]),
        (["-c", "a.ll", "b.bc", "-x", "ir", "c"], ["a.o", "b.o", "c.o"]),
        (["-c", "-o", "y.o", "--", "-a.c"], ["y.o"]),
        (["-c", "--", "-a.c", "b.s"], ["-a.o"]),
        (["-c", "a.c", "-o", "first.o", "-o", "last.o"], ["last.o"]),
        (["-c", "a.c", "-o", "-"], ["/dev/stdout"]),
        (["-c", "-x", "c", "/dev/null", "-o", "t.o"], ["t.o"]),
        (["-c", "-x", "c", "-", "-o", "t.o"], ["t.o"]),
        (["-c", "-xc", "noname"], ["noname.o"]),
        (["-c", "-x", "c", "n", "-x", "none", "b.s"], ["n.o"]),
        (["-c", "-x", "assembler", "a.c"], []),
        (["-c", "-x", "assembler-with-cpp", "a.c"], []),
        (["-c", "a.s"], []),
        (["-c", "a.S", "-o", "a.o"], []),
        (["-S", "a.c"], []),
        (["-E", "a.c"], []),
        (["-c", "-fsyntax-only", "a.c"], []),
        (["-c", "-E", "a.c", "-o", "a.i"], []),
        (["-M", "a.c"], []),
        (["-c", "-###", "a.c"], []),
        (["--version"], []),
        (["a.o", "-o", "prog"], []),
        (["-c", "-MD", "-MF", "deps.c", "a.c"], ["a.o"]),
        (["-c", "-Wp,-MMD,.a.o.d", "a.c", "-o", "a.o"], ["a.o"]),
        (["-c", "-MT", "x.c", "-MQ", "y.c", "a.c"], ["a.o"]),
        (["-c", "-include", "pre.c", "-I", "dir.c", "-isystem", "s.c", "a.c"], ["a.o"]),
        (["-c", "-D", "X=1.c", "-U", "Y.c", "--param", "p.c", "a.c"], ["a.o"]),
        (["-c", "-Xassembler", "b.c", "-T", "l.c", "a.c"], ["a.o"]),
        (["-c", "-pipe", "-save-temps", "a.c", "-o", "a.o"], ["a.o"]),
        (["-c", "-save-temps=obj", "a.c", "-o", "d/a.o"], ["d/a.o"]),
        (["-c", "a.c", "--version"], []),
        (["-c", "a.c", "-print-file-name=x"], []),
        (["-c", "a.c", "-MD", "--print-missing-file-dependencies"], ["a.o"]),
        (["-c", "a.c", "-mcpu=help"], []),
        (["-c", "a.c", "-Xclang", "-ast-dump=json"], []),
        (["-c", "a.c", "-Xclang", "-fno-pch-timestamp"], ["a.o"]),
        (["-c", "a.c", "-object"], ["a.o"]),
        (["-c", "a.c", "-object-file-name=b.o"], ["a.o"]),
        (["-c", "a.c", "-dependency-dot", "b.c", "--dumpbase", "c.c"], ["a.o"]),
    ],
)
def test_arguments_tell_which_objects_come_of_c(arguments: list[str], objects: list[str]) -> None:
    assert sure(*arguments) == objects


@pytest.mark.parametrize(
    ("arguments", "objects"),
    [
        (["-c", "a.f90"], {"a.o": False}),
        (["-c", "-x", "f95", "a.c"], {"a.o": False}),
        (["-c", "-ObjC", "noname"], {"noname.o": False}),
        (["-c", "noname", "-o", "x.o"], {"x.o": False}),
        (["-c", "a.c", "noname"], {"a.o": True, "noname.o": False}),
        (["-c", "a.c", "noname", "-o", "x.o"], {"x.o": True}),
        (["-c", "a.s", "libx.a", "-o", "x.o"], {}),
        (["-c", "a.s", "libx.a"], {"libx.o": False}),
        (["-c", "a.h"], {"a.o": False}),
        (["-c"], {}),
        (["-c", "-o", "x.o"], {}),
        (["a.f90", "-o", "prog"], {}),
    ],
)
def test_of_a_file_that_only_the_compiler_knows_an_object_may_come(
    arguments: list[str], objects: dict[str, bool]
) -> None:
    assert plan(*arguments) == objects


def test_assembly_is_wanted_only_when_asked_for() -> None:
    assert sure("-c", "a.S", "b.s", "c.c", assembly=True) == ["a.o", "b.o", "c.o"]


def test_a_source_without_c_is_compiled_and_linked_at_once() -> None:
    assert compiler_arguments.plan(["a.c", "-o", "prog"]) == ({}, True)
    assert compiler_arguments.plan(["a.o", "-o", "prog"]) == ({}, False)


def test_response_files_nest_and_quote_as_libiberty_reads_them(tmp_path: Path) -> None:
    inner = tmp_path / "inner.rsp"
    inner.write_text("-DX='a b' \"-DY=c d\"\n")
    outer = tmp_path / "outer.rsp"
    outer.write_text(f"-c\t@{inner} a\\ b.c 'it\\'s' -o \"x y.o\"\n@no-such-file\n''")
    expanded, again = compiler_arguments.response_files(["-O2", f"@{outer}"])
    assert again
    assert expanded == [
        *("-O2", "-c", "-DX=a b", "-DY=c d", "a b.c", "it's", "-o", "x y.o"),
        *("@no-such-file", ""),
    ]
    assert sure(f"@{outer}") == ["x y.o"]


@needs_gcc
def test_response_files_are_read_as_gcc_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert GCC is not None
    (tmp_path / "a.rsp").write_text(
        "-DA='x \\\\ y' -DB=\"p \\\\ q\" -D'C'=\\r\\\n-DD=s ''-DE\n@b.rsp"
    )
    (tmp_path / "b.rsp").write_text("-DF -DG='\n'")
    shown = subprocess.run(
        [GCC, "-###", "-c", "-x", "c", "/dev/null", "@a.rsp"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    monkeypatch.chdir(tmp_path)
    expanded = compiler_arguments.response_files(["@a.rsp"], [GCC])[0]
    mine = [a for a in expanded if a.startswith("-D")]
    # The driver shows its commands one a line, -D apart from what it defines, and a line break
    # inside a word as it is, so only the compiler's own words are looked at.
    line = shown[shown.index("/cc1") : shown.index("-dumpbase ")]
    words = compiler_arguments.words(line)
    gccs = ["-D" + words[i + 1] for i, word in enumerate(words) if word == "-D"]
    assert mine == gccs
    assert len(mine) == 6


# What GCC 14 and GCC 16 make of a file, as their -### shows it.
READINGS = {
    r"-DA='x \' -DB=y": (["-DA=x ' -DB=y"], ["-DA=x \\", "-DB=y"]),
    r"""-DA='x \\ y'""": (["-DA=x \\ y"], ["-DA=x \\\\ y"]),
    r"""-DA="a\'b\q" """: (["-DA=a'bq"], ["-DA=a\\'b\\q"]),
    r"""-DA="g\\h\`\$i" """: (["-DA=g\\h`$i"], ["-DA=g\\h`$i"]),
    "-DA=\\r\\\nq": (["-DA=r\nq"], ["-DA=rq"]),
    '-DA="a\\\nb"': (["-DA=a\nb"], ["-DA=ab"]),
    r"-DA=e\'f": (["-DA=e'f"], ["-DA=e'f"]),
}


@pytest.mark.parametrize("text", READINGS)
def test_a_response_file_is_read_as_the_compiler_at_hand_reads_it(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "a.rsp").write_text(text)
    for version, wanted in zip(("14.2.0", "15.1.0"), READINGS[text], strict=True):
        cc = tmp_path / f"cc-{version}"
        cc.write_text(f'#!/bin/sh\n[ "$1" = -dumpfullversion ] && echo {version}\n')
        cc.chmod(0o755)
        expanded, _ = compiler_arguments.response_files([f"@{tmp_path}/a.rsp"], [str(cc)])
        assert expanded == wanted
    clang = tmp_path / "clang"
    clang.write_text("#!/bin/sh\nexit 1\n")
    clang.chmod(0o755)
    expanded, _ = compiler_arguments.response_files([f"@{tmp_path}/a.rsp"], [str(clang)])
    assert expanded == READINGS[text][0]


@pytest.mark.parametrize(
    ("argument", "plugin"),
    [
        ("-fplugin=/usr/libexec/kpatch/ppc64le-plugin.so", True),
        ("-fplugin=ppc64le-plugin", True),
        ("-fplugin-arg-ppc64le-plugin-x=1", True),
        ("-fplugin=/x/ppc64le-plugin.so.old/other.so", False),
        ("-fplugin=latent_entropy.so", False),
        ("ppc64le-plugin.so", False),
    ],
)
def test_kpatchs_plugin_is_told_from_others(argument: str, plugin: bool) -> None:
    assert compiler_arguments.is_plugin(argument) is plugin


def test_a_response_file_that_names_itself_comes_to_an_end(tmp_path: Path) -> None:
    file = tmp_path / "twice"
    file.write_text(f"@{file} @{file} -c a.c")
    expanded, _ = compiler_arguments.response_files([f"@{file}"])
    assert expanded.count("a.c") > 1
    assert compiler_arguments.plan(expanded)[0]["a.o"]


def test_a_pipe_as_response_file_cant_be_read_again() -> None:
    reader, writer = os.pipe()
    threading.Thread(target=lambda: (os.write(writer, b"-c 'a b.c'"), os.close(writer))).start()
    try:
        expanded, again = compiler_arguments.response_files(["-O2", f"@/dev/fd/{reader}"])
    finally:
        os.close(reader)
    assert (expanded, again) == (["-O2", "-c", "a b.c"], False)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["gcc", "-O2", "f.c"], True),
        (["/usr/bin/powerpc64le-linux-gnu-gcc-12", "f.c"], True),
        (["ccache", "powerpc64le-linux-gnu-g++-13.2"], True),
        (["clang", "-gcc"], False),
        (["clang-19", "-o", "gcc"], False),
        (["ccache", "clang++"], False),
        (["cc", "gcc-notes.c"], None),
        (["powerpc64le-linux-gnu-gfortran-12", "f.f90"], None),
    ],
)
def test_gcc_is_known_by_its_name(command: list[str], expected: bool | None) -> None:
    assert compiler_arguments.is_gcc(command) is expected


@needs_gcc
def test_a_compiler_of_another_name_is_asked(tmp_path: Path) -> None:
    assert GCC is not None
    (tmp_path / "cc").symlink_to(GCC)
    (tmp_path / "other").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "other").chmod(0o755)
    (tmp_path / "front").write_text('#!/bin/sh\nexec "$@"\n')
    (tmp_path / "front").chmod(0o755)
    names = {name: str(tmp_path / name) for name in ("cc", "other", "front")}
    ask = compiler_arguments.turns_out_gcc
    assert ask([names["cc"]], ["f.c", "-o", "f"])
    assert ask([names["front"]], [names["cc"], "f.c", "-o", "f"])
    assert not ask([names["other"]], ["f.c", "-o", "f"])
    assert not ask([str(tmp_path / "none")], ["f.c", "-o", "f"])


def test_the_words_in_front_of_options_and_sources_are_programs(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.write_text("")
    programs = compiler_arguments.programs
    assert programs(["distcc", "/usr/bin/env", "gcc", "-c", "f.c"]) == [
        "distcc",
        "/usr/bin/env",
        "gcc",
    ]
    for first in ("-c", "@file", "f.c", "f.S", "f.f90", str(notes)):
        assert programs(["cc", first, "more"]) == ["cc"]


@pytest.mark.parametrize("source", ["f.f90", "dir/F.FOR", "p.adb", "m.d", "m.go", "m.mod"])
def test_other_languages_are_compiled_and_linked_at_once_too(source: str) -> None:
    assert compiler_arguments.plan([source, "-o", "p"]) == ({}, True)
    assert compiler_arguments.plan(["-x", "f95", "noname", "-o", "p"]) == ({}, True)
    assert compiler_arguments.plan(["f.o", "lib.a", "script.ld", "-o", "p"]) == ({}, False)


@pytest.mark.parametrize(
    ("arguments", "objects"),
    [
        ("--emit=dep-info=d/.k.d --emit=obj=d/k.o k.rs", ["d/k.o"]),
        ("--emit=dep-info=k.d,obj=k.o --crate-type rlib k.rs", ["k.o"]),
        ("--emit=obj k.rs", ["k.o"]),
        ("--emit obj dir/a-b.rs", ["a-b.o"]),
        ("--emit=obj --crate-name c -C extra-filename=-1 --out-dir=o k.rs", ["o/c-1.o"]),
        ("--emit=obj -Cextra-filename=-1 -Copt-level=2 --out-dir o k.rs", ["o/k-1.o"]),
        ("--emit=obj -o x.y k.rs", ["x.y"]),
        ("--emit=obj,asm -o x.y k.rs", ["x.o"]),
        ("--emit=asm,llvm-ir k.rs", []),
        ("--emit=metadata=obj.o k.rs", []),
        ("-o k k.rs", []),
        ("--version", []),
    ],
)
def test_what_rustc_emits_is_what_it_is_told_to(arguments: str, objects: list[str]) -> None:
    assert rust_arguments.plan(arguments.split()) == dict.fromkeys(objects, True)


def test_rustc_reads_an_argument_a_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("--emit=obj=a b.o\n'k.rs\n")
    expanded = rust_arguments.response_files(["-O", f"@{tmp_path}/a", "@none"])
    assert expanded == ["-O", "--emit=obj=a b.o", "'k.rs", "@none"]
