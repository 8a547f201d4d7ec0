"""`nopfix-serve`: a build with the rewriter loaded beside it comes out as it does without."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nopfix import rewrite
from nopfix.rewriter.build import request, toolchain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "samples" / "recursion.o"
SOCKETS = tempfile.gettempdir()  # that of a test is too long for a socket
SERVE = "import sys; from nopfix.rewriter.build.server import main; sys.exit(main())"

# Runs the wrapper with `cp $OBJECT` for a compiler; says whether the rewriter was loaded for it.
WRAPPER = """\
#!{python} -IS
import os, sys
sys.path[:0] = [{root!r}]
from nopfix.rewriter.build import wrapper
status = wrapper.run([{compiler!r}], sys.argv[1:])
print("loaded" if "nopfix.rewriter.pipeline" in sys.modules else "served", flush=True)
os._exit(status)
"""


# What the client in C goes on with; says that it was needed.
CLIENT = """\
import runpy
print("loaded", flush=True)
runpy.run_path({client!r}, run_name="__main__")
"""


@pytest.fixture(params=["Python", "C"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the command `wrapper`, in either language, for the compiler `cc`."""
    compiler = tmp_path / "cc"
    says = "echo compiled\n" if request.param == "C" else ""
    compiler.write_text(f'#!/bin/sh\n{says}shift $(($# - 1))\ncp "$OBJECT" "$1"\n')
    wrapper = tmp_path / "wrapper"
    text = WRAPPER.format(python=sys.executable, root=str(ROOT), compiler=str(compiler))
    if request.param == "C":
        monkeypatch.setattr(toolchain, "_tables", own_tables(tmp_path / "client.py"))
        compiler.chmod(0o755)
        programs = toolchain.clients([str(compiler)], os.get_exec_path())
        if not programs:
            pytest.skip("needs a C compiler for this machine")
        wrapper.write_bytes(programs[str(compiler)])
        wrapper.chmod(0o755)
        wrapper = tmp_path / toolchain.SCRIPTS / "wrapper"
        wrapper.parent.mkdir()
    wrapper.write_text(text)
    for command in (compiler, wrapper):
        command.chmod(0o755)
    (tmp_path / "bitcode.o").write_bytes(b"BC\xc0\xde" + bytes(60))
    return tmp_path


def own_tables(own: Path) -> Callable[[], str]:
    """client.c's tables, with a client.py in ``own`` that says that it runs."""
    client = str(ROOT / "nopfix" / "rewriter" / "build" / "client.py")
    tables = toolchain._tables().replace(client, str(own))
    assert str(own) in tables
    own.write_text(CLIENT.format(client=client))
    return lambda: tables


def how(said: str) -> str:
    """Who rewrote each object, from what compiler and wrapper say: "served" or "loaded"."""
    return said.replace("compiled\nloaded\n", "loaded\n").replace("compiled\n", "served\n")


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="s-") as folder:
        yield Path(folder)


def compile_command(name: str) -> list[str]:
    return ["./wrapper", "-c", f"{name}.c", "-o", f"{name}.o"]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OBJECT": str(SAMPLE)} | more


def served(folder: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SERVE, *command],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment(**{"TMPDIR": SOCKETS} | more),
        timeout=60,
    )


