"""Edits find their place by the function's name, and fail where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kpatch import edits, guest, patches

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """\
#include "a.h"

static int show(struct file *m, void *v);

static int show(struct file *m,
		void *v)
{
	int i;
	long j;

	return i + j;
}

int other(void)
{
	return show(0, 0);
}
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    (tmp_path / "a.c").write_text(SOURCE)
    return tmp_path


def edited(sources: Path, *wanted: edits.Edit) -> str:
    return edits.apply(wanted, sources)["a.c"][1]


def test_a_statement_goes_behind_the_declarations_of_the_definition(sources: Path) -> None:
    text = edited(sources, edits.after_declarations("a.c", "show", "\tnew();\n"))
    assert "\tlong j;\n\n\tnew();\n\treturn i + j;" in text


def test_a_statement_goes_in_front_of_a_functions_first_line(sources: Path) -> None:
    text = edited(sources, edits.at_start("a.c", "other", "\tnew();\n"))
    assert "int other(void)\n{\n\tnew();\n\treturn show" in text


def test_a_definition_goes_in_front_of_the_definition_not_the_declaration(sources: Path) -> None:
    text = edited(sources, edits.before("a.c", "show", 'char n[] = "\\n";\n'))
    assert 'void *v);\n\nchar n[] = "\\n";\nstatic int show(struct file *m,\n\t\tvoid' in text


def test_edits_of_one_file_follow_each_other(sources: Path) -> None:
    first = edits.at_start("a.c", "other", "\tone();\n")
    text = edited(sources, first, edits.at_end("a.c", "int two;\n"))
    assert "\tone();\n" in text
    assert text.endswith("}\nint two;\n")


def test_the_first_file_with_the_place_is_edited(sources: Path) -> None:
    (sources / "b.c").write_text("int third(void)\n{\n}\n")
    found = edits.apply([edits.at_start("missing.c a.c b.c", "third", "\t;\n")], sources)
    assert list(found) == ["b.c"]


def test_an_edit_without_a_place_is_an_error(sources: Path) -> None:
    with pytest.raises(edits.EditError, match=r"a\.c"):
        edits.apply([edits.at_start("a.c", "missing", "")], sources)


def test_the_difference_is_what_patch_takes(sources: Path) -> None:
    text = edits.difference([edits.at_start("a.c", "other", "\tnew();\n")], sources)
    assert text.startswith("--- a/a.c\n+++ b/a.c\n@@ ")
    assert "\n+\tnew();\n" in text


def test_patches_have_names_of_their_own() -> None:
    names = [patch.name for patch in patches.PATCHES]
    assert len(set(names)) == len(names) >= 15


def test_a_case_passes_when_all_of_its_answers_are_right(tmp_path: Path) -> None:
    case = guest.works("switch", "nopfix", tmp_path)
    console = [f"init: {case.name} {a.action} {a.name}: {a.answer}" for a in case.actions]
    assert guest.outcome(case, ["noise", *console]).passed
    assert not guest.outcome(case, console[:-1]).passed
    wrong = [line.replace("probe switch: yes", "probe switch: no") for line in console]
    assert guest.outcome(case, wrong).wrong == "probe switch: no, not yes"
