"""The compiler wrapper: what it makes of arguments, what it leaves of the compiler as it was."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nopfix import Refusal, rewrite
from nopfix.rewriter.build import objects_in_place, toolchain
from nopfix.rewriter.kpatch import sibling_calls
from nopfix.rewriter.object import elf, magic

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX = "powerpc64le-linux-gnu-"
GCC = shutil.which(PREFIX + "gcc")
CLANG = next((c for c in ("clang-19", "clang") if shutil.which(c)), None)
ROOT = Path(__file__).parents[2]

# f has calls of a static function, so GCC leaves out the slots.
SOURCE = """
static __attribute__((noinline)) int g(int x) { return x * x + 1; }
int f(int x) { return g(x) + g(x + 1) + g(x - 1); }
"""
CALLS = 3
# Compiled and linked at once, the way without a runtime.
LINK = ("-O2", "-r", "-nostdlib")
FORTRAN = tuple(f"{PREFIX}gfortran{version}" for version in ("", "-12", "-13", "-14"))
FIBONACCI = """
recursive integer function fib(n) result(r)
  integer, intent(in) :: n
  if (n < 2) then
    r = n
  else
    r = fib(n - 1) + fib(n - 2)
  end if
end function
"""


@pytest.mark.parametrize(
    ("path", "patterns", "skipped"),
    [
        ("arch/powerpc/kernel/prom_init.o", None, True),
        ("/home/boot/linux/arch/powerpc/kernel/prom_init.o", None, True),
        ("arch/powerpc/boot/main.o", None, True),
        ("arch/powerpc/kernel/vdso/vgettimeofday-64.o", None, True),
        ("arch/powerpc/purgatory/x/y.o", None, True),
        ("/home/boot/linux/kernel/fork.o", None, False),
        ("arch/powerpc/kernel/process.o", None, False),
        ("drivers/a.o", "drivers/*", True),
        ("my/drivers/a.o", "drivers/*", True),
        ("mydrivers/a.o", "drivers/*", False),
        ("arch/powerpc/boot/main.o", "drivers/*", False),
        ("arch/powerpc/boot/main.o", ":drivers/*", True),
        ("arch/powerpc/boot/main.o", "drivers/*:", True),
        ("a/b/c.o", "a/*/*.o", True),
        ("a/b/c.o", "a/*/*.x", False),
        ("c.o", "c.o", True),
    ],
)
def test_the_skip_list_matches_from_any_folder(
    path: str, patterns: str | None, skipped: bool
) -> None:
    assert objects_in_place.skips(path, patterns) is skipped


# From here on with the real compiler, through a folder that nopfix-toolchain made.


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if GCC is None:
        pytest.skip(f"{PREFIX}gcc is not installed")
    folder = tmp_path_factory.mktemp("tools")
    toolchain.make(str(folder), PREFIX, "nopfix-", os.get_exec_path())
    return folder


def slots(path: Path, *callees: str) -> tuple[int, int]:
    """Calls in the file's code (of ``callees`` only, if any), and those of them with a slot."""
    assert GCC is not None
    listing = subprocess.run(
        [PREFIX + "objdump", "-d", "--no-show-raw-insn", str(path)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    calls = [i for i, line in enumerate(listing) if "\tbl " in line]
    if callees:
        calls = [i for i in calls if any(callee in listing[i] for callee in callees)]
    return len(calls), sum("\tnop" in line for i in calls for line in listing[i + 1 : i + 2])


def compile_with(
    tools: Path, *arguments: str, cwd: Path, command: str = "nopfix-gcc", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(tools / command), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "f.c").write_text(SOURCE)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["-c", "f.c"], "f.o"),
        (["-c", "f.c", "-g", "-o", "x.o"], "x.o"),
        (["-c", "f.c", "-oy.o", "-pipe"], "y.o"),
        (["-c", "f.c", "-o", "a b.o"], "a b.o"),
        (["-c", "-x", "c++", "f.c", "-o", "z.o"], "z.o"),
        (["-c", "-mcmodel=large", "-ffunction-sections", "f.c"], "f.o"),
    ],
)
def test_a_compiled_object_has_its_slots(
    tools: Path, folder: Path, arguments: list[str], output: str
) -> None:
    done = compile_with(tools, "-O2", *arguments, cwd=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert slots(folder / output) == (CALLS, CALLS)


def test_several_sources_are_all_rewritten(tools: Path, folder: Path) -> None:
    (folder / "e.c").write_text(SOURCE.replace("int f", "int e"))
    (folder / "h.s").write_text("h: bl h\n")
    done = compile_with(tools, "-O2", "-c", "f.c", "e.c", "h.s", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert slots(folder / "f.o") == slots(folder / "e.o") == (CALLS, CALLS)
    assert slots(folder / "h.o") == (1, 0)


def test_the_good_one_of_two_sources_is_rewritten_and_the_status_is_the_compilers(
    tools: Path, folder: Path
) -> None:
    (folder / "bad.c").write_text("int x = ;\n")
    (folder / "bad.o").write_text("left from an earlier build\n")
    done = compile_with(tools, "-O2", "-c", "f.c", "bad.c", cwd=folder)
    assert done.returncode == 1
    assert "bad.c:1:9: error" in done.stderr
    assert slots(folder / "f.o") == (CALLS, CALLS)


def test_dependency_files_and_temporaries_are_the_compilers(tools: Path, folder: Path) -> None:
    assert GCC is not None
    plain, wrapped = folder / "plain", folder / "wrapped"
    for place, command in ((plain, GCC), (wrapped, str(tools / "nopfix-gcc"))):
        place.mkdir()
        (place / "f.c").write_text(SOURCE)
        arguments = ["-O2", "-c", "f.c", "-MD", "-Wp,-MMD,f.dep", "-save-temps", "-o", "f.o"]
        subprocess.run([command, *arguments], cwd=place, check=True, capture_output=True)
    assert sorted(os.listdir(plain)) == sorted(os.listdir(wrapped))
    for name in os.listdir(plain):
        if name != "f.o":
            assert (plain / name).read_bytes() == (wrapped / name).read_bytes(), name
    assert slots(wrapped / "f.o") == (CALLS, CALLS)


def test_a_response_file_names_the_output(tools: Path, folder: Path) -> None:
    (folder / "flags").write_text("-O2 -c 'f.c' -o \"out put.o\"")
    assert compile_with(tools, "@flags", cwd=folder).returncode == 0
    assert slots(folder / "out put.o") == (CALLS, CALLS)


def test_a_response_file_may_be_a_pipe(tools: Path, folder: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"-O2 -c f.c -o 'a b.o'")
    os.close(writer)
    command = [str(tools / "nopfix-gcc"), f"@/dev/fd/{reader}"]
    subprocess.run(command, cwd=folder, check=True, pass_fds=(reader,))
    os.close(reader)
    assert slots(folder / "a b.o") == (CALLS, CALLS)


@pytest.mark.parametrize("argument", ["-fplugin=/no/such/ppc64le-plugin.so", "@flags"])
def test_kpatchs_plugin_is_dropped(tools: Path, folder: Path, argument: str) -> None:
    (folder / "flags").write_text(
        "-fplugin=/no/such/ppc64le-plugin.so -fplugin-arg-ppc64le-plugin-x"
    )
    done = compile_with(tools, "-O2", argument, "-c", "f.c", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert slots(folder / "f.o") == (CALLS, CALLS)
    other = compile_with(tools, "-O2", "-fplugin=/no/such/other.so", "-c", "f.c", cwd=folder)
    assert other.returncode == 1
    assert "other.so" in other.stderr


def test_names_may_hold_blanks(tools: Path, folder: Path) -> None:
    (folder / "a folder").mkdir()
    (folder / "a folder" / "the source.c").write_text(SOURCE)
    done = compile_with(tools, "-O2", "-c", "a folder/the source.c", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert slots(folder / "the source.o") == (CALLS, CALLS)


def test_output_to_a_device_stays_there(tools: Path, folder: Path) -> None:
    done = compile_with(tools, "-O2", "-c", "f.c", "-o", "/dev/null", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert not os.path.isfile("/dev/null")


def test_the_null_device_compiles_without_the_rewriter(tools: Path, folder: Path) -> None:
    script = (
        f"import os, sys; sys.path[:0] = [{str(ROOT)!r}]\n"
        "from nopfix.rewriter.build import wrapper\n"
        f"status = wrapper.run([{GCC!r}], sys.argv[1:])\n"
        "print(status, 'nopfix.rewriter.pipeline' in sys.modules)\n"
    )

    def compiled(*arguments: str) -> str:
        command = [sys.executable, "-IS", "-c", script, "-c", "-x", "c", os.devnull, *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout.strip()

    assert compiled("-o", "null.o") == "0 False"
    assert compiled("-o", os.devnull) == "0 False"
    # What an option puts in has its slots all the same.
    assert compiled("-O2", "-include", "f.c", "-o", "null.o") == "0 True"
    assert slots(folder / "null.o") == (CALLS, CALLS)
    assert compiled("-O2", "-flto", "-o", "null.o") == "1 True"
    assert compiled("-O2", "-flto", "-ffat-lto-objects", "-o", "null.o") == "1 True"


LINKED = SOURCE + "int main(int c, char **v) { return f(c) + g(c); }\n"


@pytest.mark.parametrize("flags", [[], ["-g"], ["-pipe"], ["-fno-ident"], ["-g", "-gsplit-dwarf"]])
def test_compile_and_link_at_once_has_slots(tools: Path, folder: Path, flags: list[str]) -> None:
    (folder / "f.c").write_text(LINKED)
    done = compile_with(tools, "-O2", "-fno-inline", "f.c", "-o", "prog", *flags, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "prog").stat().st_mode & 0o111
    calls, with_slot = slots(folder / "prog", "<g>", "<f>")
    assert calls == with_slot >= CALLS


def test_a_wrapper_of_the_callers_own_runs_in_front(tools: Path, folder: Path) -> None:
    (folder / "f.c").write_text(LINKED)
    (folder / "note").write_text('#!/bin/sh\necho "$@" >>passes\nexec "$@"\n')
    (folder / "note").chmod(0o755)
    flags = ["-O2", "-fno-inline", "-wrapper", "/bin/false", "-wrapper", "./note,env"]
    done = compile_with(tools, *flags, "f.c", "-o", "prog", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "env" in (folder / "passes").read_text()
    calls, with_slot = slots(folder / "prog", "<g>", "<f>")
    assert calls == with_slot >= CALLS


@pytest.mark.skipif(shutil.which("ccache") is None, reason="ccache is not installed")
def test_compile_and_link_at_once_through_ccache_has_slots(folder: Path) -> None:
    assert GCC is not None
    (folder / "f.c").write_text(LINKED)
    code = "from nopfix.rewriter.build import wrapper; wrapper.main()"
    subprocess.run(
        [sys.executable, "-c", code, "ccache", GCC, "-O2", "-fno-inline", "f.c", "-o", "prog"],
        cwd=folder,
        env=os.environ | {"CCACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(ROOT)},
        check=True,
    )
    calls, with_slot = slots(folder / "prog", "<g>", "<f>")
    assert calls == with_slot >= CALLS


def test_hand_written_assembly_that_is_linked_at_once_stays(tools: Path, folder: Path) -> None:
    (folder / "f.c").write_text(LINKED)
    (folder / "h.s").write_text(".globl h\nh: bl h\n")
    (folder / "i.S").write_text("#define CALL bl\n.globl i\ni: CALL i\n")
    flags = ["-O2", "-g", "-save-temps", "f.c", "h.s", "i.S", "-o", "prog"]
    done = compile_with(tools, *flags, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert slots(folder / "prog-h.o") == slots(folder / "prog-i.o") == (1, 0)
    compile_with(tools, *flags, cwd=folder, NOPFIX_ASM="1")
    assert slots(folder / "prog-h.o") == slots(folder / "prog-i.o") == (1, 1)


@pytest.mark.parametrize("option", ["-S", "-E", "-fsyntax-only", "-M"])
def test_what_is_no_object_comes_out_as_from_the_compiler(
    tools: Path, folder: Path, option: str
) -> None:
    assert GCC is not None
    wrapped = compile_with(tools, "-O2", option, "f.c", "-o-", cwd=folder)
    plain = subprocess.run(
        [GCC, "-O2", option, "f.c", "-o-"], cwd=folder, capture_output=True, text=True
    )
    assert (wrapped.returncode, wrapped.stdout) == (plain.returncode, plain.stdout)
    assert wrapped.stderr == plain.stderr


def test_assembly_is_left_alone_unless_asked_for(tools: Path, folder: Path) -> None:
    (folder / "a.S").write_text("#define CALL bl\nf: CALL f\n blr\n")
    for value, expected in (("0", (1, 0)), ("1", (1, 1))):
        compile_with(tools, "-c", "a.S", cwd=folder, NOPFIX_ASM=value)
        assert slots(folder / "a.o") == expected


def test_a_skipped_object_is_the_compilers(tools: Path, folder: Path) -> None:
    (folder / "sub").mkdir()
    compile_with(tools, "-O2", "-c", "f.c", "-o", "sub/f.o", cwd=folder, NOPFIX_SKIP="sub/*")
    assert slots(folder / "sub/f.o") == (CALLS, 0)


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [
        (GCC, ["-mbig-endian"]),
        (GCC, ["-m32"]),
        (CLANG, ["--target=powerpc64-linux-gnu"]),
        (CLANG, ["--target=powerpc-linux-gnu"]),
        (CLANG, ["--target=powerpc64le-linux-gnu", "-mabi=elfv1"]),
    ],
)
def test_objects_that_arent_ours_pass_through(
    folder: Path, compiler: str | None, flags: list[str]
) -> None:
    if compiler is None:
        pytest.skip("the compiler is not installed")
    code = "from nopfix.rewriter.build import wrapper; wrapper.main()"
    command = [compiler, "-O2", "-c", *flags, "f.c", "-o"]
    subprocess.run([*command, "plain.o"], cwd=folder, check=True)
    subprocess.run(
        [sys.executable, "-c", code, *command, "wrapped.o"],
        cwd=folder,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (folder / "wrapped.o").read_bytes() == (folder / "plain.o").read_bytes()


def test_thirty_two_bit_objects_are_not_ours() -> None:
    elf32 = b"\x7fELF\x01\x01\x01" + bytes(9) + b"\x01\0\x14\0" + bytes(60)
    elfv1 = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x01\0\x15\0" + bytes(28) + b"\x01" + bytes(30)
    assert not magic.is_ours(elf32)
    assert not magic.is_ours(elfv1)
    assert not magic.is_ours(b"!<arch>\n" + bytes(60))


def test_the_compilers_complaints_and_status_pass_through(tools: Path, folder: Path) -> None:
    assert GCC is not None
    (folder / "bad.c").write_text("int x = ;\n#warning hm\n")
    wrapped = compile_with(tools, "-c", "bad.c", cwd=folder)
    plain = subprocess.run([GCC, "-c", "bad.c"], cwd=folder, capture_output=True, text=True)
    assert wrapped.returncode == plain.returncode == 1
    assert wrapped.stderr == plain.stderr
    assert not (folder / "bad.o").exists()


# A jump through a pointer that is computed from a number: nothing says where it goes.
REFUSED = SOURCE + 'void j(long n) { g(1); asm volatile("mtctr %0; bctr" :: "r"(n * 8)); }\n'


def test_a_refused_object_is_removed(tools: Path, folder: Path) -> None:
    (folder / "f.c").write_text(REFUSED)
    done = compile_with(tools, "-O2", "-c", "f.c", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.startswith("nopfix: f.o: ")
    assert done.stderr.count("\n") == 1
    assert not (folder / "f.o").exists()


LTO = ["-flto", "-flto=auto", "-flto -fno-fat-lto-objects", "-flto -ffat-lto-objects"]
LTO += ["-ffat-lto-objects -flto=auto", "-fno-lto -flto -ffat-lto-objects"]
CLANGS_LTO = ["-flto", "-flto=thin", "-flto -ffat-lto-objects", "-flto=thin -ffat-lto-objects"]
NO_LTO = ["-flto -fno-lto", "-flto=auto -ffat-lto-objects -fno-lto", "-ffat-lto-objects"]


@pytest.mark.parametrize("flags", LTO)
@pytest.mark.parametrize("output", ["f.o", "prog"])
def test_intermediate_code_is_refused_rather_than_left_without_slots(
    tools: Path, folder: Path, flags: str, output: str
) -> None:
    (folder / "f.c").write_text(LINKED)
    what = ["-c"] if output == "f.o" else []
    done = compile_with(tools, "-O2", *flags.split(), *what, "f.c", "-o", output, cwd=folder)
    assert done.returncode == 1
    assert done.stderr.count("nopfix: ") == 1
    assert ".gnu.lto_" in done.stderr
    assert not (folder / output).exists()


@pytest.mark.parametrize("flags", CLANGS_LTO)
def test_clangs_intermediate_code_is_refused_too(folder: Path, flags: str) -> None:
    done = clang(folder, *flags.split(), "-c", "f.c", capture_output=True, text=True)
    assert done.returncode == 1
    assert "-flto" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (folder / "f.o").exists()


@pytest.mark.parametrize("flags", NO_LTO)
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_lto_that_was_called_off_is_no_reason_to_refuse(
    tools: Path, folder: Path, flags: str, compiler: str
) -> None:
    if compiler == "gcc":
        done = compile_with(tools, "-O2", *flags.split(), "-c", "f.c", cwd=folder)
    else:
        done = clang(folder, *flags.split(), "-c", "f.c", capture_output=True, text=True)
    assert (done.returncode, "nopfix: " in done.stderr) == (0, False)
    assert slots(folder / "f.o") == (CALLS, CALLS)


def test_a_fat_object_has_slots_where_its_intermediate_code_was_taken_out(
    tools: Path, folder: Path
) -> None:
    """What the refusal advises; GCC's driver links by the intermediate code, asked to or not."""
    assert GCC is not None
    (folder / "f.c").write_text(LINKED)
    flags = ["-O2", "-fno-inline", "-flto", "-ffat-lto-objects"]
    subprocess.run([GCC, *flags, "-c", "f.c", "-o", "fat.o"], cwd=folder, check=True)
    with pytest.raises(Refusal) as refused:
        rewrite((folder / "fat.o").read_bytes())
    _, colon, advice = refused.value.remedy.partition("objcopy")
    assert colon
    script = f"{PREFIX}objcopy{advice} fat.o thin.o"
    subprocess.run(["sh", "-c", script], cwd=folder, check=True)
    (folder / "thin.o").write_bytes(rewrite((folder / "thin.o").read_bytes()).data)
    subprocess.run([GCC, "-flto", "thin.o", "-o", "prog"], cwd=folder, check=True)
    calls, with_slot = slots(folder / "prog", "<g>", "<f>")
    assert calls == with_slot >= CALLS


def test_a_missing_compiler_is_one_line_and_127(folder: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from nopfix.rewriter.build import wrapper; wrapper.main()",
        "no-such-compiler",
        "-c",
        "f.c",
    ]
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 127
    assert done.stderr == "nopfix: no-such-compiler: No such file or directory\n"


def fake_compiler(folder: Path, text: str) -> list[str]:
    """A wrapper command around a shell script that stands for a compiler."""
    compiler = folder / "cc-gcc"
    compiler.write_text("#!/bin/sh\n" + text)
    compiler.chmod(0o755)
    run = f"wrapper.finish(wrapper.run([{str(compiler)!r}], {{}}))"
    code = f"from nopfix.rewriter.build import wrapper; {run}"
    return [sys.executable, "-c", code.format("['-c', 'f.c']")]


def run_fake(folder: Path, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The wrapper around the shell script ``text``, as `fake_compiler`."""
    return subprocess.run(
        fake_compiler(folder, text),
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )


@pytest.mark.parametrize("before", ["", "left from an earlier build"])
def test_an_object_that_the_compiler_hasnt_written_is_an_error(folder: Path, before: str) -> None:
    if before:
        (folder / "f.o").write_text(before)
    done = run_fake(folder, "echo elsewhere > g.o\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("nopfix: f.o: the compiler succeeded without writing this object")
    assert done.stderr.count("\n") == 1
    assert (folder / "f.o").exists() is bool(before)
    if before:
        assert (folder / "f.o").read_text() == before


def test_an_object_on_the_skip_list_need_not_be_there(folder: Path) -> None:
    done = run_fake(folder, "exit 0\n", NOPFIX_SKIP="f.o")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "script",
    [
        "cat f.o > f.new && mv f.new f.o",
        "cp f.o f.old; rm f.o; cp f.old f.o; touch -r f.old f.o",
        "cp -p f.o f.old; cat f.old > f.o; touch -r f.old f.o",
        "ln f.o cached.o; rm f.o; ln cached.o f.o",  # as ccache does with hard links
    ],
)
def test_an_object_written_anew_with_the_same_bytes_counts_as_written(
    folder: Path, script: str
) -> None:
    (folder / "f.o").write_text("the same")
    done = run_fake(folder, script + "\n")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_failed_compiler_says_itself_what_is_wrong(folder: Path) -> None:
    done = run_fake(folder, "echo no >&2; exit 4\n")
    assert (done.returncode, done.stderr) == (4, "no\n")


# Makes a mistake of the rewriter's: nothing that pipeline.rewrite does may raise a KeyError.
BROKEN = (
    "from nopfix.rewriter import pipeline\n"
    "def broken(*_): raise KeyError('two\\nlines')\n"
    "pipeline.rewrite = broken\n"
)


@pytest.mark.parametrize("broken", [BROKEN, "sys.modules['nopfix.rewriter.pipeline'] = None\n"])
@pytest.mark.parametrize("debug", [False, True])
def test_an_internal_error_is_status_70_and_leaves_no_object(
    folder: Path, broken: str, debug: bool
) -> None:
    if GCC is None:
        pytest.skip(f"{PREFIX}gcc is not installed")
    code = f"import sys\n{broken}from nopfix.rewriter.build import wrapper\nwrapper.main()\n"
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | ({"NOPFIX_DEBUG": "1"} if debug else {})
    done = subprocess.run(
        [sys.executable, "-c", code, GCC, "-O2", "-c", "f.c"],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 70
    said = done.stderr.splitlines()
    assert said[-1].startswith("nopfix: ")
    assert "internal error, " in said[-1]
    assert (len(said) > 1 and said[0].startswith("Traceback")) is debug
    assert not (folder / "f.o").exists()


def test_an_internal_error_of_the_wrapper_itself_is_status_70(folder: Path) -> None:
    code = (
        "from nopfix.rewriter.build import compiler_arguments, wrapper\n"
        "compiler_arguments.plan = lambda *_: 1 / 0\n"
        "wrapper.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "no-such-compiler", "-c", "f.c"],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 70
    assert done.stderr.startswith("nopfix: internal error, ZeroDivisionError")
    assert done.stderr.count("\n") == 1


def test_a_compiler_killed_by_a_signal_takes_the_wrapper_with_it(folder: Path) -> None:
    command = fake_compiler(folder, "kill -SEGV $$\n")
    done = subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == -signal.SIGSEGV


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_goes_on_to_the_compiler(folder: Path, number: signal.Signals) -> None:
    command = fake_compiler(
        folder,
        "trap 'echo stopped > seen; exit 1' TERM INT\ntouch up\nwhile :; do sleep 0.1; done\n",
    )
    process = subprocess.Popen(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)})
    for _ in range(100):
        if (folder / "up").exists():
            break
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(number)
    assert process.wait(10) == -number
    assert (folder / "seen").read_text() == "stopped\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_while_rewriting_leaves_no_object_without_slots(
    folder: Path, number: signal.Signals
) -> None:
    command = fake_compiler(folder, "echo untouched > f.o\n")
    # Python looks for a signal between two steps; one that comes right before a long one waits.
    steps = "open('up', 'w') and [time.sleep(0.1) for _ in range(300)]"
    slow = f"import os, time; wrapper._load = lambda: lambda *_: {steps}"
    command[-1] = command[-1].replace("wrapper.finish", f"{slow}; wrapper.finish", 1)
    process = subprocess.Popen(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)})
    for _ in range(200):
        if (folder / "up").exists():
            break
        time.sleep(0.05)
    assert (folder / "f.o").exists()
    process.send_signal(number)
    assert process.wait(10) == -number
    assert sorted(os.listdir(folder)) == ["cc-gcc", "f.c", "up"]


def test_both_streams_are_the_compilers_byte_for_byte_and_in_order(folder: Path) -> None:
    loop = "for i in 1 2 3; do printf '\\001\\377o%s' $i; printf '\\000\\200e%s' $i >&2; done"
    done = subprocess.run(
        fake_compiler(folder, loop + "\nexit 42\n"),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 42
    assert done.stdout == b"".join(b"\x01\xffo%d\0\x80e%d" % (i, i) for i in (1, 2, 3))


@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_closed_streams_are_no_reason_to_fail(
    tools: Path, folder: Path, closed: tuple[int, ...]
) -> None:
    redirections = " ".join(f"{number}>&-" for number in closed)
    command = f'exec "{tools}/nopfix-gcc" -O2 -c f.c {redirections}'
    assert subprocess.run(["sh", "-c", command], cwd=folder).returncode == 0
    assert slots(folder / "f.o") == (CALLS, CALLS)


def test_a_caller_that_ignores_its_children_is_no_reason_to_fail(tools: Path, folder: Path) -> None:
    done = subprocess.run(
        [str(tools / "nopfix-gcc"), "-O2", "-c", "f.c"],
        cwd=folder,
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
        capture_output=True,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert slots(folder / "f.o") == (CALLS, CALLS)


@pytest.mark.skipif(GCC is None, reason=f"{PREFIX}gcc is not installed")
def test_two_hooks_at_once_may_rewrite_one_object(folder: Path) -> None:
    assert GCC is not None
    # Two compilers at once are no test of ours: each assembler takes away the other's object.
    code = (
        "from nopfix.rewriter.build.objects_in_place import rewrite;"
        "raise SystemExit(rewrite('x.o'))"
    )
    for _ in range(3):
        subprocess.run([GCC, "-O2", "-g", "-c", "f.c", "-o", "x.o"], cwd=folder, check=True)
        running = [
            subprocess.Popen(
                [sys.executable, "-c", code],
                cwd=folder,
                stderr=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
            for _ in range(2)
        ]
        said = [(process.communicate()[1], process.returncode) for process in running]
        assert said == [(b"", 0), (b"", 0)]
        assert slots(folder / "x.o") == (CALLS, CALLS)
    assert sorted(os.listdir(folder)) == ["f.c", "x.o"]


def test_a_broken_pipe_ends_the_compiler_quietly(tools: Path, folder: Path) -> None:
    (folder / "big.c").write_text("int a[] = {" + "1," * 200_000 + "};\n")
    process = subprocess.Popen(
        [str(tools / "nopfix-gcc"), "-E", "big.c"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.wait(20)
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()


def test_the_way_to_the_compiler_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import nopfix.rewriter.build.wrapper, nopfix.rewriter.build.compiler_arguments;"
        "print(sorted(set(sys.modules) & {'argparse', 're', 'enum', 'subprocess', "
        "'dataclasses', 'typing', 'pathlib', 'tempfile', 'nopfix.rewriter.pipeline', "
        "'nopfix.rewriter.object.elf'}))"
    )
    done = subprocess.run(
        [sys.executable, "-IS", "-c", code, str(ROOT)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def clang(folder: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[Any]:
    """nopfix-clang, with $NOPFIX_CC for the version."""
    if CLANG is None:
        pytest.skip("clang is not installed")
    code = "from nopfix.rewriter.build import wrapper; wrapper.clang()"
    return subprocess.run(
        [sys.executable, "-c", code, "--target=powerpc64le-linux-gnu", "-O2", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NOPFIX_CC": CLANG},
        **options,
    )


@pytest.mark.parametrize("arguments", [["f.c", "-of.o"], ["-g", "-o", "f.o", "--", "f.c"]])
def test_clang_is_wrapped_too(folder: Path, arguments: list[str]) -> None:
    clang(folder, "-c", *arguments, check=True)
    assert slots(folder / "f.o") == (CALLS, CALLS)


@pytest.mark.parametrize("name", ["f.ll", "f.bc"])
def test_what_clang_made_of_c_before_is_c(folder: Path, name: str) -> None:
    kind = "-S" if name == "f.ll" else "-c"
    clang(folder, kind, "-emit-llvm", "f.c", "-o", name, check=True)
    clang(folder, "-c", name, "-o", "f.o", check=True)
    assert slots(folder / "f.o") == (CALLS, CALLS)


def test_an_object_on_standard_output_has_slots_or_is_refused(folder: Path) -> None:
    with (folder / "f.o").open("wb") as stream:
        clang(folder, "-c", "f.c", "-o", "-", stdout=stream, check=True)
    assert slots(folder / "f.o") == (CALLS, CALLS)
    done = clang(folder, "-c", "f.c", "-o", "-", capture_output=True)
    assert done.returncode == 1
    assert done.stderr.startswith(b"nopfix: /dev/stdout: ")
    assert done.stderr.count(b"\n") == 1


def test_split_dwarf_is_rewritten_with_its_object(tools: Path, folder: Path) -> None:
    flags = ["-O2", "-g", "-gdwarf-5", "-gsplit-dwarf", "-c", "f.c"]
    assert GCC is not None
    subprocess.run([GCC, *flags, "-o", "plain.o"], cwd=folder, check=True)
    done = compile_with(tools, *flags, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert slots(folder / "f.o") == (CALLS, CALLS)
    before = elf.read((folder / "plain.dwo").read_bytes())
    after = elf.read((folder / "f.dwo").read_bytes())
    assert [s.name for s in before.sections] == [s.name for s in after.sections]
    assert (folder / "f.dwo").read_bytes() != (folder / "plain.dwo").read_bytes()


@pytest.mark.parametrize("choice", ["ignore", "warn", "error"])
def test_sibling_calls_are_named_when_asked_for(tools: Path, folder: Path, choice: str) -> None:
    (folder / "f.c").write_text(SOURCE + "int t(int x) { return g(x * 7); }\n")
    done = compile_with(tools, "-O2", "-g", "-c", "f.c", cwd=folder, NOPFIX_SIBLING_CALLS=choice)
    assert done.returncode == (1 if choice == "error" else 0)
    assert ("f.c:4: sibling call at t()+" in done.stderr) is (choice != "ignore")


@pytest.mark.parametrize("server", ["", "no socket"])
@pytest.mark.parametrize("arguments", ["-O2 -c f.c", "-O2 -fPIC -shared f.c -o f.o"])
def test_the_compiler_leaves_sibling_calls_out_when_asked_to(
    tools: Path, folder: Path, arguments: str, server: str
) -> None:
    (folder / "f.c").write_text(SOURCE + "int t(int x) { return g(x * 7); }\n")
    settings = {"NOPFIX_SIBLING_CALLS": "compiler", "NOPFIX_SERVER": server}
    done = compile_with(tools, *arguments.split(), cwd=folder, **settings)
    assert (done.returncode, done.stderr) == (0, "")
    if "-c" in arguments:
        assert sibling_calls.describe((folder / "f.o").read_bytes()) == []
        assert slots(folder / "f.o") == (CALLS + 1, CALLS + 1)
    own = compile_with(
        tools, "-O2", "-foptimize-sibling-calls", "-c", "f.c", cwd=folder, **settings
    )
    assert own.returncode == 0
    assert len(sibling_calls.describe((folder / "f.o").read_bytes())) == 1


def test_only_what_compiles_is_told_to_leave_sibling_calls_out(tools: Path, folder: Path) -> None:
    for arguments in ("--version", "-E f.c", "-dumpmachine"):
        settings = {"NOPFIX_SIBLING_CALLS": "compiler"}
        done = compile_with(tools, *arguments.split(), "-v", cwd=folder, **settings)
        assert done.returncode == 0
        assert "sibling" not in done.stderr


# Where no object comes, or it comes of something else, or lies elsewhere.

# What leaves no object that is the wrapper's, whatever the compiler writes.
NOTHING = (
    "-c f.c -fsyntax-only", "-c -E f.c", "-S -c f.c", "-c -M f.c", "-c -MM f.c", "-c f.c -###",
    "-c f.c --version", "-c f.c -dumpmachine", "-c f.c -print-file-name=libc.a", "-c -v",
    "-c f.c -o /dev/null", "-c h.s", "-c h.S -o f.o", "-c header.h", "-c -x c-header f.c",
    "-c linked.o", "-c noname", "-c linked.o -o f.o", "-c f.c --help",
)  # fmt: skip
CLANGS_NOTHING = (
    "-c -emit-llvm f.c", "-c f.c -Xclang -ast-dump", "-c f.c -Xclang -fsyntax-only",
    "-c f.c -mcpu=help", "--precompile -x c++-module f.c", "-c f.c -ccc-print-bindings",
    "--config=./empty.cfg -c f.c -emit-llvm", "--config=./empty.cfg -c f.c -Xclang -ast-list",
)  # fmt: skip
CASES = [("gcc", a) for a in NOTHING] + [("clang", a) for a in (*NOTHING, *CLANGS_NOTHING)]


@pytest.mark.parametrize(("compiler", "arguments"), CASES)
def test_where_no_object_comes_of_it_everything_is_the_compilers(
    tmp_path: Path, compiler: str, arguments: str
) -> None:
    command = [GCC] if compiler == "gcc" else [CLANG, "--target=powerpc64le-linux-gnu"]
    if command[0] is None:
        pytest.skip(f"{compiler} is not installed")
    code = "from nopfix.rewriter.build import wrapper; wrapper.main()"
    came = []
    for name, start in (("plain", []), ("wrapped", [sys.executable, "-c", code])):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "f.c").write_text(SOURCE)
        (folder / "noname").write_text(SOURCE)
        (folder / "header.h").write_text("int q;\n")
        (folder / "h.s").write_text("h: bl h\n")
        (folder / "h.S").write_text("h: bl h\n")
        (folder / "empty.cfg").write_text("")
        for old in ("f.o", "linked.o", "noname.o"):
            (folder / old).write_text("left from an earlier build\n")
        done = subprocess.run(
            [*start, *command, *arguments.split()],
            cwd=folder,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert "nopfix:" not in done.stderr
        precompiled = (".gch", ".pch", ".pcm")  # these hold addresses
        files = {
            path.name: b"" if path.suffix in precompiled else path.read_bytes()
            for path in folder.iterdir()
        }
        came.append((done.returncode, files))
    assert came[0] == came[1]
    assert came[0][0] == 0


def elsewhere(folder: Path, *arguments: str, **environment: str) -> None:
    """Compile with Clang through the wrapper, with a stale f.o where the object is looked for."""
    if CLANG is None:
        pytest.skip("clang is not installed")
    (folder / "f.o").write_text("left from an earlier build\n")
    (folder / "sub").mkdir()
    (folder / "sub" / "f.c").write_text(SOURCE)
    code = "from nopfix.rewriter.build import wrapper; wrapper.main()"
    command = [sys.executable, "-c", code, CLANG, "--target=powerpc64le-linux-gnu", "-O2"]
    done = subprocess.run(
        [*command, *(argument.format(folder=folder) for argument in arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )
    assert (done.returncode, "nopfix:" in done.stderr) == (0, False), done.stderr


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["-working-directory={folder}/sub", "-c", "f.c"], "sub/f.o"),
        (["-working-directory", "{folder}/sub", "-c", "f.c", "-o", "x.o"], "sub/x.o"),
        (["-working-directory={folder}/sub", "-c", "f.c", "-save-temps"], "sub/f.o"),
        (["-working-directory={folder}/sub", "-c", "f.c", "-fno-integrated-as"], "sub/f.o"),
        (["-working-directory={folder}/sub", "-c", "f.c", "-o", "{folder}/x.o"], "x.o"),
        (["--driver-mode=cl", "-c", "f.c"], "f.obj"),
    ],
)
def test_an_object_that_clang_puts_elsewhere_has_its_slots(
    folder: Path, arguments: list[str], output: str
) -> None:
    elsewhere(folder, *arguments)
    assert slots(folder / output) == (CALLS, CALLS)


@pytest.mark.parametrize(
    ("text", "arguments", "output"),
    [
        ("-c -o w.o", ["f.c"], "w.o"),
        ("-c f.c", ["-o", "w.o"], "w.o"),
        ("-o w.o", ["-c", "f.c"], "w.o"),
        ("-working-directory={folder}/sub", ["-c", "f.c", "-o", "w.o"], "sub/w.o"),
        ("-xc", ["-c", "noname"], "noname.o"),
        ("-O1", ["-c", "f.c", "-o", "w.o"], "w.o"),
    ],
)
@pytest.mark.parametrize("how", ["--config=", "--config", "by name", "CCC_OVERRIDE_OPTIONS"])
def test_what_clang_reads_elsewhere_counts(
    folder: Path, text: str, arguments: list[str], output: str, how: str
) -> None:
    (folder / "noname").write_text(SOURCE)
    text = text.format(folder=folder)
    (folder / "c.cfg").write_text(text + "\n")
    environment = {}
    if how == "by name":
        arguments = ["--config-user-dir={folder}", "--config=c.cfg", *arguments]
    elif how == "CCC_OVERRIDE_OPTIONS":
        words = text.replace("-o w", "-ow").split()
        edits = [f"^{word}" if word.startswith("-x") else f"+{word}" for word in words]
        environment = {how: "# " + " ".join(edits)}
    else:
        arguments = ["--config=./c.cfg" if "=" in how else "--config", *arguments]
        arguments[1:1] = [] if "=" in how else ["./c.cfg"]
    elsewhere(folder, *arguments, **environment)
    assert slots(folder / output) == (CALLS, CALLS)


def test_what_only_the_compiler_knows_for_a_source_has_its_slots(folder: Path) -> None:
    (folder / "m.c").write_text(
        "export module m; __attribute__((noinline)) int g(int x) { return x * x; }\n"
        "export int f(int x) { return g(x) + g(x + 1) + g(x - 1); }\n"
    )
    elsewhere(folder, "--precompile", "-x", "c++-module", "-std=c++20", "m.c", "-o", "m.pcm")
    shutil.rmtree(folder / "sub")
    elsewhere(folder, "-c", "m.pcm")
    assert slots(folder / "m.o") == (CALLS, CALLS)


# Caches and farms, with the real programs.


def cache_statistics(environment: dict[str, str]) -> tuple[int, int]:
    shown = subprocess.run(
        ["ccache", "--print-stats"], capture_output=True, text=True, env=environment, check=True
    ).stdout
    numbers = dict(line.split("\t")[:2] for line in shown.splitlines() if "\t" in line)
    hits = int(numbers["direct_cache_hit"]) + int(numbers["preprocessed_cache_hit"])
    return hits, int(numbers["cache_miss"])


@pytest.mark.skipif(shutil.which("ccache") is None, reason="ccache is not installed")
@pytest.mark.parametrize("order", ["ccache outside", "ccache inside"])
def test_the_second_build_with_ccache_is_all_hits_and_has_slots(
    tools: Path, folder: Path, order: str
) -> None:
    assert GCC is not None
    environment = os.environ | {"CCACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    if order == "ccache outside":
        command = ["ccache", str(tools / "nopfix-gcc")]
    else:
        code = "from nopfix.rewriter.build import wrapper; wrapper.main()"
        command = [sys.executable, "-c", code, "ccache", GCC]
    for build, (hits, misses) in enumerate([(0, 1), (1, 1)]):
        (folder / "f.o").unlink(missing_ok=True)
        subprocess.run(
            [*command, "-O2", "-g", "-c", "f.c", "-o", "f.o"],
            cwd=folder,
            env=environment,
            check=True,
        )
        assert cache_statistics(environment) == (hits, misses), f"build {build}"
        assert slots(folder / "f.o") == (CALLS, CALLS)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that anybody may write to: started by root, distccd is somebody else."""
    path = Path(tempfile.mkdtemp(dir="/var/tmp"))
    path.chmod(0o1777)
    yield path
    shutil.rmtree(path)


@pytest.mark.skipif(
    shutil.which("distcc") is None or shutil.which("distccd") is None,
    reason="distcc is not installed",
)
@pytest.mark.parametrize("cache", [False, True])
def test_a_distcc_build_has_slots(folder: Path, shared: Path, cache: bool) -> None:
    assert GCC is not None
    if cache and shutil.which("ccache") is None:
        pytest.skip("ccache is not installed")
    port = 20000 + os.getpid() % 20000
    flags = ["--allow", "127.0.0.1", "--listen", "127.0.0.1", "--port", str(port), "--jobs", "1"]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "DISTCC_HOSTS": f"127.0.0.1:{port}",
        "DISTCC_FALLBACK": "0",
        "DISTCC_DIR": str(folder / "state"),
        "DISTCC_CMDLIST": "",
        "CCACHE_DIR": str(folder / "cache"),
        "CCACHE_PREFIX": "distcc",
    }
    (folder / "state").mkdir()
    log = folder / "distccd.log"
    with log.open("wb") as stream:
        server = subprocess.Popen(
            ["distccd", "--no-detach", "--daemon", "--enable-tcp-insecure", "--log-stderr", *flags],
            env=environment | {"TMPDIR": str(shared)},
            stderr=stream,
        )
    try:
        code = "from nopfix.rewriter.build import wrapper; wrapper.main()"
        through = "ccache" if cache else "distcc"
        command = [sys.executable, "-c", code, through, PREFIX + "gcc", "-O2", "-c", "f.c"]
        for _ in range(50):
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True
            )
            if done.returncode == 0:
                break
            time.sleep(0.1)
        assert done.returncode == 0, done.stderr + log.read_text()
        for _ in range(50):  # the server says so after it has answered
            if "COMPILE_OK" in log.read_text():
                break
            time.sleep(0.1)
        assert "COMPILE_OK" in log.read_text()
        assert slots(folder / "f.o") == (CALLS, CALLS)
    finally:
        server.terminate()
        server.wait(10)


def run_wrapper(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """``nopfix-cc`` with ``command``."""
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}]\nfrom nopfix.rewriter.build import wrapper\n"
    )
    return subprocess.run(
        [sys.executable, "-c", f"{code}wrapper.main()", *command],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )


@pytest.mark.parametrize("name", ["cc", "powerpc64le-linux-gnu-c++", "f77"])
def test_what_gcc_compiles_and_links_at_once_by_another_name_has_slots(
    folder: Path, name: str
) -> None:
    if GCC is None:
        pytest.skip(f"{PREFIX}gcc is not installed")
    (folder / name).symlink_to(GCC)
    done = run_wrapper(f"./{name}", "f.c", *LINK, "-o", "f", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert slots(folder / "f") == (CALLS, CALLS)
    (folder / "f.c").rename(folder / "..c")
    done = run_wrapper(f"./{name}", "-O2", "-c", "..c", cwd=folder)
    assert slots(folder / "..o") == (CALLS, CALLS)


def test_fortran_that_is_linked_at_once_has_slots(folder: Path) -> None:
    fortran = next((c for c in FORTRAN if shutil.which(c)), None)
    if fortran is None:
        pytest.skip("gfortran is not installed for this target")
    (folder / "f.f90").write_text(FIBONACCI)
    done = run_wrapper(fortran, "f.f90", *LINK, "-o", "f", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    calls, with_slots = slots(folder / "f", "fib")
    assert calls == with_slots > 1


def test_what_rustc_emits_has_slots(folder: Path) -> None:
    if GCC is None:
        pytest.skip(f"{PREFIX}gcc is not installed")
    # What rustc makes of a crate is an object like clang's; what it does with its arguments counts.
    (folder / "rustc").write_text(f"#!/bin/sh\nexec {GCC} -O2 -c f.c -o k.o\n")
    (folder / "rustc").chmod(0o755)
    done = run_wrapper("./rustc", "--emit=dep-info=k.d,obj=k.o", "k.rs", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert slots(folder / "k.o") == (CALLS, CALLS)
    done = run_wrapper("./rustc", "--emit=obj", "-Ccodegen-units=4", "j.rs", cwd=folder)
    assert done.returncode == 1
    assert "j.o: the compiler succeeded without writing this object" in done.stderr
    done = run_wrapper("./rustc", "-o", "program", "k.rs", cwd=folder)
    assert slots(folder / "k.o") == (CALLS, 0)


def test_a_command_without_a_name_is_one_line_and_127(folder: Path) -> None:
    for command in ([""], ["", "-c", "f.c"]):
        done = run_wrapper(*command, cwd=folder)
        assert done.returncode == 127
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_object_that_cant_be_removed_is_emptied() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        obj = folder / "f.o"
        obj.write_bytes(b"code without slots")
        obj.chmod(0o666)
        code = (
            f"import os, sys; sys.path[:0] = [{str(ROOT)!r}]\n"
            "from nopfix.rewriter.build import wrapper\n"
            "from nopfix.rewriter.errors import complain\n"
            f"os.setuid(65534); wrapper.remove([{str(obj)!r}])\n"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stderr == f"nopfix: {obj.resolve()}: Permission denied\n"
        assert obj.read_bytes() == b""
