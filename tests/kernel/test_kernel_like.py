"""Kernel-like sources through the compiler wrapper: the object equals the assembler's."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nopfix import verifier
from nopfix.corpus import compare, oracle
from nopfix.rewriter.build import toolchain
from nopfix.rewriter.object import elf

if TYPE_CHECKING:
    from types import ModuleType

PREFIX = "powerpc64le-linux-gnu-"

pytestmark = pytest.mark.skipif(
    shutil.which(PREFIX + "gcc") is None, reason=f"{PREFIX}gcc is not installed"
)


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kernel = _load("sources")
SOURCES = kernel.sources()
# Half of the sources as the kernel compiles them, half as kpatch-build does; the other halves in
# the slow run.
CASES = [
    pytest.param(
        source,
        model,
        id=f"{source.name}-{'kpatch' if model == kernel.KPATCH else 'kernel'}",
        marks=[] if (index + which) % 2 else [pytest.mark.slow],
    )
    for index, source in enumerate(SOURCES)
    for which, model in enumerate((kernel.MEDIUM, kernel.KPATCH))
]


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tools")
    toolchain.make(str(folder), PREFIX, "nopfix-", os.get_exec_path())
    return folder


@pytest.mark.parametrize(("source", "model"), CASES)
def test_a_kernel_like_object_from_the_wrapper_equals_the_assemblers(
    tools: Path, tmp_path: Path, source: tuple[str, str], model: tuple[str, ...]
) -> None:
    flags = (*kernel.KERNEL_FLAGS, *model, *kernel.UNALIGNED)
    assert_equal(tools, tmp_path, source, flags)


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(source, id=source.name, marks=[] if index % 7 == 3 else [pytest.mark.slow])
        for index, source in enumerate(SOURCES)
    ],
)
def test_so_does_one_with_patchable_function_entries(
    tools: Path, tmp_path: Path, source: tuple[str, str]
) -> None:
    flags = (*kernel.PATCHABLE_FLAGS, *kernel.KPATCH, *kernel.UNALIGNED)
    assert_equal(tools, tmp_path, source, flags)


def assert_equal(
    tools: Path, tmp_path: Path, source: tuple[str, str], flags: tuple[str, ...]
) -> None:
    name, text = source
    file = tmp_path / f"{name}.c"
    file.write_text(text)
    made = tmp_path / "made"
    made.mkdir()
    prepared = oracle.prepare(oracle.Compile(file, oracle.Tools("gcc-12"), flags), made)
    assert prepared.verdict.verdict == "", prepared.verdict.detail
    assert prepared.verdict.nops >= 3
    command = [str(tools / "nopfix-gcc-12"), *flags, "-c", str(file), "-o", str(tmp_path / "out.o")]
    # In the folder where the oracle compiled, because that folder is part of the debug information.
    done = subprocess.run(command, cwd=made, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    got = (tmp_path / "out.o").read_bytes()
    assert compare.differences(got, prepared.want.read_bytes()) == []
    report = verifier.verify(prepared.plain.read_bytes(), got, need_slots=True)
    assert report.verified, report.differences[0]


def test_there_are_at_least_forty_and_every_special_section() -> None:
    texts = "".join(source.text for source in SOURCES)
    for name in (
        *("__ex_table", ".fixup", "__bug_table", "__jump_table", "__ftr_fixup", "__mmu_ftr_fixup"),
        *("__fw_ftr_fixup", "__lwsync_fixup", "__barrier_nospec_fixup", "__stf_exit_barrier_fixup"),
        *("__btb_flush_fixup", ".static_call_sites", ".printk_index", "__restart_table"),
        *("__soft_mask_table", ".initcall4.init", "_kprobe_blacklist", "___ksymtab"),
    ):
        assert name in texts
    assert len(SOURCES) >= 40


def test_base_relative_entries_lie_behind_insertions(tmp_path: Path) -> None:
    """The sources must be able to tell a plain reading of the addends from the right one."""
    source = next(s for s in SOURCES if s.name == "ftr_fixup-dispatch")
    file = tmp_path / "s.c"
    file.write_text(source.text)
    flags = (*kernel.KERNEL_FLAGS, *kernel.MEDIUM, *kernel.UNALIGNED)
    prepared = oracle.prepare(oracle.Compile(file, oracle.Tools("gcc-12"), flags), tmp_path)
    addends = []
    for path in (prepared.plain, prepared.want):
        obj = elf.read(path.read_bytes())
        number = next(s.number for s in obj.sections if s.name == "__ftr_fixup")
        addends.append(list(obj.relocations[number].addends))
    shifts = {after - before for before, after in zip(*addends, strict=True)}
    assert len(shifts) > 3
