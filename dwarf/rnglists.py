"""`.debug_rnglists` and `.debug_ranges`: the code that an entry covers, in pieces.

Source: DWARF 5, sections 2.17.3 and 7.28; DWARF 4, section 2.17.3.  `dwarf.lists` has the rules.
"""

from __future__ import annotations

from nopfix.dwarf import encodings as dw
from nopfix.dwarf import lists
from nopfix.dwarf.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nopfix.dwarf.lists import Moved
    from nopfix.dwarf.offset_map import OffsetMap
    from nopfix.dwarf.section import Section
    from nopfix.dwarf.unit import ListUses

KINDS = lists.Kinds(
    family="DW_RLE",
    meanings={
        dw.DW_RLE_end_of_list: dw.DW_LLE_end_of_list,
        dw.DW_RLE_base_addressx: dw.DW_LLE_base_addressx,
        dw.DW_RLE_startx_endx: dw.DW_LLE_startx_endx,
        dw.DW_RLE_startx_length: dw.DW_LLE_startx_length,
        dw.DW_RLE_offset_pair: dw.DW_LLE_offset_pair,
        dw.DW_RLE_base_address: dw.DW_LLE_base_address,
        dw.DW_RLE_start_end: dw.DW_LLE_start_end,
        dw.DW_RLE_start_length: dw.DW_LLE_start_length,
    },
    located=False,
)
"""DWARF 5, table 7.30."""


def rewrite(section: Section, uses: Sequence[ListUses], maps: Mapping[int, OffsetMap]) -> Moved:
    """Move the range lists of ``section``: .debug_rnglists, .debug_ranges, or a .dwo form of one.

    ``uses`` are the references to lists of this section, ``maps`` the maps of code sections by
    number.  Raises `Unsupported` for what can't be moved.
    """
    if section.name.startswith(".debug_ranges"):
        from nopfix.dwarf import address_pairs

        return address_pairs.rewrite(section, False, uses, maps)
    from nopfix.dwarf import list_entries

    return list_entries.rewrite(section, KINDS, uses, maps)
