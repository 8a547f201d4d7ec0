"""The page: every word is there, slots are marked, and it stands alone."""

from __future__ import annotations

import html.parser
import re
import time
from pathlib import Path

import pytest

import nopfix
from nopfix.rewriter import command
from nopfix.rewriter.object import elf
from nopfix.rewriter.options import Options
from nopfix.rewriter.show import compared, disassembly, page

SAMPLES = Path(__file__).parents[2] / "samples"
PADDING = {bytes.fromhex("00000060"), bytes.fromhex("00004260")}
"""No-ops with which the assembler fills: what is inserted may take their place."""
NAMES = ("dispatch.o", "recursion.o", "cleanup.o")


def looked_at(name: str) -> compared.Compared:
    data = (SAMPLES / name).read_bytes()
    return compared.compare(data, Options(), disassembly.as_word)


@pytest.mark.parametrize("name", NAMES)
def test_every_word_of_the_new_code_is_shown_once_and_every_old_one_has_its_place(
    name: str,
) -> None:
    data = (SAMPLES / name).read_bytes()
    found = looked_at(name)
    obj, new = elf.read(data), elf.read(nopfix.rewrite(data).data)
    shown: dict[str, list[compared.Line]] = {}
    for function in found.functions:
        shown.setdefault(function.section, []).extend(function.lines)
    assert shown
    for old, now in zip(obj.sections, new.sections, strict=True):
        if old.name in shown:
            lines = shown[old.name]
            assert [line.new for line in lines] == list(range(0, now.size & ~3, 4))
            places = [line.old for line in lines if line.old is not None]
            assert places == sorted(set(places))
            gone = set(range(0, old.size & ~3, 4)) - set(places)
            code = bytes(obj.contents(old.number))
            assert {code[place : place + 4] for place in gone} <= PADDING


@pytest.mark.parametrize("name", NAMES)
def test_its_slots_are_those_of_the_report(name: str) -> None:
    report = nopfix.rewrite((SAMPLES / name).read_bytes()).report
    wanted = sorted((one.section, one.new_offset) for one in report.insertions)
    found = sorted(
        (function.section, line.new)
        for function in looked_at(name).functions
        for line in function.lines
        if line.kind == "slot"
    )
    assert found == wanted != []


def test_a_tables_entries_lead_to_where_they_led() -> None:
    lines = [line for one in looked_at("dispatch.o").functions for line in one.lines]
    entries = [line for line in lines if line.kind == "switch table"]
    by_place = {line.new: line for line in lines}
    assert len(entries) == 7
    table = min(line.new for line in entries)
    for line in entries:
        assert line.leads_to == table + int(line.text.split()[1], 16)
        assert by_place[line.leads_to].kind == "code"


class Reader(html.parser.HTMLParser):
    """Notes what a page takes from elsewhere, and whether what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.foreign: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        links = [value or "" for name, value in attrs if name in ("src", "href")]
        self.foreign += [link for link in links if not link.startswith("#")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", NAMES)
def test_the_page_is_well_formed_and_needs_nothing_else(name: str) -> None:
    text = page.page(name, looked_at(name))
    reader = Reader()
    reader.feed(text)
    assert (reader.open, reader.foreign) == ([], [])
    assert "<script" not in text
    assert "url(" not in text


def test_names_of_the_object_are_text_and_no_markup() -> None:
    found = looked_at("dispatch.o")._replace(sibling_calls=["<b>f</b> & \x1b"])
    text = page.page("<x>", found)
    assert "&lt;b&gt;f&lt;/b&gt; &amp; \\x1b" in text
    assert "<x>" not in text


def test_an_object_that_is_refused_is_shown_with_the_reason(samples: Path) -> None:
    options = Options()
    data = (samples / "dispatch.o").read_bytes().replace(b".debug_str\0", b".debug_sxx\0")
    found = compared.compare(data, options, disassembly.as_word)
    assert found.refusal is not None
    assert ".debug_sxx" in page.page("x", found)
    assert found.functions


def test_the_command_writes_the_page_and_nothing_else(tmp_path: Path) -> None:
    data = (SAMPLES / "dispatch.o").read_bytes()
    (tmp_path / "in.o").write_bytes(data)
    begun = time.process_time()
    assert command.main(["--html", str(tmp_path / "p.html"), str(tmp_path / "in.o")]) == 0
    assert time.process_time() - begun < 2
    assert (tmp_path / "in.o").read_bytes() == data
    text = (tmp_path / "p.html").read_text()
    assert len(re.findall(r'class="w slot', text)) == 10
    assert "a table of distances at .text+0xf8" in text
    assert "dispatch.c:21" in text
