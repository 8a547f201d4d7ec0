"""Damaged objects: right, or refused with one line, in bounded time and memory, OUT untouched.

The rules themselves are in `tests.fuzz.judge`; ``crashes`` holds an input for each bug that broke
one, under a name that says what is wrong with it.
"""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nopfix import Refusal, rewrite
from nopfix.rewriter import one_file
from nopfix.rewriter.object import elf
from tests.fuzz import judge, mutate
from tests.fuzz.__main__ import seeds

if TYPE_CHECKING:
    import argparse

CRASHES = sorted((Path(__file__).parent / "crashes").glob("*.o"))
SEEDS = seeds()
DEBUG = (judge.SEEDS / "dwarf5.o").read_bytes()
#: What the smallest rewrite takes: the tables of forms and types that are built once.
MEMORY_OF_ITS_OWN = 2 << 20


@pytest.mark.parametrize("options", [(), ("--list",), ("--explain",), ("--verbose",)])
@pytest.mark.parametrize("path", CRASHES, ids=lambda path: path.stem)
def test_what_once_broke_a_rule_no_longer_does(
    path: Path, options: tuple[str, ...], tmp_path: Path
) -> None:
    assert judge.run(path.read_bytes(), tmp_path, options).finding is None


def test_the_judge_sees_an_output_that_was_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(arguments: argparse.Namespace) -> one_file.Outcome:
        Path(arguments.output).write_bytes(b"half")
        raise ValueError

    monkeypatch.setattr(judge.one_file, "run", careless)
    found = judge.run(b"", tmp_path).finding
    assert found is not None
    assert found.kind == "ValueError"

    def wrong(arguments: argparse.Namespace) -> one_file.Outcome:
        Path(arguments.output).write_bytes(b"half")
        return one_file.Outcome(one_file.complain("no", 1))

    monkeypatch.setattr(judge.one_file, "run", wrong)
    found = judge.run(b"", tmp_path).finding
    assert found is not None
    assert (found.kind, found.place) == ("output", "out.o")


@settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.sampled_from(range(len(SEEDS))), st.integers(0, (1 << 32) - 1))
def test_mutated_objects_are_rewritten_or_refused(
    tmp_path_factory: pytest.TempPathFactory, seed: int, number: int
) -> None:
    data = mutate.mutate(SEEDS[seed], Random(number))
    outcome = judge.run(data, tmp_path_factory.mktemp("bad"))
    assert outcome.finding is None, outcome.finding


@pytest.mark.parametrize("size", [0, 1, 4, 16, 63, 64, 100, 1000])
def test_truncated_objects_are_refused(size: int) -> None:
    with pytest.raises(Refusal):
        rewrite(DEBUG[:size])


def _with_contents(data: bytes, name: str, new: bytes, flags: int | None = None) -> bytes:
    picture = mutate.look(data)
    assert picture is not None
    (section,) = (s for s in picture.sections if s.name == name)
    result = bytearray(data)
    if flags is not None:
        struct.pack_into("<Q", result, section.header + 8, flags)
    return bytes(mutate._replace(result, section, new))


def _contents(data: bytes, name: str) -> bytes:
    obj = elf.read(data)
    (number,) = (s.number for s in obj.sections if s.name == name)
    return bytes(obj.contents(number))


_ABBREVIATIONS = _contents(DEBUG, ".debug_abbrev")
_INFO = _contents(DEBUG, ".debug_info")
_LINE = _contents(DEBUG, ".debug_line")
_FRAME = _contents(DEBUG, ".eh_frame")
_HUGE = struct.pack("<I", 0xFFFFFFEF)
_HUGE64 = b"\xff\xff\xff\xff" + struct.pack("<Q", 1 << 32)


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        (".debug_info", _HUGE + _INFO[4:]),
        (".debug_info", _HUGE64 + _INFO[12:]),
        (".debug_line", _HUGE + _LINE[4:]),
        (".debug_line", _HUGE64 + _LINE[12:]),
        (".eh_frame", _HUGE + _FRAME[4:]),
        (".debug_abbrev", b"\x80" * 4000),
        (".debug_abbrev", b"\xff" * 4000),
        (".debug_abbrev", b"\x01\x11\x01" + b"\x80" * 4000),
        # DW_FORM_indirect (0x16), whose form in .debug_info is DW_FORM_indirect again.
        (".debug_abbrev", b"\x01\x11\x01\x03\x16\x00\x00\x00"),
        # Each abbreviation twice.
        (".debug_abbrev", _ABBREVIATIONS[:-1] + _ABBREVIATIONS),
        (".debug_line", _LINE[:60] + b"\x80" * 4000),
        (".eh_frame", _FRAME[:20] + b"\xff" * 4000),
    ],
    ids=lambda value: value if isinstance(value, str) else value[:8].hex(),
)
def test_lengths_runs_and_cycles_end_in_a_refusal(
    name: str, contents: bytes, tmp_path: Path
) -> None:
    outcome = judge.run(_with_contents(DEBUG, name, contents), tmp_path, ())
    assert outcome.finding is None
    assert outcome.status == 1, outcome.errors


@pytest.mark.parametrize("announced", [1 << 22, 4 << 30, (1 << 64) - 1])
def test_compressed_sections_that_announce_too_much_are_refused(
    announced: int, tmp_path: Path
) -> None:
    packed = struct.pack("<IIQQ", 1, 0, announced, 1) + zlib.compress(bytes(1 << 16))
    data = _with_contents(DEBUG, ".debug_info", packed, elf.SHF_COMPRESSED)
    outcome = judge.run(data, tmp_path, ())
    assert outcome.finding is None
    assert outcome.status == 1, outcome.errors


@pytest.mark.parametrize("field", [16, 24, 32, 40, 44, 48, 56])
@pytest.mark.parametrize("value", [4 << 30, (1 << 63) + 8, (1 << 64) - 1])
def test_section_headers_beyond_the_file_are_refused(
    field: int, value: int, tmp_path: Path
) -> None:
    picture = mutate.look(DEBUG)
    assert picture is not None
    for section in picture.sections:
        data = bytearray(DEBUG)
        size = 4 if field in (40, 44) else 8
        at = section.header + field
        data[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        outcome = judge.run(bytes(data), tmp_path, ())
        assert outcome.finding is None, (section.name, outcome.finding)
        if field in (24, 32):
            assert outcome.status == 1, section.name


@pytest.mark.parametrize("path", CRASHES, ids=lambda path: path.stem)
def test_memory_stays_within_twenty_times_the_input(path: Path) -> None:
    data = path.read_bytes()
    rewrite(DEBUG)
    tracemalloc.start()
    try:
        rewrite(data)
    except Refusal:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak <= 20 * len(data) + MEMORY_OF_ITS_OWN
