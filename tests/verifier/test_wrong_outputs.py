"""Outputs of an old nopfix that were silently wrong (wrong/README.md), one of each kind.

Each is consistent in itself: no byte of it is damaged. The rewriter lacked a rule, so what sees the
fault has to come from elsewhere: from the ABI, the kernel, the linker, the compilers' sources.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import nopfix
from nopfix.verifier import verify

WRONG = Path(__file__).parent / "wrong"
#: The input, and the rules that its old output breaks.
BROKEN = {
    "address-off-counter": {"distance"},
    "call-over-data": {"data-in-code"},
    "crel": {"not-understood"},
    "discriminator": {"line-row"},
    "feature-section": {"pairing"},
    "frame-table": {"pairing"},
    "label-distance": {"distance"},
    "label-plus-constant": {"relocation"},
    "landing-pad": {"pairing"},
    "literal-off-counter": {"distance"},
    "long-padding": {"pairing"},
    "object-in-text": {"data-in-code"},
    "patch-site": {"pairing"},
    "patchable-entry": {"pairing"},
    "probe-as-slot": {"pairing"},
    "probe-deleted": {"pairing"},
    "pseudo-probe": {"not-understood"},
    "rel32-in-code": {"relocation"},
    "reloc-none-branch": {"branch"},
    "renamed-eh-frame": {"frame-range", "frame-row"},
    "split-stack": {"pairing"},
    "symbol-on-nop": {"pairing"},
    "xray": {"padding"},
}
#: What nopfix refuses today.
REFUSED = {
    *("address-off-counter", "crel", "label-distance", "label-plus-constant"),
    *("literal-off-counter", "pseudo-probe", "rel32-in-code", "renamed-eh-frame"),
}


def contents(name: str) -> bytes:
    return (WRONG / name).read_bytes()


def test_every_pair_of_the_folder_is_looked_at() -> None:
    assert {path.name for path in WRONG.glob("*.o")} == {
        f"{name}.{which}.o" for name in BROKEN for which in ("in", "out")
    }


@pytest.mark.parametrize("name", BROKEN)
def test_what_an_old_nopfix_got_wrong_is_not_verified(name: str) -> None:
    report = verify(contents(f"{name}.in.o"), contents(f"{name}.out.o"))
    assert {difference.rule for difference in report.differences} == BROKEN[name]


@pytest.mark.parametrize("name", sorted(BROKEN.keys() - REFUSED))
def test_what_nopfix_makes_of_the_same_input_is_verified(name: str) -> None:
    old = contents(f"{name}.in.o")
    new = bytes(nopfix.rewrite(old).data)
    assert new != contents(f"{name}.out.o")
    assert verify(old, new, need_slots=True).differences == ()


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_the_others_are_refused(name: str) -> None:
    with pytest.raises(nopfix.Refusal):
        nopfix.rewrite(contents(f"{name}.in.o"))
