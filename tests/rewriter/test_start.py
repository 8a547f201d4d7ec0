"""What a process for one object loads, and that others notice nothing of how."""

from __future__ import annotations

from tests.isolated import ROOT, run


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


def test_arrays_and_collections_are_what_they_are_elsewhere() -> None:
    code = (
        "from nopfix.rewriter.build import start; start.prepare()\n"
        "import array, collections, collections.abc\n"
        "print(collections.Counter('aa')['a'], collections.abc.Mapping.__name__,"
        " isinstance(array.array('i'), collections.abc.MutableSequence))"
    )
    assert run(code) == "2 Mapping True"


def test_what_is_loaded_stays() -> None:
    code = (
        "import collections; from nopfix.rewriter.build import start; start.prepare()\n"
        "import collections as again; print(again is collections)"
    )
    assert run(code) == "True"


def test_the_plain_form_of_the_command_loads_nothing_of_what_others_need() -> None:
    code = (
        "import os; from nopfix.rewriter import command\n"
        f"command.main(['-q', {str(ROOT / 'samples' / 'recursion.o')!r}, os.devnull])\n"
        "ours = [m for m in sys.modules if m.startswith(('nopfix.rewriter.show.',"
        " 'nopfix.rewriter.many_files', 'nopfix.rewriter.object.packed'))]\n"
        "heavy = {'json', 'tarfile', 'html', 'concurrent', 'capstone'}\n"
        "print(ours, sorted(heavy & set(sys.modules)))"
    )
    assert run(code) == "[] []"
