"""What a process for one object loads, and that others notice nothing of how."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.isolated import ROOT, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_the_rewriter_loads_no_heavy_module() -> None:
    loaded = run(
        "from nopfix.rewriter.build import start; start.prepare()\n"
        "from nopfix.rewriter.build import objects_in_place\n"
        "from nopfix.rewriter.references import dwarf_sections, special_sections\n"
        "from nopfix.rewriter.proof import data_in_code\n"
        "from nopfix.rewriter.proof import resolve\n"
        "heavy = {'typing', 're', 'enum', 'functools', 'contextlib', 'types', 'collections'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert loaded == "[]"


def test_arrays_and_collections_are_what_they_are_elsewhere_once_os_is_loaded() -> None:
    code = (
        "import os; from nopfix.rewriter.build import start; start.prepare()\n"
        "import array, collections, collections.abc\n"
        "print(collections.Counter('aa')['a'], collections.abc.Mapping.__name__,"
        " isinstance(array.array('i'), collections.abc.MutableSequence))"
    )
    assert run(code) == "2 Mapping True"


def test_collections_are_what_they_are_elsewhere_where_os_was_not_loaded() -> None:
    code = (
        "from nopfix.rewriter.build import start; start.prepare()\n"
        "assert not {'os', '_collections_abc', 'collections'} & set(sys.modules)\n"
        "import array, collections, collections.abc\n"
        "print(collections.Counter('aa')['a'], collections.abc.Mapping.__name__,"
        " isinstance([], collections.abc.MutableSequence), array.array('i', [1]))"
    )
    assert run(code) == "2 Mapping True array('i', [1])"


def test_what_is_loaded_stays() -> None:
    code = (
        "import collections; from nopfix.rewriter.build import start; start.prepare()\n"
        "import collections as again; print(again is collections)"
    )
    assert run(code) == "True"


def loaded(obj: Path) -> set[str]:
    """The modules of a process that rewrites ``obj`` by the plain form of the command."""
    code = (
        "from nopfix.rewriter import __main__\n"
        f"sys.argv[1:] = '-q', {str(obj)!r}, '/dev/null'\n"
        "assert __main__.main() == 0; print(*sys.modules)"
    )
    return set(run(code).split())


OF_OTHERS = {"os", "argparse", "json", "tarfile", "html", "concurrent", "capstone"}


def test_the_plain_form_of_the_command_loads_nothing_of_what_others_need() -> None:
    found = loaded(ROOT / "samples" / "recursion.o")
    assert "nopfix.rewriter.layout.arrangement" in found
    show = ("nopfix.rewriter.show.", "nopfix.rewriter.many_files", "nopfix.rewriter.object.packed")
    assert not [name for name in found if name in OF_OTHERS or name.startswith(show)]


def test_an_object_that_needs_nothing_loads_nothing_of_what_others_need(
    assemble: Callable[..., bytes], tmp_path: Path
) -> None:
    obj = tmp_path / "nothing.o"
    obj.write_bytes(assemble(".globl f\nf: blr\n"))
    found = loaded(obj)
    of_slots = ("proof", "layout.plan", "layout.units", "references", "kernel_sections", "frame")
    assert not [name for name in found if name in OF_OTHERS or name.endswith(of_slots)]


def test_a_process_that_ends_at_once_has_written_what_it_printed() -> None:
    code = (
        "from nopfix.rewriter.build import start\n"
        "print('printed'); sys.stderr.write('said'); start.end(7)"
    )
    command = [sys.executable, "-IS", "-c", f"import sys; sys.path[:0] = [{str(ROOT)!r}]\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "printed\n", "said")
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert "No space left" in done.stderr
