"""DWARF sections under moving code: bytes, relocation places and offset maps in, the same out.

One module per section kind, named as the DWARF standard names it.  Nothing in here knows PowerPC,
nops or ELF files.
"""
