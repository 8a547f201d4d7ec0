"""The compiler wrapper: what it makes of arguments, what it leaves of the compiler as it was."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rewriter import elf, objects_in_place, toolchain, wrapper

PREFIX = "powerpc64le-linux-gnu-"
GCC = shutil.which(PREFIX + "gcc")
CLANG = next((c for c in ("clang-19", "clang") if shutil.which(c)), None)
ROOT = Path(__file__).parents[2]

needs_gcc = pytest.mark.skipif(GCC is None, reason=f"{PREFIX}gcc is not installed")

# f has calls of a static function, so GCC leaves out the slots.
SOURCE = """
static __attribute__((noinline)) int g(int x) { return x * x + 1; }
int f(int x) { return g(x) + g(x + 1) + g(x - 1); }
"""
CALLS = 3


def plan(*arguments: str, assembly: bool = False) -> list[str]:
    return wrapper.plan(wrapper.response_files(arguments), assembly)[0]


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
        (["-c", "a.c", "b.cc", "c.cpp", "d.C", "e.ii"], ["a.o", "b.o", "c.o", "d.o", "e.o"]),
        (["-c", "a.c", "b.s", "c.S"], ["a.o"]),
        (["-c", "a.c", "old.o", "-lm"], ["a.o"]),
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
    ],
)
def test_arguments_tell_which_objects_come_of_c(arguments: list[str], objects: list[str]) -> None:
    assert plan(*arguments) == objects


def test_assembly_is_wanted_only_when_asked_for() -> None:
    assert plan("-c", "a.S", "b.s", "c.c", assembly=True) == ["a.o", "b.o", "c.o"]


def test_a_source_without_c_is_compiled_and_linked_at_once() -> None:
    assert wrapper.plan(iter(["a.c", "-o", "prog"])) == ([], True)
    assert wrapper.plan(iter(["a.o", "-o", "prog"])) == ([], False)


def test_response_files_nest_and_quote_as_libiberty_reads_them(tmp_path: Path) -> None:
    inner = tmp_path / "inner.rsp"
    inner.write_text("-DX='a b' \"-DY=c d\"\n")
    outer = tmp_path / "outer.rsp"
    outer.write_text(f"-c\t@{inner} a\\ b.c 'it\\'s' -o \"x y.o\"\n@no-such-file\n''")
    expanded = list(wrapper.response_files(["-O2", f"@{outer}"]))
    assert expanded == [
        *("-O2", "-c", "-DX=a b", "-DY=c d", "a b.c", "it's", "-o", "x y.o"),
        *("@no-such-file", ""),
    ]
    assert plan(f"@{outer}") == ["x y.o"]


@needs_gcc
def test_response_files_are_read_as_gcc_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert GCC is not None
    (tmp_path / "a.rsp").write_text(
        "-DA='x \\' y' -DB=\"p \\\\ q\" -D'C'=\\r\\\n-DD=s ''-DE\n@b.rsp"
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
    mine = [a for a in wrapper.response_files(["@a.rsp"]) if a.startswith("-D")]
    # The driver shows its commands one a line, -D apart from what it defines, and a line break
    # inside a word as it is, so only the compiler's own words are looked at.
    line = shown[shown.index("/cc1") : shown.index("-dumpbase ")]
    words = wrapper.words(line)
    gccs = ["-D" + words[i + 1] for i, word in enumerate(words) if word == "-D"]
    assert mine == gccs
    assert len(mine) == 6


def test_only_kpatchs_plugin_is_dropped(tmp_path: Path) -> None:
    arguments = ["-O2", "-fplugin=/usr/libexec/kpatch/ppc64le-plugin.so", "-c", "a.c"]
    assert wrapper.without_plugin(arguments) == ["-O2", "-c", "a.c"]
    others = ["-fplugin=/x/ppc64le-plugin.so.old/other.so", "-fplugin=latent_entropy.so", "a.c"]
    assert wrapper.without_plugin(others) == others
    response = tmp_path / "flags"
    response.write_text("-O2 -fplugin=/k/ppc64le-plugin.so -g")
    assert wrapper.without_plugin([f"@{response}", "a.c"]) == ["-O2", "-g", "a.c"]
    response.write_text("-O2 -g")
    assert wrapper.without_plugin([f"@{response}", "a.c"]) == [f"@{response}", "a.c"]


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


def slots(path: Path) -> tuple[int, int]:
    """Calls in the object's code, and those of them that have a slot."""
    assert GCC is not None
    listing = subprocess.run(
        [PREFIX + "objdump", "-d", "--no-show-raw-insn", str(path)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    calls = [i for i, line in enumerate(listing) if "\tbl " in line]
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


def test_output_to_a_device_stays_there(tools: Path, folder: Path) -> None:
    done = compile_with(tools, "-O2", "-c", "f.c", "-o", "/dev/null", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert not os.path.isfile("/dev/null")


def test_compile_and_link_at_once_has_slots(tools: Path, folder: Path) -> None:
    (folder / "f.c").write_text(SOURCE + "int main(int c, char **v) { return f(c); }\n")
    (folder / "h.s").write_text(".globl h\nh: bl h\n")
    flags = ["-O2", "-static", "-save-temps", "-fno-inline", "f.c", "h.s", "-o", "prog"]
    done = compile_with(tools, *flags, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "prog").stat().st_mode & 0o111
    calls, with_slot = slots(folder / "prog-f.o")
    assert calls == with_slot >= CALLS
    assert slots(folder / "prog-h.o") == (1, 0)
    compile_with(tools, *flags, cwd=folder, NOPFIX_ASM="1")
    assert slots(folder / "prog-h.o") == (1, 1)


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


@pytest.mark.parametrize("flags", [["-mbig-endian"], ["-mabi=elfv1"]])
def test_objects_that_arent_ours_pass_through(tools: Path, folder: Path, flags: list[str]) -> None:
    done = compile_with(tools, "-O2", "-c", *flags, "f.c", cwd=folder)
    if done.returncode:
        pytest.skip(f"this compiler doesn't know {flags}")
    plain = folder / "plain.o"
    assert GCC is not None
    subprocess.run([GCC, "-O2", "-c", *flags, "f.c", "-o", str(plain)], cwd=folder, check=True)
    assert (folder / "f.o").read_bytes() == plain.read_bytes()


def test_thirty_two_bit_objects_are_not_ours() -> None:
    elf32 = b"\x7fELF\x01\x01\x01" + bytes(9) + b"\x01\0\x14\0" + bytes(60)
    elfv1 = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x01\0\x15\0" + bytes(28) + b"\x01" + bytes(30)
    assert not objects_in_place.is_ours(elf32)
    assert not objects_in_place.is_ours(elfv1)
    assert not objects_in_place.is_ours(b"!<arch>\n" + bytes(60))


def test_the_compilers_complaints_and_status_pass_through(tools: Path, folder: Path) -> None:
    assert GCC is not None
    (folder / "bad.c").write_text("int x = ;\n#warning hm\n")
    wrapped = compile_with(tools, "-c", "bad.c", cwd=folder)
    plain = subprocess.run([GCC, "-c", "bad.c"], cwd=folder, capture_output=True, text=True)
    assert wrapped.returncode == plain.returncode == 1
    assert wrapped.stderr == plain.stderr
    assert not (folder / "bad.o").exists()


def test_a_refused_object_is_removed(tools: Path, folder: Path) -> None:
    # A jump through a pointer that is computed from a number: nothing says where it goes.
    (folder / "f.c").write_text(
        SOURCE
        + "void j(long n) { g(1); asm volatile('mtctr %0; bctr' :: 'r'(n * 8)); }".replace("'", '"')
    )
    done = compile_with(tools, "-O2", "-c", "f.c", cwd=folder)
    assert done.returncode == 1
    assert done.stderr.startswith("nopfix: f.o: ")
    assert done.stderr.count("\n") == 1
    assert not (folder / "f.o").exists()


def test_intermediate_code_is_refused_rather_than_left_without_slots(
    tools: Path, folder: Path
) -> None:
    done = compile_with(tools, "-O2", "-flto", "-c", "f.c", cwd=folder)
    assert done.returncode == 1
    assert "-flto" in done.stderr
    assert not (folder / "f.o").exists()


def test_a_missing_compiler_is_one_line_and_127(folder: Path) -> None:
    command = [sys.executable, "-m", "rewriter.wrapper_command", "no-such-compiler", "-c", "f.c"]
    command[1:3] = ["-c", "from rewriter import wrapper; wrapper.main()"]
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
    code = f"from rewriter import wrapper; wrapper.finish(wrapper.run([{str(compiler)!r}], {{}}))"
    return [sys.executable, "-c", code.format("['-c', 'f.c']")]


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_rewriting_leaves_no_object_without_slots(
    folder: Path, number: signal.Signals
) -> None:
    command = fake_compiler(folder, "echo untouched > f.o\n")
    slow = "import os, time; wrapper._load = lambda: lambda *_: open('up', 'w') and time.sleep(30)"
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
        "import sys; sys.path.insert(0, sys.argv[1]); import rewriter.wrapper;"
        "print(sorted(set(sys.modules) & {'argparse', 're', 'enum', 'subprocess', "
        "'dataclasses', 'typing', 'pathlib', 'tempfile', 'rewriter.pipeline', 'rewriter.elf'}))"
    )
    done = subprocess.run(
        [sys.executable, "-IS", "-c", code, str(ROOT)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(CLANG is None, reason="clang is not installed")
def test_clang_is_wrapped_too(folder: Path) -> None:
    assert CLANG is not None
    code = "from rewriter import wrapper; wrapper.clang()"
    flags = ["--target=powerpc64le-linux-gnu", "-O2", "-c", "f.c"]
    subprocess.run(
        [sys.executable, "-c", code, *flags],
        cwd=folder,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NOPFIX_CC": CLANG},
    )
    assert slots(folder / "f.o") == (CALLS, CALLS)


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
        code = "from rewriter import wrapper; wrapper.main()"
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


@pytest.mark.skipif(
    shutil.which("distcc") is None or shutil.which("distccd") is None,
    reason="distcc is not installed",
)
def test_a_distcc_build_has_slots(folder: Path) -> None:
    assert GCC is not None
    port = 20000 + os.getpid() % 20000
    flags = ["--allow", "127.0.0.1", "--listen", "127.0.0.1", "--port", str(port), "--jobs", "1"]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "DISTCC_HOSTS": f"127.0.0.1:{port}",
        "DISTCC_FALLBACK": "0",
        "DISTCC_DIR": str(folder / "state"),
        "DISTCC_CMDLIST": "",
    }
    (folder / "state").mkdir()
    log = folder / "distccd.log"
    with log.open("wb") as stream:
        server = subprocess.Popen(
            ["distccd", "--no-detach", "--daemon", "--enable-tcp-insecure", "--log-stderr", *flags],
            env=environment,
            stderr=stream,
        )
    try:
        code = "from rewriter import wrapper; wrapper.main()"
        command = [sys.executable, "-c", code, "distcc", PREFIX + "gcc", "-O2", "-c", "f.c"]
        for _ in range(50):
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True
            )
            if done.returncode == 0:
                break
            time.sleep(0.1)
        assert done.returncode == 0, done.stderr + log.read_text()
        assert "COMPILE_OK" in log.read_text()
        assert slots(folder / "f.o") == (CALLS, CALLS)
    finally:
        server.terminate()
        server.wait(10)
