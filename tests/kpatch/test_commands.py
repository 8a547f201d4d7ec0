"""The commands by which a kernel's objects are compiled."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.kpatch import commands

if TYPE_CHECKING:
    from pathlib import Path


def test_the_commands_are_those_of_the_kernels_own_objects_without_what_goes_elsewhere(
    tmp_path: Path,
) -> None:
    for name, line in (
        ("kernel/.fork.o.cmd", "gcc -Wp,-MMD,kernel/.fork.o.d -D__KERNEL__ -O2 -g -DN='\"a b\"'"),
        ("scripts/.kallsyms.o.cmd", "gcc -D__KERNEL__ -O2"),
        ("lib/.host.o.cmd", "gcc -O2"),
    ):
        kept = tmp_path / name
        kept.parent.mkdir()
        target = name.replace(".", "", 1).removesuffix(".cmd")
        source = target.replace(".o", ".c")
        kept.write_text(f"savedcmd_{target} := {line} -c -o {target} {source}\n\nsource := x\n")
    assert commands.commands(tmp_path) == [
        ("kernel/fork.o", ("-D__KERNEL__", "-O2", '-DN="a b"'), "kernel/fork.c")
    ]


def test_the_stand_in_makes_an_empty_object_and_says_what_it_depends_on(tmp_path: Path) -> None:
    empty, stand_in = tmp_path / "empty.o", tmp_path / "stand-in"
    empty.write_bytes(b"empty")
    text = commands.STAND_IN.replace("EMPTY", str(empty)).replace("COMPILER", "echo compiled")
    stand_in.write_text(text)
    stand_in.chmod(0o755)
    words = (stand_in, "-Wp,-MMD,.f.d", "-D__KERNEL__", "-O2")
    run = {"cwd": tmp_path, "check": True, "capture_output": True, "text": True}
    assert not subprocess.run([*words, "-c", "-o", "f.o", "kernel/f.c"], **run).stdout
    assert (tmp_path / "f.o").read_bytes() == b"empty"
    assert (tmp_path / ".f.d").read_text() == "f.o: kernel/f.c\n"
    for others in (["-S", "-o", "f.s", "f.c"], ["-c", "-o", "scripts/mod/f.o", "scripts/mod/f.c"]):
        said = subprocess.run([*words, *others], **run).stdout
        assert said.startswith("compiled -Wp,-MMD,.f.d")
