"""The forms of values: how many bytes each takes."""

from __future__ import annotations

import pytest

from nopfix.dwarf import encodings, forms
from nopfix.dwarf.forms import Sizes

DWARF_5 = Sizes(5, 4, 8)


def test_every_form_with_a_name_has_a_size() -> None:
    named = {value for name, value in vars(encodings).items() if name.startswith("DW_FORM_")}
    assert named == set(forms.SIZES)


@pytest.mark.parametrize(
    ("sizes", "form", "size"),
    [
        (Sizes(2, 4, 8), encodings.DW_FORM_ref_addr, 8),
        (Sizes(3, 4, 8), encodings.DW_FORM_ref_addr, 4),
        (Sizes(5, 8, 8), encodings.DW_FORM_sec_offset, 8),
        (Sizes(5, 8, 8), encodings.DW_FORM_addr, 8),
        (DWARF_5, encodings.DW_FORM_strx3, 3),
        (DWARF_5, encodings.DW_FORM_udata, None),
    ],
)
def test_a_size_may_depend_on_the_unit_or_on_the_value(
    sizes: Sizes, form: int, size: int | None
) -> None:
    assert sizes.fixed(form) == size


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (encodings.DW_FORM_string, "61 62 00"),
        (encodings.DW_FORM_block1, "02 aa bb"),
        (encodings.DW_FORM_block2, "01 00 aa"),
        (encodings.DW_FORM_block4, "01 00 00 00 aa"),
        (encodings.DW_FORM_exprloc, "81 00 aa"),
        (encodings.DW_FORM_udata, "80 80 00"),
        (encodings.DW_FORM_LLVM_addrx_offset, "85 01 10 00 00 00"),
        (encodings.DW_FORM_flag_present, ""),
    ],
)
def test_a_value_ends_where_its_own_bytes_say(form: int, value: str) -> None:
    data = bytes.fromhex(value)
    assert forms.skip(b"?" + data, 1, form, DWARF_5) == 1 + len(data)
    if data:
        with pytest.raises((IndexError, ValueError)):
            forms.skip(b"?" + data[:-1], 1, form, DWARF_5)
