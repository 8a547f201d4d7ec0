"""What kpatch-build left in a folder is read back as it was meant, and each patch has its probe."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.kpatch import __main__ as steps
from tests.kpatch import building, edits, kernels, native, outside, packages, patches
from tests.kpatch.root import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

CLONES = next(patch for patch in patches.PATCHES if patch.name == "clones")
SAID = """\
+ create-diff-object: not what it says, but what the shell runs
mm/mprotect.o: changed function: do_mprotect_pkey.constprop.0
fs/proc/proc_sysctl.o: changed function: proc_sys_fill_cache.isra.0
fs/proc/proc_sysctl.o: new function: another
SUCCESS
"""


def left(folder: Path, said: str, status: int, *, module: bool) -> building.Built:
    (folder / "log").write_text(said)
    if module:
        (folder / f"livepatch-{CLONES.name}.ko").write_bytes(b"")
    building.finish(folder, status, building.DEFAULT)
    return building.read(CLONES, folder)


def test_changed_functions_objects_and_targets_are_read_back(tmp_path: Path) -> None:
    built = left(tmp_path, SAID, 0, module=True)
    assert built.functions[0] == "do_mprotect_pkey.constprop.0"
    assert built.functions[-1] == "another (new)"
    assert built.objects == {"mm/mprotect.o", "fs/proc/proc_sysctl.o"}
    assert (built.said, built.targets) == ("SUCCESS", building.DEFAULT)
    assert steps.as_expected(CLONES, built)


def test_a_module_beside_a_failure_is_none(tmp_path: Path) -> None:
    built = left(tmp_path, SAID + "ERROR: cannot\n", 1, module=True)
    assert built.module is None
    assert built.said == "ERROR: cannot"
    assert not steps.as_expected(CLONES, built)


def test_a_patch_of_clones_that_changes_none_has_failed(tmp_path: Path) -> None:
    built = left(tmp_path, SAID.replace(".isra.0", ""), 0, module=True)
    assert built.module is not None
    assert not steps.as_expected(CLONES, built)


@pytest.mark.skipif(shutil.which("patch") is None, reason="needs patch")
def test_a_run_that_was_killed_leaves_no_patch_in_the_sources(tmp_path: Path) -> None:
    source, patches_folder = tmp_path / "source", tmp_path / "patches"
    source.mkdir()
    (source / "a.c").write_text("int f(void)\n{\n\treturn 1;\n}\n")
    text = edits.difference([edits.at_start("a.c", "f", "\tnopfix();\n")], source)
    place = kernels.Folders(source, tmp_path, patches_folder, tmp_path / "log")
    for name, ended in (("done", True), ("killed", False)):
        folder = patches_folder / name / "nopfix"
        folder.mkdir(parents=True)
        (folder / f"{name}.patch").write_text(text)
        if ended:
            (folder / "status").write_text("0\n")
    unpatched = (source / "a.c").read_text()
    building.take_back(building.unfinished(place, "nopfix"), source)
    assert (source / "a.c").read_text() == unpatched
    subprocess.run(["patch", "-p1", "-s", "-d", source], input=text, text=True, check=True)
    assert not building.unfinished(place, "none")
    # Another way that compiles in the same folder.
    building.take_back(building.unfinished(place, building.PLAIN), source)
    assert (source / "a.c").read_text() == unpatched


def test_a_kernels_release_is_what_its_banner_says(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(b"\0Linux version %s\0Linux version 6.1.176 (root@vm)\n")
    assert building.banner(tmp_path / "vmlinux") == "6.1.176"


def test_each_patch_has_a_probe() -> None:
    guest = (PROJECT / "tests/kpatch/init.c").read_text()
    probes = set(re.findall(r'^\t\{ "([a-z-]+)", \w+ \},$', guest, re.MULTILINE))
    wanted = {patch.name for patch in (*patches.PATCHES, patches.LOOP, outside.PATCH)}
    assert probes == wanted - {"no-change"}


def test_the_newest_package_comes_first() -> None:
    names = [f"linux-image-6.12.{n}+deb13-powerpc64le" for n in (9, 117, 107)]
    newest = sorted(names, key=packages.version, reverse=True)
    assert [name.split("+")[0][-3:] for name in newest] == ["117", "107", "2.9"]


def test_a_tool_of_the_other_machine_is_found(tmp_path: Path) -> None:
    for name, machine in (("fixdep", b"\x3e\x00"), ("main.o", b"\x15\x00")):
        (tmp_path / name).write_bytes(b"\x7fELF\x02\x01\x01" + bytes(11) + machine)
    (tmp_path / "script").write_text("#!/bin/sh\n")
    assert [path.name for path in native.of_another_machine(tmp_path)] == ["fixdep"]


def test_what_a_run_of_pytest_came_to_is_its_last_line() -> None:
    counts = native.outcomes(
        "....F.s\nSKIPPED [1] a.py:1: needs it\n1 failed, 5 passed, 1 skipped\n"
    )
    assert counts == {"failed": 1, "passed": 5, "skipped": 1}
    assert not native.passed(counts)
    assert native.passed(native.outcomes("5 passed, 2 skipped in 3.00s\n"))
    assert native.passed(native.outcomes("2 skipped in 0.10s\n"))


def test_a_run_of_pytest_that_was_ended_has_not_passed() -> None:
    for shown in ("", "....", "2 passed, 2 errors in 1.00s\n"):
        assert not native.passed(native.outcomes(shown))
