"""The relocation types as one table: what each fills, what its addend means, what it tells a proof.

The problem: a relocation lies at a place and its addend points somewhere, and what that means
depends on the type.  Whoever moves addends, looks for branches, cuts data out of code or follows an
address through a function asks the same table, so that no two of them can answer differently.

A row is a type, a column is a question:

- *field*: what is filled at the place.  ``LI`` and ``BD`` are the displacements of branches (forms
  I and B), ``half`` and ``DS`` sixteen and fourteen bits of an instruction or of data, ``DX`` the
  split field of ``addpcis``, ``prefixed`` the field of an eight-byte instruction, ``word`` and
  ``doubleword`` data.  ``none``: the relocation is a marker, which says something about an
  instruction that holds its own bits, or whose bits another relocation beside it fills.
- *addend*: what it is that moves.  ``target``: symbol + addend is a spot (absolute, or through the
  TOC or the GOT).  ``place``: the same spot, counted from the place that is filled.  ``base``: the
  REL16 family; the instruction adds the field to a base register and not to its own place, so the
  addend carries ``place - base`` besides the offset from the symbol.  ``distance``: from the place
  to another instruction.  ``nothing``: it means nothing that could move (a place in a vtable).
- *worth*: what an instruction with this relocation computes, for those who follow addresses:
  ``address`` (it adds it, or loads from it), ``high`` (the upper half of one), ``got`` (the address
  lies in the linker's table and is loaded from there), ``-`` for all that isn't known.

A type that isn't here may appear in no relocatable object that anybody has seen; where the answer
matters it is refused.

Source: 64-bit ELFv2 ABI, 3.5 (relocation types) and 3.5.3 (their descriptions); the numbers above
240 and the prefixed ones as in binutils' include/elf/ppc64.h, the fields as in its bfd/elf64-ppc.c.
"""

from __future__ import annotations

from nopfix.dwarf.record import Literal, Record

Field = Literal["none", "word", "doubleword", "half", "DS", "DX", "LI", "BD", "prefixed"]
Addend = Literal["target", "place", "base", "distance", "nothing"]
Worth = Literal["address", "high", "got", "-"]

_DATA_SIZES = {"word": 4, "doubleword": 8}


class RelocationType(Record):
    """A row of the table; ``name`` is without R_PPC64_."""

    number: int
    name: str
    field: Field
    addend: Addend
    worth: Worth

    @property
    def data_size(self) -> int:
        """Bytes of data that it fills; 0 for what is part of an instruction, or may be."""
        return _DATA_SIZES.get(self.field, 0)


