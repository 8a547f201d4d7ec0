"""nopfix-toolchain: a folder that kbuild and kpatch-build take for a cross toolchain."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nopfix.rewriter.build import toolchain
from nopfix.rewriter.pipeline import rewrite

SAMPLE = Path(__file__).parents[2] / "samples" / "recursion.o"

# What kpatch-cc takes for a compiler.
KPATCH_CC = (re.compile(r"^(.*-)?gcc$"), re.compile(r"^(.*-)?clang$"))


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A toolchain of shell scripts that print their name and arguments."""
    folder = tmp_path / "real"
    folder.mkdir()
    for name in ("gcc", "gcc-12", "g++", "clang", "ld", "objcopy", "gcc-ar", "gcov-12"):
        tool = folder / ("x-" + name)
        tool.write_text(f'#!/bin/sh\necho {name} "$@"\nexit 7\n')
        tool.chmod(0o755)
    (folder / "x-notes").write_text("not a program\n")
    return folder


def test_compilers_are_wrapped_and_all_else_is_linked(fake: Path, tmp_path: Path) -> None:
    made = toolchain.make(str(tmp_path / "out"), "x-", "nopfix-", [str(fake)])
    assert made == sorted(
        "nopfix-" + name
        for name in ("gcc", "gcc-12", "g++", "clang", "ld", "objcopy", "gcc-ar", "gcov-12")
    )
    links = {name for name in made if (tmp_path / "out" / name).is_symlink()}
    assert links == {"nopfix-ld", "nopfix-objcopy", "nopfix-gcc-ar", "nopfix-gcov-12"}
    for name in links:
        assert os.readlink(tmp_path / "out" / name) == str(fake / ("x-" + name[7:]))


def test_a_wrapped_compiler_gets_its_arguments_and_gives_its_status(
    fake: Path, tmp_path: Path
) -> None:
    toolchain.make(str(tmp_path / "out"), "x-", "nopfix-", [str(fake)])
    done = subprocess.run(
        [tmp_path / "out" / "nopfix-gcc", "-E", "a b", '-DX="y"'], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, 'gcc -E a b -DX="y"\n', "")


def test_the_names_are_those_that_kpatch_cc_handles() -> None:
    assert KPATCH_CC[0].match("nopfix-gcc")
    assert KPATCH_CC[1].match("nopfix-clang")
    assert KPATCH_CC[0].match("/opt/nopfix/nopfix-gcc")


