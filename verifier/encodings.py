"""The names of DWARF's numbers that the verifier asks about.

From DWARF 5, 7.5.3 to 7.5.6, and for GNU's additions from binutils, include/dwarf2.def. Any other
attribute is compared without a look at what it is. Its name is wanted in messages only, and for
these pyelftools has it, where there is one: importing its tables takes longer than to verify a
small object.
"""

from __future__ import annotations

TAGS = {
    0x48: "DW_TAG_call_site",
    0x4109: "DW_TAG_GNU_call_site",
}

ATTRIBUTES = {
    0x02: "DW_AT_location",
    0x0B: "DW_AT_byte_size",
    0x0D: "DW_AT_bit_size",
    0x11: "DW_AT_low_pc",
    0x12: "DW_AT_high_pc",
    0x19: "DW_AT_string_length",
    0x22: "DW_AT_lower_bound",
    0x2A: "DW_AT_return_addr",
    0x2C: "DW_AT_start_scope",
    0x2E: "DW_AT_bit_stride",
    0x2F: "DW_AT_upper_bound",
    0x37: "DW_AT_count",
    0x38: "DW_AT_data_member_location",
    0x40: "DW_AT_frame_base",
    0x46: "DW_AT_segment",
    0x48: "DW_AT_static_link",
    0x4A: "DW_AT_use_location",
    0x4D: "DW_AT_vtable_elem_location",
    0x4E: "DW_AT_allocated",
    0x4F: "DW_AT_associated",
    0x50: "DW_AT_data_location",
    0x51: "DW_AT_byte_stride",
    0x52: "DW_AT_entry_pc",
    0x55: "DW_AT_ranges",
    0x71: "DW_AT_rank",
    0x73: "DW_AT_addr_base",
    0x74: "DW_AT_rnglists_base",
    0x76: "DW_AT_dwo_name",
    0x7D: "DW_AT_call_return_pc",
    0x7E: "DW_AT_call_value",
    0x83: "DW_AT_call_target",
    0x84: "DW_AT_call_target_clobbered",
    0x85: "DW_AT_call_data_location",
    0x86: "DW_AT_call_data_value",
    0x8C: "DW_AT_loclists_base",
    0x2111: "DW_AT_GNU_call_site_value",
    0x2112: "DW_AT_GNU_call_site_data_value",
    0x2113: "DW_AT_GNU_call_site_target",
    0x2114: "DW_AT_GNU_call_site_target_clobbered",
    0x2130: "DW_AT_GNU_dwo_name",
    0x2131: "DW_AT_GNU_dwo_id",
    0x2132: "DW_AT_GNU_ranges_base",
    0x2133: "DW_AT_GNU_addr_base",
    0x2137: "DW_AT_GNU_locviews",
}

FORMS = {
    0x01: "DW_FORM_addr",
    0x03: "DW_FORM_block2",
    0x04: "DW_FORM_block4",
    0x05: "DW_FORM_data2",
    0x06: "DW_FORM_data4",
    0x07: "DW_FORM_data8",
    0x08: "DW_FORM_string",
    0x09: "DW_FORM_block",
    0x0A: "DW_FORM_block1",
    0x0B: "DW_FORM_data1",
    0x0C: "DW_FORM_flag",
    0x0D: "DW_FORM_sdata",
    0x0E: "DW_FORM_strp",
    0x0F: "DW_FORM_udata",
    0x10: "DW_FORM_ref_addr",
    0x11: "DW_FORM_ref1",
    0x12: "DW_FORM_ref2",
    0x13: "DW_FORM_ref4",
    0x14: "DW_FORM_ref8",
    0x15: "DW_FORM_ref_udata",
    0x16: "DW_FORM_indirect",
    0x17: "DW_FORM_sec_offset",
    0x18: "DW_FORM_exprloc",
    0x19: "DW_FORM_flag_present",
    0x1A: "DW_FORM_strx",
    0x1B: "DW_FORM_addrx",
    0x1C: "DW_FORM_ref_sup4",
    0x1D: "DW_FORM_strp_sup",
    0x1E: "DW_FORM_data16",
    0x1F: "DW_FORM_line_strp",
    0x20: "DW_FORM_ref_sig8",
    0x21: "DW_FORM_implicit_const",
    0x22: "DW_FORM_loclistx",
    0x23: "DW_FORM_rnglistx",
    0x24: "DW_FORM_ref_sup8",
    0x25: "DW_FORM_strx1",
    0x26: "DW_FORM_strx2",
    0x27: "DW_FORM_strx3",
    0x28: "DW_FORM_strx4",
    0x29: "DW_FORM_addrx1",
    0x2A: "DW_FORM_addrx2",
    0x2B: "DW_FORM_addrx3",
    0x2C: "DW_FORM_addrx4",
    0x1F01: "DW_FORM_GNU_addr_index",
    0x1F02: "DW_FORM_GNU_str_index",
    0x1F20: "DW_FORM_GNU_ref_alt",
    0x1F21: "DW_FORM_GNU_strp_alt",
    0x2001: "DW_FORM_LLVM_addrx_offset",
}
"""All that are understood."""


def attribute_name(name: str | int) -> str:
    """The name of an attribute for a message, given that or the number of one that isn't in the
    table.
    """
    if isinstance(name, str):
        return name
    try:
        from elftools.dwarf.enums import ENUM_DW_AT
    except ImportError:
        return f"DW_AT {name:#x}"
    found: dict[int, str] = {number: name for name, number in ENUM_DW_AT.items()}
    return found.get(name, f"DW_AT {name:#x}")
