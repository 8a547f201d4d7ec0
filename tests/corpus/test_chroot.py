"""Compilers in another system's folder: what is shown there is seen by nobody else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nopfix.corpus import chroot, store, toolchain

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP = Path(__file__).resolve().parents[2]
SOURCE = """
#include "g.h"
static __attribute__((noinline)) int f(int x) { return g(x) + 1; }
int h(int x) { return f(x) * f(x + 1); }
"""
#: This system, seen in a folder: what begins it has mount namespace and privileges of its own.
AS_ROOT = """
mount --bind /usr "$1/usr" && mount --bind /etc "$1/etc" || exit 99
shift
exec "$@"
"""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A folder that is this system for who is begun by `within`."""
    try:
        toolchain.compiler(toolchain.Tools("gcc-12"))
    except toolchain.ToolError as missing:
        pytest.skip(str(missing))
    folder = tmp_path / "other"
    for name in ("usr", "etc", "tmp"):
        (folder / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        (folder / name).symlink_to(f"usr/{name}")
    yield folder
    assert not list((folder / "tmp").iterdir()), "something is still mounted there"


def within(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"]).returncode:
        pytest.skip("no mount namespace can be made here")
    return subprocess.run(
        [*command, "sh", "-c", AS_ROOT, "sh", str(root), *words],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(TOP)},
        cwd="/var",  # which the root doesn't have
    )  # fmt: skip


def test_a_case_is_compiled_assembled_and_counted_in_the_root(root: Path, tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "f.c").write_text(SOURCE)
    (sources / "g.h").write_text("int g(int);\n")
    database = tmp_path / "r.db"
    done = within(
        root, sys.executable, "-m", "nopfix.corpus.command", "run", "--root", str(root),
        "--corpus", str(sources), "--flags=-O2 -g", "-j1", "--db", str(database),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    with store.opened(database) as results:
        (one,) = results.results()
    assert (one.compiler, one.verdict, one.nops) == ("gcc-12@other", "equal", 2)
    assert "12." in one.version
    assert "GNU assembler" in one.assembler


def test_a_tool_that_the_root_lacks_is_missing_though_this_system_has_it(tmp_path: Path) -> None:
    with pytest.raises(toolchain.ToolError, match=f"not installed in {tmp_path}"):
        toolchain.found("sh", str(tmp_path))


def test_a_program_is_found_through_links_that_are_meant_within(tmp_path: Path) -> None:
    (tmp_path / "opt").mkdir()
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "opt/tool").touch(mode=0o755)
    (tmp_path / "usr/bin/tool").symlink_to("/opt/tool")
    assert chroot.which("tool", str(tmp_path)) == "/usr/bin/tool"


def test_who_may_not_is_told_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(chroot.RootError, match="unshare --map-root-user"):
        chroot.show(str(tmp_path))


def test_a_root_that_isnt_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(chroot.RootError, match="no such folder"):
        chroot.show(str(tmp_path / "nowhere"))