def test_the_first_tool_on_the_path_wins_and_the_folder_itself_is_passed_over(
    fake: Path, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    first.mkdir()
    (first / "x-ld").write_text("#!/bin/sh\n")
    (first / "x-ld").chmod(0o755)
    out = tmp_path / "out"
    path = [str(out), str(first), str(fake)]
    for _ in range(2):  # an existing folder is brought up to date
        toolchain.make(str(out), "x-", "x-", path)
        assert os.readlink(out / "x-ld") == str(first / "x-ld")
        assert os.readlink(out / "x-objcopy") == str(fake / "x-objcopy")


def test_native_tools_are_chosen_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("gcc", "cc", "ls", "objcopy", "clang-19", "bash"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    made = toolchain.make(str(tmp_path / "out"), "", "", [str(folder)])
    assert made == ["cc", "clang-19", "gcc", "objcopy"]


def program(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("there", "linked"),
    [
        (["x-ld.lld", "ld.lld"], "x-ld.lld"),
        (["ld.lld", "ld.lld-19"], "ld.lld"),
        (["ld.lld-9", "ld.lld-19", "ld.lld-19.bak"], "ld.lld-19"),
        (["lld", "ld"], None),
    ],
)
@pytest.mark.parametrize("prefix", ["nopfix-", ""])
def test_llvms_linker_has_an_entry_though_it_has_no_prefix(
    fake: Path, tmp_path: Path, there: list[str], linked: str | None, prefix: str
) -> None:
    for name in there:
        program(tmp_path / "llvm" / name)
    path = [str(fake), str(tmp_path / "llvm")]
    made = toolchain.make(str(tmp_path / "out"), "x-", prefix, path)
    assert (f"{prefix}ld.lld" in made) is (linked is not None)
    if linked is not None:
        assert os.readlink(tmp_path / "out" / f"{prefix}ld.lld") == str(tmp_path / "llvm" / linked)
    assert f"{prefix}lld" not in made


@pytest.mark.skipif(shutil.which("ld.lld-19") is None, reason="lld-19 is not installed")
def test_llvms_linker_works_under_its_new_name(tmp_path: Path) -> None:
    toolchain.make(str(tmp_path / "out"), "powerpc64le-linux-gnu-", "nopfix-", os.get_exec_path())
    command = [tmp_path / "out" / "nopfix-ld.lld", "--version"]
    assert "LLD" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_nopfix_that_is_gone_is_one_line(fake: Path, tmp_path: Path) -> None:
    text = toolchain.script(str(fake / "x-gcc"))
    command = tmp_path / "nopfix-gcc"
    command.write_text(text.replace(str(toolchain._packages()), "['/no/such/folder']"))
    command.chmod(0o755)
    done = subprocess.run([command, "-c", "f.c"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 70
    assert done.stderr.endswith("; run nopfix-toolchain again\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("program", ["ccache", "distcc"])
def test_a_cache_that_stands_for_the_compiler_is_not_taken_for_it(
    tmp_path: Path, program: str
) -> None:
    """It looks for the next gcc on the path, finds ours, which would run it again."""
    for folder, name in (("cache", program), ("real", "gcc")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("#!/bin/sh\n")
        (tmp_path / folder / name).chmod(0o755)
    (tmp_path / "cache" / "gcc").symlink_to(program)
    found = toolchain.tools("", [str(tmp_path / "cache"), str(tmp_path / "real")])
    assert found == {"gcc": str(tmp_path / "real" / "gcc")}


def test_a_folder_of_other_things_is_refused(
    fake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bin"
    out.mkdir()
    (out / "ld").write_text("somebody's own\n")
    monkeypatch.setenv("PATH", str(fake))
    assert toolchain.main([str(out), "--for", "x-", "--prefix", ""]) == 3
    assert "neither empty nor made by nopfix-toolchain" in capsys.readouterr().err
    assert (out / "ld").read_text() == "somebody's own\n"
    (out / "ld").unlink()
    for _ in range(2):
        assert toolchain.main([str(out), "--for", "x-", "--prefix", ""]) == 0


def test_the_folder_has_nopfix_itself_without_site_packages(fake: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "nopfix" not in toolchain.make(str(out), "x-", "nopfix-", [str(fake)])
    assert (out / "nopfix").read_text().splitlines()[0].endswith(" -IS")
    command = [str(out / "nopfix"), "-q", str(SAMPLE), str(tmp_path / "new.o")]
    done = subprocess.run(command, env={}, cwd="/", capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    rewritten = rewrite(SAMPLE.read_bytes()).data
    assert (tmp_path / "new.o").read_bytes() == rewritten != SAMPLE.read_bytes()
    refused = subprocess.run([str(out / "nopfix"), "--verify"], env={}, capture_output=True)
    assert refused.returncode == 2


def test_the_script_finds_what_opens_zstd(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site" / "backports" / "zstd").mkdir(parents=True)
    (tmp_path / "site" / "backports" / "zstd" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "backports", raising=False)
    assert repr(str(tmp_path / "site")) in toolchain.script(str(fake / "x-gcc"))


@pytest.mark.parametrize("folder", ["with blank", "x" * 200])
def test_an_interpreter_that_a_shebang_cant_hold_works_too(
    fake: Path, tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / folder).mkdir()
    interpreter = tmp_path / folder / "python3"
    interpreter.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    toolchain.make(str(tmp_path / "out"), "x-", "nopfix-", [str(fake)])
    done = subprocess.run([tmp_path / "out" / "nopfix-gcc", "-E"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (7, "gcc -E\n", "")


def test_the_script_changes_with_the_compiler_so_that_ccache_sees_it(fake: Path) -> None:
    compiler = fake / "x-gcc"
    before = toolchain.script(str(compiler))
    assert toolchain.script(str(compiler)) == before
    compiler.write_text("#!/bin/sh\n# newer\n")
    assert toolchain.script(str(compiler)) != before


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["{out}", "--for", "no-such-tool-"], 1, "no-such-tool-gcc"),
        (["/dev/null/x", "--for=no-such-tool-"], 3, "/dev/null/x"),
    ],
)
def test_mistakes_are_told_in_one_line_with_the_right_status(
    arguments: list[str], status: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [argument.format(out=tmp_path / "out") for argument in arguments]
    assert toolchain.main(arguments) == status
    assert said in capsys.readouterr().err.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "DIR"),
        (["a", "b"], "b"),
        (["a", "--from", "x"], "--from"),
        (["a", "--for"], "--for"),
    ],
)
def test_wrong_usage_exits_2(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exited:
        toolchain.main(arguments)
    assert exited.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(
    shutil.which("powerpc64le-linux-gnu-gcc") is None, reason="no cross compiler installed"
)
def test_the_real_toolchain_answers_kbuilds_questions(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert toolchain.main([str(out), "--for", "powerpc64le-linux-gnu-"]) == 0
    for tool, question in (("gcc", "--version"), ("ld", "-v"), ("as", "--version")):
        asked = [
            subprocess.run([name, question], capture_output=True, text=True, check=True).stdout
            for name in (out / f"nopfix-{tool}", f"powerpc64le-linux-gnu-{tool}")
        ]
        assert asked[0].replace(f"nopfix-{tool}", f"powerpc64le-linux-gnu-{tool}") == asked[
            1
        ].replace(f"nopfix-{tool}", f"powerpc64le-linux-gnu-{tool}")
