"""What the independent count of calls without slot takes for a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nopfix.corpus import slots

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("code", "lacking"),
    [
        ("bl f; mr 3,4", ["f"]),
        ("bl f; nop", []),
        ("bl f; ld 2,24(1)", []),
        ("bl _mcount; mr 3,4", []),
        ("bl .+4; mflr 3", []),
        ("bcl 20,31,.+4; mflr 3", []),
        ("bl .+8; mflr 3; nop", ["caller+0x8"]),
        ("bl 1f; .long 16; 1: mflr 3", []),
        ("bl 1f; mr 3,4; 1: mr 3,4", ["caller+0x8"]),
        ("mflr 0; bl caller; mr 3,4", ["caller"]),
        ("addis 2,12,1; addi 2,2,2; 1: mflr 0; bl 1b; mr 3,4", ["caller+0x8"]),
        ("blr; .long 0; bl f; mr 3,4", []),
        ("bl exit; nop; .long 0; bl f; mr 3,4", []),
        ("mr 3,4; .long 0; bl f; mr 3,4", ["f"]),
        ("b 1f; .long 0; 1: bl f; mr 3,4", ["f"]),
        ("beq 1f; b caller; .long 0; 1: bl f; mr 3,4", ["f"]),
        ("bl __morestack; ld 0,16(1)", []),
        ("bl __morestack_non_split; ld 0,16(1)", []),
        ("bl __morestack_make_guard; mr 3,4", ["__morestack_make_guard"]),
    ],
)
def test_a_call_lacks_its_slot_unless_it_only_reads_the_program_counter(
    code: str, lacking: list[str], assemble: Callable[..., bytes], tmp_path: Path
) -> None:
    source = f".type caller,@function\ncaller: {code}\nblr\n.size caller, .-caller\n"
    path = tmp_path / "calls.o"
    path.write_bytes(assemble(source))
    assert [call.callee for call in slots.calls_without_slot(path)] == lacking