def alone(folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """The wrapper without `nopfix-serve`."""
    return subprocess.run(
        compile_command("f"),
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment(**more),
        timeout=60,
    )


def test_a_served_object_is_the_one_that_the_wrapper_makes(folder: Path) -> None:
    done = served(folder, *compile_command("f"))
    assert (done.returncode, how(done.stdout), done.stderr) == (0, "served\n", "")
    expected = rewrite(SAMPLE.read_bytes())
    assert expected.report.insertions
    assert (folder / "f.o").read_bytes() == expected.data


def test_many_at_once_are_all_served(folder: Path) -> None:
    wrapper = " ".join(compile_command("f")).replace("f.", "$i.")
    script = f"for i in $(seq 24); do {wrapper} & done; wait"
    done = served(folder, "sh", "-c", script)
    assert (how(done.stdout), done.stderr) == ("served\n" * 24, "")
    expected = rewrite(SAMPLE.read_bytes()).data
    assert all((folder / f"{i}.o").read_bytes() == expected for i in range(1, 25))


def test_a_refusal_comes_from_the_wrapper_itself(folder: Path) -> None:
    # It may be the server alone that lacks what it takes: rights, memory, a decompressor.
    done = served(folder, *compile_command("f"), OBJECT="bitcode.o")
    assert (done.returncode, how(done.stdout), (folder / "f.o").exists()) == (1, "loaded\n", False)
    assert done.stderr.startswith("nopfix: f.o: LLVM bitcode")
    assert done.stderr.count("\n") == 1


def test_warnings_are_the_wrappers(folder: Path) -> None:
    settings = {"OBJECT": str(ROOT / "samples" / "cleanup.o"), "NOPFIX_SIBLING_CALLS": "warn"}
    done = served(folder, *compile_command("f"), **settings)
    without = alone(folder, **settings)
    assert (how(done.stdout), how(without.stdout)) == ("served\n", "loaded\n")
    assert done.stderr == without.stderr


def test_an_internal_error_shows_in_the_wrapper(folder: Path) -> None:
    done = served(folder, *compile_command("f"), NOPFIX_DEBUG="1")
    assert how(done.stdout) == "loaded\n"


def test_the_settings_are_those_of_the_wrapper(folder: Path) -> None:
    script = f"NOPFIX_SKIP=f.o {' '.join(compile_command('f'))}"
    done = served(folder, "sh", "-c", script)
    assert (done.returncode, how(done.stdout), done.stderr) == (0, "served\n", "")
    assert (folder / "f.o").read_bytes() == SAMPLE.read_bytes()


def test_objects_are_verified_in_the_waiting_processes(folder: Path) -> None:
    done = served(folder, *compile_command("f"), NOPFIX_VERIFY="1")
    assert (done.returncode, how(done.stdout), done.stderr) == (0, "served\n", "")
    assert (folder / "f.o").read_bytes() == rewrite(SAMPLE.read_bytes()).data


def test_paths_are_relative_to_the_wrapper(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    script = f"cd inner && {' '.join(compile_command('f'))}".replace("./wrapper", "../wrapper")
    done = served(folder, "sh", "-c", script)
    assert (how(done.stdout), done.stderr) == ("served\n", "")
    assert (inner / "f.o").read_bytes() == rewrite(SAMPLE.read_bytes()).data


def answering(folder: Path, answer: bytes) -> str:
    """A server that answers one request with ``answer``; returns its socket."""
    path = str(folder / "other")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()

    def serve() -> None:
        with listening, listening.accept()[0] as connection:
            assert request.receive(connection, request.END)
            connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return path


@pytest.mark.parametrize("answer", [None, b"", request.NOT_DONE])
def test_where_nobody_serves_the_wrapper_does_it_itself(folder: Path, answer: bytes | None) -> None:
    server = str(folder / "gone") if answer is None else answering(folder, answer)
    done = alone(folder, NOPFIX_SERVER=server)
    assert (done.returncode, how(done.stdout), done.stderr) == (0, "loaded\n", "")
    assert (folder / "f.o").read_bytes() == rewrite(SAMPLE.read_bytes()).data


# Sends the server two requests that it must not follow, and prints what it says to them.
ASK = """\
import os, sys
from nopfix.rewriter.build import request, toolchain
from socket import socket, AF_UNIX
for field, value in ((0, "/another/nopfix"), (3, "0 0 0")):
    fields = os.fsdecode(request._request("f.o", False)).split("\\0")
    fields[field] = value
    with socket(AF_UNIX) as connection:
        connection.connect(os.environ["NOPFIX_SERVER"])
        connection.sendall(os.fsencode("\\0".join(fields)))
        print(request.receive(connection))
"""


def test_another_nopfix_and_another_file_by_the_same_path_are_sent_back(folder: Path) -> None:
    shutil.copy(SAMPLE, folder / "f.o")
    done = served(folder, sys.executable, "-c", ASK)
    assert (how(done.stdout), done.stderr) == (f"{request.NOT_DONE!r}\n" * 2, "")
    assert (folder / "f.o").read_bytes() == SAMPLE.read_bytes()


def test_the_status_is_the_commands(folder: Path) -> None:
    assert served(folder, "sh", "-c", "exit 7").returncode == 7
    assert served(folder, "sh", "-c", "kill -KILL $$").returncode == -signal.SIGKILL
    assert served(folder, "sh", "-c", "kill -TERM $$").returncode == -signal.SIGTERM
    missing = served(folder, "./no such command")
    assert missing.returncode == 127
    assert missing.stderr == "nopfix: ./no such command: No such file or directory\n"
    assert served(folder).returncode == 2
    nameless = served(folder, "")
    assert nameless.returncode == 127
    assert len(nameless.stderr.splitlines()) == 1


def test_the_options_end_where_the_command_begins(folder: Path) -> None:
    assert served(folder, "--", "sh", "-c", "exit 7").returncode == 7
    assert served(folder, "--report=r.json", "--", "sh", "-c", "exit 7").returncode == 7
    assert (folder / "r.json").exists()
    for wrong in ("--reports", "-v", "--report=", "--"):
        assert served(folder, wrong).returncode == 2


def test_without_room_for_a_socket_the_build_runs_all_the_same(folder: Path) -> None:
    deep = folder / ("x" * 120)
    deep.mkdir()
    done = served(folder, *compile_command("f"), TMPDIR=str(deep))
    assert (done.returncode, how(done.stdout)) == (0, "loaded\n")
    assert done.stderr == "nopfix: the build runs without a server: AF_UNIX path too long\n"
    assert not list(deep.iterdir())


LISTEN = """\
import socket, sys
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen()
print(flush=True)
with listening.accept()[0] as connection:
    connection.sendall(b"+")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
def test_another_users_server_is_not_believed(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as shared:
        Path(shared).chmod(0o777)
        path = f"{shared}/socket"
        other = subprocess.Popen(
            ["/usr/bin/env", "python3", "-c", LISTEN, path],
            cwd="/", user=65534, stdout=subprocess.PIPE, env={"PATH": os.defpath},
        )  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == b"\n"
        done = alone(folder, NOPFIX_SERVER=path)
        other.stdout.close()
        other.kill()
        other.wait()
    assert how(done.stdout) == "loaded\n"
    assert (folder / "f.o").read_bytes() == rewrite(SAMPLE.read_bytes()).data


# Holds as many connections as there are workers, then has an object made.
HOLD = """\
import os, subprocess, sys
from socket import socket, AF_UNIX
held = [socket(AF_UNIX) for _ in os.sched_getaffinity(0)]
for connection in held:
    connection.connect(os.environ["NOPFIX_SERVER"])
subprocess.run(sys.argv[1:])
"""


def test_a_request_that_never_ends_holds_up_nobody_for_long(folder: Path) -> None:
    impatient = (
        "import sys; from nopfix.rewriter.build import server\nserver._PATIENCE = 0.2; sys.exit({})"
    )
    done = subprocess.run(
        [sys.executable, "-c", impatient.format("server.main()"),
         sys.executable, "-c", HOLD, *compile_command("f")],
        cwd=folder, capture_output=True, text=True, env=environment(TMPDIR=SOCKETS), timeout=60,
    )  # fmt: skip
    assert (done.returncode, how(done.stdout), done.stderr) == (0, "served\n", "")


# Serves, but takes a minute for the object slow.o.
SLOW = """\
import sys, time
from nopfix.rewriter.build import objects_in_place, server
rewrite = objects_in_place.rewrite
def slowly(path, *rest):
    if path == "slow.o":
        open("up", "w").close()
        time.sleep(60)
    return rewrite(path, *rest)
objects_in_place.rewrite = slowly
sys.exit(server.main())
"""


# Has a wrapper's server work, ends that wrapper, and asks each server once more.
DRIVE = """\
import os, subprocess, sys, time
number, *compile = sys.argv[1:]
slow = subprocess.Popen([word.replace("f.", "slow.") for word in compile])
while not os.path.exists("up"):
    time.sleep(0.05)
slow.send_signal(int(number))
print(slow.wait(), flush=True)
for _ in [*os.sched_getaffinity(0), "more"]:
    subprocess.run(compile)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_wrapper_that_is_to_end_ends_at_once_and_its_server_goes_on(
    folder: Path, number: signal.Signals
) -> None:
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", SLOW,
         sys.executable, "-c", DRIVE, str(int(number)), *compile_command("f")],
        cwd=folder, capture_output=True, text=True, env=environment(TMPDIR=SOCKETS), timeout=60,
    )  # fmt: skip
    assert time.monotonic() - begun < 40
    status, *served = how(done.stdout.removeprefix("compiled\n")).split()
    assert status == str(-number)
    assert set(served) == {"served"}
    assert not (folder / "slow.o").exists()
    assert (folder / "f.o").read_bytes() == rewrite(SAMPLE.read_bytes()).data


