"""What is damaged or made to do harm: one line, and soon."""

from __future__ import annotations

import random
import struct
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nopfix.verifier import Unreadable, compressed, elf, loader, verify
from nopfix.verifier.command import main

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parent / "data"
PAIRS = sorted(path.name.removesuffix(".in.o") for path in DATA.glob("*.in.o"))
ODD = (1 << 31, (1 << 32) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 24, (1 << 64) - 1)


def pair(name: str) -> tuple[bytes, bytes]:
    return (DATA / f"{name}.in.o").read_bytes(), (DATA / f"{name}.out.o").read_bytes()


def fields(data: bytes) -> list[tuple[int, int]]:
    """Place and size of the numbers in headers, symbols and relocations."""
    obj = elf.read(data)
    found = [(24, 8), (32, 8), (40, 8), (58, 2), (60, 2), (62, 2)]
    for section in obj.sections:
        at = obj.section_headers + 64 * section.number
        found += [(at + 4, 4), *((at + n, 8) for n in (8, 24, 32, 48, 56)), (at + 40, 4)]
        if section.type in (elf.SHT_SYMTAB, elf.SHT_RELA):
            step = section.size // 24 // 6 * 24 + 24
            for record in range(section.offset, section.offset + section.size, step):
                found += [(record, 4), (record + 4, 4), (record + 8, 8), (record + 16, 8)]
    return found


@pytest.mark.parametrize("name", PAIRS)
def test_numbers_near_the_end_of_their_range_are_no_more_than_a_difference(name: str) -> None:
    old, new = pair(name)
    chosen = random.Random(name)
    for place, size in chosen.sample(fields(new), 10):
        value = chosen.choice(ODD) % (1 << 8 * size)
        both = [
            data[:place] + value.to_bytes(size, "little") + data[place + size :]
            for data in (old, new)
        ]
        for before, after in ((old, both[1]), (both[0], new), (both[0], both[1])):
            judged(before, after)


@pytest.mark.parametrize("name", PAIRS)
def test_damage_of_any_bytes_is_no_more_than_a_difference(name: str) -> None:
    pair_of = [bytearray(data) for data in pair(name)]
    chosen = random.Random(name)
    for _ in range(15):
        damaged = [bytearray(data) for data in pair_of]
        which = chosen.choice(damaged)
        for _ in range(chosen.randrange(1, 6)):
            at = chosen.randrange(64, len(which))
            which[at : at + chosen.choice((1, 2, 4))] = chosen.randbytes(chosen.choice((1, 2, 4)))
        judged(*map(bytes, damaged))


def judged(old: bytes, new: bytes) -> None:
    """Verify, within seconds; nothing but Unreadable may be raised."""
    begun = time.process_time()
    try:
        said = [str(found) for found in verify(old, new).differences]
    except Unreadable as error:
        said = [str(error)]
    assert not any("\n" in line for line in said)
    assert time.process_time() - begun < 20


def bomb(assemble: Callable[..., bytes], size: int, announced: int) -> bytes:
    """An object with a section of `size` zeros, compressed; its header says `announced`."""
    packed = struct.pack("<IIQQ", 1, 0, announced, 1) + zlib.compress(bytes(size), 9)
    words = ",".join(map(str, packed))
    data = assemble(
        f'.abiversion 2\n.text\nf: blr\n.section .debug_info,"",@progbits\n.byte {words}'
    )
    obj = elf.read(data)
    section = next(s for s in obj.sections if s.name == ".debug_info")
    out = bytearray(data)
    flags = section.flags | elf.SHF_COMPRESSED
    struct.pack_into("<Q", out, obj.section_headers + 64 * section.number + 8, flags)
    return bytes(out)