# Written out as Python has it: to split a text into 130 rows took longer than most modules take.
_TABLE: tuple[tuple[int, str, Field, Addend, Worth], ...] = (
    (0, "NONE", "none", "target", "-"),
    (1, "ADDR32", "word", "target", "-"),
    (2, "ADDR24", "LI", "target", "-"),
    (3, "ADDR16", "half", "target", "-"),
    (4, "ADDR16_LO", "half", "target", "-"),
    (5, "ADDR16_HI", "half", "target", "-"),
    (6, "ADDR16_HA", "half", "target", "-"),
    (7, "ADDR14", "BD", "target", "-"),
    (8, "ADDR14_BRTAKEN", "BD", "target", "-"),
    (9, "ADDR14_BRNTAKEN", "BD", "target", "-"),
    (10, "REL24", "LI", "place", "-"),
    (11, "REL14", "BD", "place", "-"),
    (12, "REL14_BRTAKEN", "BD", "place", "-"),
    (13, "REL14_BRNTAKEN", "BD", "place", "-"),
    (14, "GOT16", "half", "target", "got"),
    (15, "GOT16_LO", "half", "target", "got"),
    (16, "GOT16_HI", "half", "target", "high"),
    (17, "GOT16_HA", "half", "target", "high"),
    (24, "UADDR32", "word", "target", "-"),
    (25, "UADDR16", "half", "target", "-"),
    (26, "REL32", "word", "place", "-"),
    (27, "PLT32", "word", "target", "-"),
    (28, "PLTREL32", "word", "place", "-"),
    (29, "PLT16_LO", "half", "target", "got"),
    (30, "PLT16_HI", "half", "target", "high"),
    (31, "PLT16_HA", "half", "target", "high"),
    (33, "SECTOFF", "half", "target", "-"),
    (34, "SECTOFF_LO", "half", "target", "-"),
    (35, "SECTOFF_HI", "half", "target", "-"),
    (36, "SECTOFF_HA", "half", "target", "-"),
    (37, "ADDR30", "word", "place", "-"),
    (38, "ADDR64", "doubleword", "target", "-"),
    (39, "ADDR16_HIGHER", "half", "target", "-"),
    (40, "ADDR16_HIGHERA", "half", "target", "-"),
    (41, "ADDR16_HIGHEST", "half", "target", "-"),
    (42, "ADDR16_HIGHESTA", "half", "target", "-"),
    (43, "UADDR64", "doubleword", "target", "-"),
    (44, "REL64", "doubleword", "place", "-"),
    (45, "PLT64", "doubleword", "target", "-"),
    (46, "PLTREL64", "doubleword", "place", "-"),
    (47, "TOC16", "half", "target", "address"),
    (48, "TOC16_LO", "half", "target", "address"),
    (49, "TOC16_HI", "half", "target", "high"),
    (50, "TOC16_HA", "half", "target", "high"),
    (51, "TOC", "doubleword", "target", "-"),
    (52, "PLTGOT16", "half", "target", "-"),
    (53, "PLTGOT16_LO", "half", "target", "-"),
    (54, "PLTGOT16_HI", "half", "target", "-"),
    (55, "PLTGOT16_HA", "half", "target", "-"),
    (56, "ADDR16_DS", "DS", "target", "-"),
    (57, "ADDR16_LO_DS", "DS", "target", "-"),
    (58, "GOT16_DS", "DS", "target", "got"),
    (59, "GOT16_LO_DS", "DS", "target", "got"),
    (60, "PLT16_LO_DS", "DS", "target", "got"),
    (61, "SECTOFF_DS", "DS", "target", "-"),
    (62, "SECTOFF_LO_DS", "DS", "target", "-"),
    (63, "TOC16_DS", "DS", "target", "address"),
    (64, "TOC16_LO_DS", "DS", "target", "address"),
    (65, "PLTGOT16_DS", "DS", "target", "-"),
    (66, "PLTGOT16_LO_DS", "DS", "target", "-"),
    (67, "TLS", "none", "target", "-"),
    (68, "DTPMOD64", "doubleword", "target", "-"),
    (69, "TPREL16", "half", "target", "-"),
    (70, "TPREL16_LO", "half", "target", "-"),
    (71, "TPREL16_HI", "half", "target", "-"),
    (72, "TPREL16_HA", "half", "target", "-"),
    (73, "TPREL64", "doubleword", "target", "-"),
    (74, "DTPREL16", "half", "target", "-"),
    (75, "DTPREL16_LO", "half", "target", "-"),
    (76, "DTPREL16_HI", "half", "target", "-"),
    (77, "DTPREL16_HA", "half", "target", "-"),
    (78, "DTPREL64", "doubleword", "target", "-"),
    (79, "GOT_TLSGD16", "half", "target", "-"),
    (80, "GOT_TLSGD16_LO", "half", "target", "-"),
    (81, "GOT_TLSGD16_HI", "half", "target", "-"),
    (82, "GOT_TLSGD16_HA", "half", "target", "-"),
    (83, "GOT_TLSLD16", "half", "target", "-"),
    (84, "GOT_TLSLD16_LO", "half", "target", "-"),
    (85, "GOT_TLSLD16_HI", "half", "target", "-"),
    (86, "GOT_TLSLD16_HA", "half", "target", "-"),
    (87, "GOT_TPREL16_DS", "DS", "target", "-"),
    (88, "GOT_TPREL16_LO_DS", "DS", "target", "-"),
    (89, "GOT_TPREL16_HI", "half", "target", "-"),
    (90, "GOT_TPREL16_HA", "half", "target", "-"),
    (91, "GOT_DTPREL16_DS", "DS", "target", "-"),
    (92, "GOT_DTPREL16_LO_DS", "DS", "target", "-"),
    (93, "GOT_DTPREL16_HI", "half", "target", "-"),
    (94, "GOT_DTPREL16_HA", "half", "target", "-"),
    (95, "TPREL16_DS", "DS", "target", "-"),
    (96, "TPREL16_LO_DS", "DS", "target", "-"),
    (97, "TPREL16_HIGHER", "half", "target", "-"),
    (98, "TPREL16_HIGHERA", "half", "target", "-"),
    (99, "TPREL16_HIGHEST", "half", "target", "-"),
    (100, "TPREL16_HIGHESTA", "half", "target", "-"),
    (101, "DTPREL16_DS", "DS", "target", "-"),
    (102, "DTPREL16_LO_DS", "DS", "target", "-"),
    (103, "DTPREL16_HIGHER", "half", "target", "-"),
    (104, "DTPREL16_HIGHERA", "half", "target", "-"),
    (105, "DTPREL16_HIGHEST", "half", "target", "-"),
    (106, "DTPREL16_HIGHESTA", "half", "target", "-"),
    (107, "TLSGD", "none", "target", "-"),
    (108, "TLSLD", "none", "target", "-"),
    (109, "TOCSAVE", "none", "target", "-"),
    (110, "ADDR16_HIGH", "half", "target", "-"),
    (111, "ADDR16_HIGHA", "half", "target", "-"),
    (112, "TPREL16_HIGH", "half", "target", "-"),
    (113, "TPREL16_HIGHA", "half", "target", "-"),
    (114, "DTPREL16_HIGH", "half", "target", "-"),
    (115, "DTPREL16_HIGHA", "half", "target", "-"),
    (116, "REL24_NOTOC", "LI", "place", "-"),
    (117, "ADDR64_LOCAL", "doubleword", "target", "-"),
    (118, "ENTRY", "none", "nothing", "-"),
    (119, "PLTSEQ", "none", "target", "-"),
    (120, "PLTCALL", "none", "target", "-"),
    (121, "PLTSEQ_NOTOC", "none", "target", "-"),
    (122, "PLTCALL_NOTOC", "none", "target", "-"),
    (123, "PCREL_OPT", "none", "distance", "-"),
    (124, "REL24_P9NOTOC", "LI", "place", "-"),
    (128, "D34", "prefixed", "target", "-"),
    (129, "D34_LO", "prefixed", "target", "-"),
    (130, "D34_HI30", "prefixed", "target", "-"),
    (131, "D34_HA30", "prefixed", "target", "-"),
    (132, "PCREL34", "prefixed", "place", "address"),
    (133, "GOT_PCREL34", "prefixed", "place", "got"),
    (134, "PLT_PCREL34", "prefixed", "place", "got"),
    (135, "PLT_PCREL34_NOTOC", "prefixed", "place", "got"),
    (136, "ADDR16_HIGHER34", "half", "target", "-"),
    (137, "ADDR16_HIGHERA34", "half", "target", "-"),
    (138, "ADDR16_HIGHEST34", "half", "target", "-"),
    (139, "ADDR16_HIGHESTA34", "half", "target", "-"),
    (140, "REL16_HIGHER34", "half", "base", "-"),
    (141, "REL16_HIGHERA34", "half", "base", "-"),
    (142, "REL16_HIGHEST34", "half", "base", "-"),
    (143, "REL16_HIGHESTA34", "half", "base", "-"),
    (144, "D28", "prefixed", "target", "-"),
    (145, "PCREL28", "prefixed", "place", "-"),
    (146, "TPREL34", "prefixed", "target", "-"),
    (147, "DTPREL34", "prefixed", "target", "-"),
    (148, "GOT_TLSGD_PCREL34", "prefixed", "place", "-"),
    (149, "GOT_TLSLD_PCREL34", "prefixed", "place", "-"),
    (150, "GOT_TPREL_PCREL34", "prefixed", "place", "-"),
    (151, "GOT_DTPREL_PCREL34", "prefixed", "place", "-"),
    (240, "REL16_HIGH", "half", "base", "-"),
    (241, "REL16_HIGHA", "half", "base", "-"),
    (242, "REL16_HIGHER", "half", "base", "-"),
    (243, "REL16_HIGHERA", "half", "base", "-"),
    (244, "REL16_HIGHEST", "half", "base", "-"),
    (245, "REL16_HIGHESTA", "half", "base", "-"),
    (246, "REL16DX_HA", "DX", "base", "-"),
    (249, "REL16", "half", "base", "-"),
    (250, "REL16_LO", "half", "base", "-"),
    (251, "REL16_HI", "half", "base", "-"),
    (252, "REL16_HA", "half", "base", "-"),
    (253, "GNU_VTINHERIT", "none", "nothing", "-"),
    (254, "GNU_VTENTRY", "none", "nothing", "-"),
)

TYPES = {row[0]: RelocationType(*row) for row in _TABLE}
"""Every type that can appear in a relocatable object, by number."""

_NUMBERS = {row.name: row.number for row in TYPES.values()}

REL24 = _NUMBERS["REL24"]
REL24_NOTOC = _NUMBERS["REL24_NOTOC"]
REL24_P9NOTOC = _NUMBERS["REL24_P9NOTOC"]
REL32 = _NUMBERS["REL32"]
REL64 = _NUMBERS["REL64"]
ADDR64 = _NUMBERS["ADDR64"]

MARKERS = frozenset(number for number, row in TYPES.items() if row.field == "none")
"""The types that fill nothing, by number."""

BRANCHES = frozenset(number for number, row in TYPES.items() if row.field in ("LI", "BD"))
"""The types that fill a branch, by number."""

FROM_A_BASE = frozenset(
    number
    for number, row in TYPES.items()
    if row.addend == "base" or (row.addend == "place" and row.field in _DATA_SIZES)
)
"""Those whose addend may carry ``place - base``, besides the offset from the symbol."""

RELATIVE_BRANCHES = frozenset(n for n in BRANCHES if TYPES[n].addend == "place")
"""Those whose displacement counts from the branch."""