def test_workers_stay_in_no_folder_of_the_build(folder: Path) -> None:
    script = f"{' '.join(compile_command('f'))}; readlink /proc/[0-9]*/cwd"
    done = served(folder, "sh", "-c", script, NOPFIX_TEST=str(folder))
    assert how(done.stdout).startswith("served\n")
    assert done.stdout.count(f"{folder}\n") <= 3  # sh, readlink, nopfix-serve itself


def test_a_hangup_that_the_caller_ignores_ends_nothing(folder: Path) -> None:
    process = subprocess.Popen(
        ["sh", "-c", f"trap '' HUP; exec {sys.executable} -c '{SERVE}' sh -c "
         "'touch up; sleep 0.5; kill -HUP $$; exit 4'"],
        cwd=folder, env=environment(TMPDIR=SOCKETS),
    )  # fmt: skip
    wait_until(lambda: (folder / "up").exists())
    process.send_signal(signal.SIGHUP)
    assert process.wait(10) == 4


def processes_with(marker: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "environ").read_bytes()
            except OSError:
                continue
            if marker.encode() in words:
                found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_is_left_when_it_ends(folder: Path, sockets: Path, number: signal.Signals) -> None:
    marker = f"NOPFIX_TEST={folder}"
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, "sh", "-c", "touch up; exec sleep 20"],
        cwd=folder,
        env=environment(TMPDIR=str(sockets), NOPFIX_TEST=str(folder)),
    )
    wait_until(lambda: (folder / "up").exists())
    assert len(processes_with(marker)) >= 3  # itself, a worker, the command
    process.send_signal(number)
    assert process.wait(10) == -number
    if number == signal.SIGKILL:  # nobody tells the command, or removes the folder
        wait_until(lambda: len(processes_with(marker)) == 1)
        os.kill(processes_with(marker)[0], signal.SIGKILL)
    else:
        assert not processes_with(marker)
        assert not list(sockets.glob("nopfix-serve-*"))


