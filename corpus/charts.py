"""The charts of a report: SVG that stands in its page, with no script and no word from elsewhere.

pygal draws them.  It is plain Python and small, so that it is there wherever the rest is:
matplotlib needs numpy, for which ppc64le hosts have no wheel, and plotly, bokeh and altair put
megabytes of script into a page.  The colours are variables of the page's, which has them for light
and for dark.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import pygal
from pygal.style import Style

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from xml.etree.ElementTree import Element

# pygal looks for its maps, which nobody asks for here, by a hook into imports without find_spec,
# which Python has wanted of hooks for long; who imports by hand, as pytest does, stumbles over it.
sys.meta_path[:] = [hook for hook in sys.meta_path if type(hook).__module__ != pygal.__name__]

_WIDTH, _HEIGHT = 520, 380
#: More points than this make the file big without showing more.
_MOST_POINTS = 6000
#: Less than this, in milliseconds, is drawn as this: the axes are logarithmic.
_LEAST_TIME = 0.1
#: From how many percent on each bar counts.
_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2, 3, 5, 10)


def times(points: Sequence[tuple[float, float, str]]) -> str:
    """Draw nopfix's time against the assembler's: both in seconds, and what the point stands for.

    There has to be a point.
    """
    step = math.ceil(len(points) / _MOST_POINTS)
    shown = [
        (max(_LEAST_TIME, 1e3 * assembler), max(_LEAST_TIME, 1e3 * own), name)
        for assembler, own, name in points[::step]
    ]
    both = [time for *pair, _ in shown for time in pair]
    first, last = math.floor(math.log10(min(both))), math.ceil(math.log10(max(both)))
    ticks = [10.0**power for power in range(first, max(last, first + 1) + 1)]
    ends = (ticks[0], ticks[-1])
    chart = _chart(
        pygal.XY,
        "{:g}".format,
        stroke=False,
        dots_size=2,
        logarithmic=True,
        # pygal leaves out what stands at the very top, so the axis goes a little further.
        range=(ends[0], 1.001 * ends[1]),
        xrange=ends,
        show_x_guides=True,
        x_title="assembler, ms",
        y_title="nopfix, ms",
    )
    chart.x_labels = chart.y_labels = ticks
    dots = [{"value": (x, y), "tooltip": name} for x, y, name in shown]
    chart.add("objects", dots)
    dashed = {"dasharray": "4 3"}
    chart.add(
        "as fast", [(end, end) for end in ends], stroke=True, show_dots=False, stroke_style=dashed
    )
    return _svg(chart)


def growth(percent: Sequence[float]) -> str:
    """Draw how many objects grew by how many percent of their size."""
    counts = [0] * (len(_BUCKETS) + 1)
    for value in percent:
        counts[sum(value >= limit for limit in _BUCKETS)] += 1
    chart = _chart(
        pygal.Bar,
        lambda count: f"{count:g}" if count else "",
        print_values=True,
        print_values_position="top",
        show_y_labels=False,
        show_y_guides=False,
        x_title="growth of the file, percent (from)",
    )
    chart.x_labels = [f"<{_BUCKETS[0]}", *(f"{limit:g}" for limit in _BUCKETS)]
    chart.add("objects", counts)
    return _svg(chart)


def _chart(kind: Callable[..., Any], words: Callable[[float], str], **options: Any) -> Any:
    """Return an empty chart; ``words`` writes its numbers."""
    return kind(
        style=_style(),
        width=_WIDTH,
        height=_HEIGHT,
        explicit_size=True,
        show_legend=False,
        disable_xml_declaration=True,
        js=(),
        value_formatter=words,
        x_value_formatter=words,
        **options,
    )


def _style() -> Style:
    lines, solid = "var(--line)", "none"
    return Style(
        background="transparent",
        plot_background="transparent",
        foreground="var(--soft)",
        foreground_strong="var(--soft)",
        foreground_subtle=lines,
        guide_stroke_color=lines,
        guide_stroke_dasharray=solid,
        major_guide_stroke_color=lines,
        major_guide_stroke_dasharray=solid,
        colors=("var(--mark)", "var(--soft)"),
        value_colors=("var(--soft)", "var(--soft)"),
        font_family="system-ui, sans-serif",
        label_font_size=11,
        major_label_font_size=11,
        value_font_size=11,
        title_font_size=11,
        dot_opacity=".35",
        transition="0s",
    )


def _svg(chart: Any) -> str:
    chart.add_xml_filter(_plain)
    return str(chart.render(is_unicode=True))


def _plain(root: Element) -> Element:
    """Drop what pygal puts in for its own script, and comments that name places elsewhere."""
    for parent in root.iter():
        for child in list(parent):
            tag = child.tag
            if not isinstance(tag, str) or tag.rpartition("}")[2] in ("script", "desc"):
                parent.remove(child)
    return root
