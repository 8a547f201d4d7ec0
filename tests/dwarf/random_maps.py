"""Random maps of a code section: slots and padding at some of its first 300 words."""

from __future__ import annotations

from hypothesis import strategies as st

from nopfix.dwarf.offset_map import OffsetMap, padding, slot

code_maps = st.sets(st.integers(0, 300), max_size=12).flatmap(
    lambda words: st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=len(words), max_size=len(words)
    ).map(
        lambda sizes: OffsetMap(
            edit
            for word, (own, extra) in zip(sorted(words), sizes, strict=True)
            for edit in (slot(4 * word, 4 * own), padding(4 * word, 4 * extra))
        )
    )
)