def test_no_more_is_opened_than_a_file_of_that_size_may_announce(
    assemble: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert elf.read(bomb(assemble, 100_000, 100_000)).sections
    with pytest.raises(Unreadable, match="another size"):
        elf.read(bomb(assemble, 100_000, 1000))
    monkeypatch.setattr(compressed, "ALLOWED", 1 << 16)
    with pytest.raises(Unreadable, match="too much for a file of this size"):
        elf.read(bomb(assemble, 100_000, 100_000))
    for announced in ODD:
        with pytest.raises(Unreadable):
            elf.read(bomb(assemble, 1000, announced))


def test_sections_that_lie_on_each_other_are_not_read_again_and_again() -> None:
    _, new = pair("plain")
    obj = elf.read(new)
    out = bytearray(new)
    for section in obj.sections[1:]:
        place = obj.section_headers + 64 * section.number
        struct.pack_into("<QQ", out, place + 24, 0, len(out))
    with pytest.raises(Unreadable, match="overlap"):
        elf.read(bytes(out))


@pytest.mark.parametrize(
    "contents", [b"", b"\x7fELF", bytes(64), b"\x7fELF\x02\x01\x01" + bytes(80)]
)
@pytest.mark.parametrize("option", ["objects", "module", "vmlinux"])
def test_what_is_no_object_gives_one_line_and_status_1(
    contents: bytes, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odd").write_bytes(contents)
    odd, plain = str(tmp_path / "odd"), str(DATA / "plain.in.o")
    arguments = {
        "objects": [plain, odd],
        "module": ["--module", odd],
        "vmlinux": ["--module", plain, "--vmlinux", odd],
    }[option]
    assert main(arguments) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", PAIRS)
def test_a_damaged_module_is_no_internal_error(name: str) -> None:
    _, new = pair(name)
    chosen = random.Random(name)
    for _ in range(20):
        damaged = bytearray(new)
        at = chosen.randrange(64, len(damaged) - 8)
        damaged[at : at + 8] = chosen.choice(ODD).to_bytes(8, "little")
        try:
            said = [str(found) for found in loader.check(bytes(damaged)).refusals]
        except Unreadable as error:
            said = [str(error)]
        assert not any("\n" in line for line in said)


def symbol_record(data: bytes, number: int) -> int:
    """Where a symbol's record is in the file."""
    obj = elf.read(data)
    return next(s.offset for s in obj.sections if s.type == elf.SHT_SYMTAB) + 24 * number


def test_a_symbol_in_a_section_that_is_not_there_makes_a_file_unreadable() -> None:
    old, new = pair("plain")
    number = next(n for n, s in enumerate(elf.read(new).symbols) if s.name == "" and s.section)
    at = symbol_record(new, number) + 6
    new = new[:at] + (4711).to_bytes(2, "little") + new[at + 2 :]
    for read in (lambda: verify(old, new), lambda: verify(new, old), lambda: loader.check(new)):
        with pytest.raises(Unreadable, match="section that isn't there"):
            read()


def test_names_that_cant_be_printed_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    old, new = pair("plain")
    for name in (b".text\0", b"\0.symtab\0"):
        new = new.replace(name, name.replace(b"t", b"\n").replace(b"x", b"\xff"))
    said = [str(found) for found in verify(old, new).differences]
    assert said
    assert all(line.isprintable() for line in said)
    print(*said)
    assert ".\\ne\\udcff\\n" in capsys.readouterr().out


def test_a_modinfo_of_any_bytes_is_looked_at(assemble: Callable[..., bytes]) -> None:
    data = assemble('.abiversion 2\n.section .modinfo,"a"\n.byte 0xff,0x3d,0x80,0\n')
    assert loader.check(data).loads


@pytest.mark.parametrize("section", ["__patchable_function_entries", "__bug_table"])
@pytest.mark.parametrize("target", ["f-4000", "f+4000"])
def test_a_place_outside_of_its_section_is_no_nop(
    section: str, target: str, variants: Callable[..., tuple[bytes, bytes]]
) -> None:
    code = ".text\n.type g, @function\ng: blr\n.type f, @function\nf: bl g\n SLOT\n nop\n blr\n"
    old, new = variants(f'{code}.section {section},"a"\n.quad {target}\n')
    verify(old, new)


def test_nothing_lies_behind_what_is_compressed(assemble: Callable[..., bytes]) -> None:
    data = bomb(assemble, 100_000, 100_000)
    obj = elf.read(data)
    section = next(s for s in obj.sections if s.name == ".debug_info")
    out = bytearray(data + bytes(8))
    at = obj.section_headers + 64 * section.number + 24
    stored = data[section.offset : section.offset + section.size]
    struct.pack_into("<QQ", out, at, len(out), len(stored) + 8)
    with pytest.raises(Unreadable, match="8 bytes behind what is compressed"):
        elf.read(bytes(out) + stored + bytes(8))
