"""Compilers are asked what they do, and told what they need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nopfix.corpus import oracle, toolchain
from nopfix.corpus.toolchain import Tools

if TYPE_CHECKING:
    from pathlib import Path

GCC = Tools("gcc-12")
SOURCE = """
int g(int);
static __attribute__((noinline)) int f(int x) { return g(x) + 1; }
int h(int x) { return f(x) * f(x + 1); }
"""
#: One function, so that there is no padding between two: gas and clang fill it with other nops.
ALONE = """
int g(int);
__attribute__((visibility("hidden"))) int f(int x) { return x ? g(x) * f(x - 1) + 1 : 1; }
"""
#: As GCC up to 10 does, where the input isn't there.
ASKS_FOR_ITS_INPUT = """
for a; do case $a in *.c) [ -e "$a" ] || { echo "error: $a" >&2; exit 1; } ;; esac; done
exec powerpc64le-linux-gnu-gcc-12 "$@"
"""
#: As GCC 14 and later do with C that is older than what they take by default.
STRICT = """
permissive= old=
for a; do
    case $a in -w) ;; -fpermissive) permissive=1 ;; -std=gnu17) old=1 ;; *) set -- "$@" "$a" ;; esac
    shift
done
[ $permissive ] || set -- -Werror=implicit-function-declaration -Werror=implicit-int "$@"
[ $old ] || set -- -Werror=old-style-definition "$@"
exec powerpc64le-linux-gnu-gcc-12 "$@"
"""


@pytest.fixture(autouse=True)
def need_gcc() -> None:
    try:
        toolchain.compiler(GCC)
    except toolchain.ToolError as missing:
        pytest.skip(str(missing))


def made(script: str, path: Path) -> Path:
    path.write_text(f"#!/bin/sh\n{script}")
    path.chmod(0o755)
    return path


def test_a_compiler_that_names_no_commands_for_a_missing_input_is_asked_with_one(
    tmp_path: Path,
) -> None:
    tools = Tools(str(made(ASKS_FOR_ITS_INPUT, tmp_path / "gcc-10")))
    assert toolchain.assembler(tools, ("-O2",)) == toolchain.assembler(GCC, ("-O2",))


def test_old_c_compiles_with_a_compiler_that_refuses_it_by_default(tmp_path: Path) -> None:
    tools = Tools(str(made(STRICT, tmp_path / "gcc-15")))
    source = tmp_path / "old.c"
    source.write_text("f (x) { return x; }\nh (x) int x; { return f (x); }\n")
    assert toolchain.lenient(tools) == ("-std=gnu17", "-fpermissive")
    assert oracle.run_case(oracle.Compile(source, tools, ("-O2",))).verdict != "compile-failed"


def test_a_compiler_that_takes_old_c_and_a_c_plus_plus_source_are_told_nothing(
    tmp_path: Path,
) -> None:
    assert toolchain.lenient(GCC) == ()
    tools = Tools(str(made(STRICT, tmp_path / "gcc-15")))
    words = toolchain.compile_command(tools, (), tmp_path / "new.C", tmp_path / "new.s")
    assert "-fpermissive" not in words


def test_an_option_that_isnt_known_is_told_in_the_compilers_own_words() -> None:
    said = toolchain.unknown_option(GCC, ("-O2", "-fno-such-option"))
    assert "-fno-such-option" in said
    assert "\n" not in said
    assert "--no-such" in toolchain.unknown_option(GCC, ("-Wa,--no-such",))
    assert toolchain.unknown_option(GCC, ("-O2", "-g")) == ""


def test_another_assembler_takes_the_place_of_the_compilers_own(tmp_path: Path) -> None:
    log = tmp_path / "log"
    wrapper = made(f'echo "$@" >>{log}\nexec powerpc64le-linux-gnu-as "$@"\n', tmp_path / "new-as")
    source = tmp_path / "f.c"
    source.write_text(SOURCE)
    tools = GCC._replace(assembler=str(wrapper))
    assert tools.label() == "gcc-12+new-as"
    assert oracle.run_case(oracle.Compile(source, tools, ("-O2", "-g"))).verdict == "equal"
    assert log.read_text().count("plain.s") == log.read_text().count("want.s") == 1


@pytest.mark.parametrize("assembler", ["", "powerpc64le-linux-gnu-as"])
@pytest.mark.parametrize("version", ["4", "5"])
def test_split_dwarf_of_clang_is_compared_whoever_assembles_it(
    assembler: str, version: str, tmp_path: Path
) -> None:
    tools = Tools("clang-19", assembler=assembler)
    try:
        toolchain.compiler(tools)
    except toolchain.ToolError as missing:
        pytest.skip(str(missing))
    source = tmp_path / "f.c"
    source.write_text(ALONE)
    flags = ("-O2", "-g", f"-gdwarf-{version}", "-gsplit-dwarf")
    verdict = oracle.run_case(oracle.Compile(source, tools, flags), folder=tmp_path / "made")
    assert (verdict.verdict, verdict.detail) == ("equal", "")
    assert (tmp_path / "made/plain.dwo").stat().st_size
    assert (tmp_path / "made/got.dwo").stat().st_size
