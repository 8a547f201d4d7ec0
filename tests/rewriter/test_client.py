"""The client in C does what the wrapper in Python does, or hands it over.

tests/rewriter/test_server.py runs both in front of real and made-up servers; test_wrapper.py runs
the commands that nopfix-toolchain makes with a real compiler.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nopfix import rewrite
from nopfix.rewriter.build import compiler_arguments, request, toolchain

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "samples" / "recursion.o"

# Says that it runs, and copies $OBJECT to where -o says; its status is $STATUS.
COMPILER = """\
#!/bin/sh
echo compiler
while [ $# -gt 0 ]; do
  if [ "$1" = -o ]; then [ -n "$OBJECT" ] && cp "$OBJECT" "$2"; fi
  shift
done
exit ${STATUS:-0}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the command x-cc, whose script only says that it is asked."""
    compiler = tmp_path / "cc"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    tables = toolchain._tables() + "#define LONGEST_REWRITE 1\n"
    monkeypatch.setattr(toolchain, "_tables", lambda: tables)
    programs = toolchain.clients([str(compiler)], os.get_exec_path())
    if not programs:
        pytest.skip("needs a C compiler for this machine")
    script = b"#!/bin/sh\necho script\n"
    toolchain._put(str(tmp_path), "x-cc", script, programs[str(compiler)])
    return tmp_path


def run(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(folder / "x-cc"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "OBJECT": str(SAMPLE)} | settings,
        timeout=60,
    )


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[list[bytes]]]]:
    """A server that says of every object that it is done, and the fields of what it was asked."""
    asked: list[list[bytes]] = []
    path = str(tmp_path_factory.mktemp("s") / "s")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()

        def serve() -> None:
            while True:
                try:
                    connection = listening.accept()[0]
                except OSError:
                    return
                with connection:
                    fields = request.receive(connection, request.END)
                    asked.append(fields.removesuffix(request.END).split(b"\0"))
                    connection.sendall(request.DONE + b"one line\nanother")

        threading.Thread(target=serve, daemon=True).start()
        yield path, asked
        listening.shutdown(socket.SHUT_RDWR)


# Argument lists, each once as a kernel's make has it and with what makes it another's.
ARGUMENTS = [
    "-c f.c -o f.o",
    "-Wp,-MMD,./.f.o.d -nostdinc -I./include -include x.h -D__KERNEL__ -O2 -c -o f.o f.c",
    "-isystem dir -D NAME -c f.c -o f.o --param x=1",
    "-c f.c -o f.o -MF deps.c",
    "-c -x c f -o f.o",
    "-x c++ -c f.c -o f.o",
    "-xc -c f -o f.o",
    "-c f.c",
    "-cf.c -o f.o",
    "-c f.c g.c",
    "-c f.c g.c -o f.o",
    "-c f.c -of.o",
    "-c f.S -o f.o",
    "-c f.s",
    "-x assembler -c f.c -o f.o",
    "-c f.hid -o f.o",
    "-c a.o -o f.o",
    "-c f.cc -o f.o",
    "-c dir.c/f -o f.o",
    "-c .c -o f.o",
    "-E f.c",
    "-S f.c -o f.s",
    "-M f.c",
    "-c f.c -o f.o -fsyntax-only",
    "-MF -E -c f.c -o f.o",
    "--version",
    "-v",
    "-dumpmachine",
    "-print-file-name=plugin",
    "--print-missing-file-dependencies -c f.c -o f.o",
    "f.c -o f",
    "f.o -o f",
    "@more -c f.c -o f.o",
    "-c f.c -o f.o -fplugin=ppc64le-plugin.so",
    "-c f.c -o f.o -wrapper gdb,--args",
    "-c -- f.c -o f.o",
    "-c f.c -o -",
    "-c - -o f.o",
    "-c f.c -o f.o -Xclang -ast-dump",
    "--config=x -c f.c -o f.o",
    "-c f.c -o",
    "-c f.c --output=f.o",
    "-flto -c f.c -o f.o",
]


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_the_client_asks_for_the_objects_that_the_wrapper_sees_and_for_no_other(
    folder: Path, server: tuple[str, list[list[bytes]]], arguments: str
) -> None:
    words = arguments.split()
    done = run(folder, *words, NOPFIX_SERVER=server[0])
    if done.stdout == "script\n":
        return  # Python decides
    assert done.stdout == "compiler\n"
    objects, links = compiler_arguments.plan(words)
    asked = [os.fsdecode(fields[2]) for fields in server[1]]
    assert asked == list(objects)
    assert not links


@pytest.mark.parametrize("arguments", ARGUMENTS[:5] + ["-E f.c", "--version", "-c f.S -o f.o"])
def test_what_is_ordinary_needs_no_interpreter(
    folder: Path, server: tuple[str, list[list[bytes]]], arguments: str
) -> None:
    assert run(folder, *arguments.split(), NOPFIX_SERVER=server[0]).stdout == "compiler\n"


def test_a_request_has_the_wrapper_s_own_fields(
    folder: Path, server: tuple[str, list[list[bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {name: f"value of {name}" for name in request.SETTINGS}
    done = run(folder, "-c", "f.c", "-o", "f.o", NOPFIX_SERVER=server[0], **settings)
    assert (done.returncode, done.stderr) == (0, "nopfix: one line\nnopfix: another\n")
    monkeypatch.chdir(folder)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    wanted = request._request("f.o", False).removesuffix(request.END).split(b"\0")
    assert [sorted(fields) for fields in server[1]] == [sorted(wanted)]
    assert server[1][0][:5] == wanted[:5]


@pytest.mark.parametrize("setting", ["NOPFIX_DEBUG=1", "NOPFIX_ASM=1", "CCC_OVERRIDE_OPTIONS=x"])
def test_what_is_out_of_the_ordinary_in_the_environment_is_python_s(
    folder: Path, server: tuple[str, list[list[bytes]]], setting: str
) -> None:
    name, _, value = setting.partition("=")
    done = run(folder, "-c", "f.c", "-o", "f.o", NOPFIX_SERVER=server[0], **{name: value})
    assert done.stdout == "script\n"


def test_without_a_server_python_compiles(folder: Path) -> None:
    assert run(folder, "-c", "f.c", "-o", "f.o").stdout == "script\n"
    assert run(folder, "-c", "f.c", "-o", "f.o", NOPFIX_SERVER="").stdout == "script\n"


def test_a_probe_that_makes_no_code_is_done_when_it_has_compiled(
    folder: Path, server: tuple[str, list[list[bytes]]], assemble: object
) -> None:
    empty = folder / "empty.o"
    assert callable(assemble)
    empty.write_bytes(assemble(".data\n.long 1\n"))
    probe = ("-c", "-x", "c", "/dev/null", "-o", "probe.o")
    for settings in ({}, {"NOPFIX_SERVER": server[0]}):
        done = run(folder, *probe, OBJECT=str(empty), **settings)
        assert (done.returncode, done.stdout, done.stderr) == (0, "compiler\n", "")
        assert (folder / "probe.o").read_bytes() == empty.read_bytes()
    assert server[1] == []
    done = run(folder, *probe)  # an object with code
    assert done.returncode == 0
    assert (folder / "probe.o").read_bytes() == rewrite(SAMPLE.read_bytes()).data
    done = run(folder, *probe[:-1], "/dev/null", OBJECT="")
    assert (done.returncode, done.stdout, done.stderr) == (0, "compiler\n", "")


def test_the_status_is_the_compilers(folder: Path, server: tuple[str, list[list[bytes]]]) -> None:
    compile_ = ("-c", "f.c", "-o", "f.o")
    done = run(folder, *compile_, NOPFIX_SERVER=server[0], STATUS="3", OBJECT="")
    assert (done.returncode, done.stderr, server[1]) == (3, "", [])
    # It has failed and written all the same: make won't look at that object again.
    done = run(folder, *compile_, NOPFIX_SERVER=server[0], STATUS="3")
    assert (done.returncode, server[1]) == (3, [])
    assert (folder / "f.o").read_bytes() == rewrite(SAMPLE.read_bytes()).data
    (folder / "cc").write_text("#!/bin/sh\nkill -KILL $$\n")
    assert run(folder, *compile_, NOPFIX_SERVER=server[0]).returncode == -9
    (folder / "cc").unlink()
    done = run(folder, *compile_, NOPFIX_SERVER=server[0])
    assert done.returncode == 127
    assert done.stderr == f"nopfix: {folder / 'cc'}: No such file or directory\n"


def test_an_object_that_should_have_come_and_did_not_is_missed(
    folder: Path, server: tuple[str, list[list[bytes]]]
) -> None:
    shutil.copy(SAMPLE, folder / "f.o")
    done = run(folder, "-c", "f.c", "-o", "f.o", NOPFIX_SERVER=server[0], OBJECT="")
    assert done.returncode == 1
    assert done.stderr.startswith("nopfix: f.o: ")
    assert server[1] == []


def test_a_server_that_never_answers_is_waited_for_so_long_and_no_longer(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = str(tmp_path_factory.mktemp("s") / "s")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        done = run(folder, "-c", "f.c", "-o", "f.o", NOPFIX_SERVER=path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "f.o").read_bytes() == rewrite(SAMPLE.read_bytes()).data


def test_a_folder_of_commands_can_be_moved_and_linked_to(folder: Path) -> None:
    moved = folder / "moved"
    moved.mkdir()
    shutil.move(folder / "x-cc", moved)
    shutil.move(folder / toolchain.SCRIPTS, moved)
    (folder / "x-cc").symlink_to(moved / "x-cc")
    assert run(folder, "-c", "f.c").stdout == "script\n"


def test_what_stands_for_a_compiler_differs_where_the_compiler_does(tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text(COMPILER)
    before = toolchain.clients([str(compiler)], os.get_exec_path())
    compiler.write_text(COMPILER + "\n")
    assert toolchain.clients([str(compiler)], os.get_exec_path()) != before or not before


def test_without_a_compiler_for_this_machine_the_commands_are_scripts(tmp_path: Path) -> None:
    tool = tmp_path / "bin" / "x-gcc"
    tool.parent.mkdir()
    tool.write_text(COMPILER)
    tool.chmod(0o755)
    for number, host in enumerate(
        (None, "#!/bin/sh\nexit 1\n", "#!/bin/sh\ntouch client.o client\n")
    ):
        if host is not None:
            (tool.parent / "cc").write_text(host)
            (tool.parent / "cc").chmod(0o755)
        out = tmp_path / str(number)
        toolchain.make(str(out), "x-", "nopfix-", [str(tool.parent)])
        assert sorted(os.listdir(out)) == ["nopfix", "nopfix-gcc"]
        assert (out / "nopfix-gcc").read_text().startswith("#!")