def test_an_interrupt_from_the_terminal_ends_the_command_first(folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, "sh", "-c",
         "trap 'sleep 0.5; touch tidied; exit 3' INT; touch up; while :; do sleep 0.05; done"],
        cwd=folder,
        env=environment(TMPDIR=SOCKETS),
        start_new_session=True,
    )  # fmt: skip
    wait_until(lambda: (folder / "up").exists())
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(10) == 3
    assert (folder / "tidied").exists()


def test_an_interrupted_wrapper_waits_until_the_object_is_its_own_and_removes_it(
    folder: Path,
) -> None:
    path = str(folder / "slow")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    process = subprocess.Popen(
        compile_command("f"), cwd=folder, env=environment(NOPFIX_SERVER=path),
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    with listening, listening.accept()[0] as connection:
        assert request.receive(connection, request.END)
        process.send_signal(signal.SIGINT)
        connection.settimeout(10)
        assert connection.recv(1) == b""  # the request is taken back
        time.sleep(0.3)
        assert process.poll() is None
        shutil.copy(SAMPLE, folder / "f.o")
        connection.sendall(request.DONE)
    assert process.wait(10) == -signal.SIGINT
    assert not (folder / "f.o").exists()


def test_a_wrapper_whose_turn_has_not_come_does_not_wait_for_it(
    folder: Path, sockets: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(sockets / "busy"))
        listening.listen()
        process = subprocess.Popen(
            compile_command("f"), cwd=folder, stdout=subprocess.DEVNULL,
            env=environment(NOPFIX_SERVER=str(sockets / "busy")),
        )  # fmt: skip
        assert select.select([listening], [], [], 10)[0]
        time.sleep(0.3)  # it has sent its request, too
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM
        assert time.monotonic() - begun < 3  # the machine may be busy
    assert not (folder / "f.o").exists()
