"""The relocation types as a table, and how each one moves.

The problem: a relocation lies at a place, and its addend points somewhere; when code moves, both
may change, and what the addend means depends on the type.  The rule, by kind:

- ``target``: the field is about symbol + addend (absolute, relative to the place, through the TOC
  or the GOT): the addend moves so that symbol + addend is the same spot as before.
- ``base``: the REL16 family.  The instruction adds the field to a base register, not to its own
  place, so the addend carries ``place - base`` besides the offset from the symbol.
- ``distance``: the addend is the distance from the place to another instruction (PCREL_OPT).
- ``marker``: the addend means nothing that could move.

Source: 64-bit ELFv2 ABI, 3.5 (relocation types) and 3.5.3 (their descriptions); the numbers above
240 and the prefixed ones as in binutils' include/elf/ppc64.h.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["target", "base", "distance", "marker"]


class RelocationType(NamedTuple):
    """A type's name (without R_PPC64_) and how its addend moves."""

    name: str
    kind: Kind


REL24 = 10
REL14 = (11, 12, 13)
REL32 = 26
ADDR64 = 38
REL64 = 44
REL24_NOTOC = 116
ENTRY = 118
REL24_P9NOTOC = 124

_TARGET = """
1 ADDR32, 2 ADDR24, 3 ADDR16, 4 ADDR16_LO, 5 ADDR16_HI, 6 ADDR16_HA, 7 ADDR14, 8 ADDR14_BRTAKEN,
9 ADDR14_BRNTAKEN, 10 REL24, 11 REL14, 12 REL14_BRTAKEN, 13 REL14_BRNTAKEN, 14 GOT16, 15 GOT16_LO,
16 GOT16_HI, 17 GOT16_HA, 24 UADDR32, 25 UADDR16, 26 REL32, 27 PLT32, 28 PLTREL32, 29 PLT16_LO,
30 PLT16_HI, 31 PLT16_HA, 33 SECTOFF, 34 SECTOFF_LO, 35 SECTOFF_HI, 36 SECTOFF_HA, 37 ADDR30,
38 ADDR64, 39 ADDR16_HIGHER, 40 ADDR16_HIGHERA, 41 ADDR16_HIGHEST, 42 ADDR16_HIGHESTA, 43 UADDR64,
44 REL64, 45 PLT64, 46 PLTREL64, 47 TOC16, 48 TOC16_LO, 49 TOC16_HI, 50 TOC16_HA, 51 TOC,
52 PLTGOT16, 53 PLTGOT16_LO, 54 PLTGOT16_HI, 55 PLTGOT16_HA, 56 ADDR16_DS, 57 ADDR16_LO_DS,
58 GOT16_DS, 59 GOT16_LO_DS, 60 PLT16_LO_DS, 61 SECTOFF_DS, 62 SECTOFF_LO_DS, 63 TOC16_DS,
64 TOC16_LO_DS, 65 PLTGOT16_DS, 66 PLTGOT16_LO_DS, 68 DTPMOD64, 69 TPREL16, 70 TPREL16_LO,
71 TPREL16_HI, 72 TPREL16_HA, 73 TPREL64, 74 DTPREL16, 75 DTPREL16_LO, 76 DTPREL16_HI,
77 DTPREL16_HA, 78 DTPREL64, 79 GOT_TLSGD16, 80 GOT_TLSGD16_LO, 81 GOT_TLSGD16_HI,
82 GOT_TLSGD16_HA, 83 GOT_TLSLD16, 84 GOT_TLSLD16_LO, 85 GOT_TLSLD16_HI, 86 GOT_TLSLD16_HA,
87 GOT_TPREL16_DS, 88 GOT_TPREL16_LO_DS, 89 GOT_TPREL16_HI, 90 GOT_TPREL16_HA,
91 GOT_DTPREL16_DS, 92 GOT_DTPREL16_LO_DS, 93 GOT_DTPREL16_HI, 94 GOT_DTPREL16_HA, 95 TPREL16_DS,
96 TPREL16_LO_DS, 97 TPREL16_HIGHER, 98 TPREL16_HIGHERA, 99 TPREL16_HIGHEST, 100 TPREL16_HIGHESTA,
101 DTPREL16_DS, 102 DTPREL16_LO_DS, 103 DTPREL16_HIGHER, 104 DTPREL16_HIGHERA,
105 DTPREL16_HIGHEST, 106 DTPREL16_HIGHESTA, 109 TOCSAVE, 110 ADDR16_HIGH, 111 ADDR16_HIGHA,
112 TPREL16_HIGH, 113 TPREL16_HIGHA, 114 DTPREL16_HIGH, 115 DTPREL16_HIGHA, 116 REL24_NOTOC,
117 ADDR64_LOCAL, 124 REL24_P9NOTOC, 128 D34, 129 D34_LO, 130 D34_HI30, 131 D34_HA30, 132 PCREL34,
133 GOT_PCREL34, 134 PLT_PCREL34, 135 PLT_PCREL34_NOTOC, 136 ADDR16_HIGHER34, 137 ADDR16_HIGHERA34,
138 ADDR16_HIGHEST34, 139 ADDR16_HIGHESTA34, 144 D28, 145 PCREL28, 146 TPREL34, 147 DTPREL34,
148 GOT_TLSGD_PCREL34, 149 GOT_TLSLD_PCREL34, 150 GOT_TPREL_PCREL34, 151 GOT_DTPREL_PCREL34
"""
_BASE = """
140 REL16_HIGHER34, 141 REL16_HIGHERA34, 142 REL16_HIGHEST34, 143 REL16_HIGHESTA34, 240 REL16_HIGH,
241 REL16_HIGHA, 242 REL16_HIGHER, 243 REL16_HIGHERA, 244 REL16_HIGHEST, 245 REL16_HIGHESTA,
246 REL16DX_HA, 249 REL16, 250 REL16_LO, 251 REL16_HI, 252 REL16_HA
"""
_DISTANCE = "123 PCREL_OPT"
_MARKER = """
0 NONE, 67 TLS, 107 TLSGD, 108 TLSLD, 118 ENTRY, 119 PLTSEQ, 120 PLTCALL, 121 PLTSEQ_NOTOC,
122 PLTCALL_NOTOC, 253 GNU_VTINHERIT, 254 GNU_VTENTRY
"""


def _table() -> dict[int, RelocationType]:
    kinds: tuple[tuple[Kind, str], ...] = (
        ("target", _TARGET),
        ("base", _BASE),
        ("distance", _DISTANCE),
        ("marker", _MARKER),
    )
    table = {}
    for kind, text in kinds:
        for entry in text.split(","):
            number, name = entry.split()
            table[int(number)] = RelocationType(name, kind)
    return table


TYPES = _table()
"""Every type that can appear in a relocatable object, by number."""
