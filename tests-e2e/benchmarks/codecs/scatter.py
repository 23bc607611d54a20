"""Ratio against speed as SVG, one panel a workload, both axes logarithmic."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

WIDTH = 860
_COLUMNS = 2
_GAP = 16
_TOP = 64
_HEIGHT = 230
_INSET = (44, 26, 12, 28)
"""Left, top, right and bottom of the plot inside its panel."""
_LINE = 11
_LABEL = 62
"""Pixels between two lines of labels, and of the longest label."""

_STYLE = """
  .card { fill: #fbfbfa } text { font: 11px system-ui, sans-serif; fill: #1f2328 } .head { font-size: 14px; font-weight: 600 }
  .title { font-weight: 600 } .quiet { fill: #59636e } .axis { stroke: #c6ccd2; stroke-width: 1 }
  .cpu { fill: #2f74c0 } .device { fill: #2f9e5f } .reference { fill: none; stroke: #d18b3c; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    .card { fill: #1c2128 } text { fill: #e6edf3 } .quiet { fill: #9198a1 } .axis { stroke: #444c56 }
    .cpu { fill: #4c94e6 } .device { fill: #57c98a } .reference { stroke: #e0a458 }
  }
"""


@dataclass(frozen=True, slots=True)
class Dot:
    """One codec in one panel."""

    name: str
    kind: str
    """Class of its mark: cpu, device or reference."""
    speed: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Axis:
    """A logarithmic axis from `low` to `high` over the pixels `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low)) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """1, 2 and 5 of each decade, or powers of ten where there are many."""
        decades = range(floor(log10(self.low)), floor(log10(self.high)) + 1)
        steps = (1,) if len(decades) > 3 else (1, 2, 5)
        return [tick for decade in decades for step in steps if self.low <= (tick := step * 10.0**decade) <= self.high]


def scatter(title: str, panels: Sequence[tuple[str, Sequence[Dot]]], *, legend: Iterable[tuple[str, str]], labels: tuple[str, str]) -> str:
    """An SVG document.

    Args:
        title: above everything.
        panels: heading and dots of each.
        legend: kind of mark and what it means.
        labels: of the horizontal and the vertical axis.
    """
    height = _TOP + -(-len(panels) // _COLUMNS) * (_HEIGHT + _GAP)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="card" width="{WIDTH}" height="{height}" rx="8"/>',
        f'<text class="head" x="{_GAP}" y="24">{escape(title)}</text>',
    ]
    left = float(_GAP)
    for kind, words in legend:
        drawn.append(f'<circle class="{kind}" cx="{left + 5}" cy="44" r="4"/><text x="{left + 14}" y="48">{escape(words)}</text>')
        left += 30 + 6.2 * len(words)
    width = (WIDTH - _GAP * (_COLUMNS + 1)) // _COLUMNS
    for number, (heading, dots) in enumerate(panels):
        x = _GAP + number % _COLUMNS * (width + _GAP)
        drawn += _panel(heading, dots, x, _TOP + number // _COLUMNS * (_HEIGHT + _GAP), width, labels)
    return "\n".join([*drawn, "</svg>", ""])


def _panel(heading: str, dots: Sequence[Dot], left: int, top: int, width: int, labels: tuple[str, str]) -> list[str]:
    inset_left, inset_top, inset_right, inset_bottom = _INSET
    across = Axis(*_span(dot.speed for dot in dots), left + inset_left, left + width - inset_right - 70)
    up = Axis(*_span(dot.ratio for dot in dots), top + _HEIGHT - inset_bottom, top + inset_top)
    floor_y, end_x = up.start, left + width - inset_right
    drawn = [
        f'<text class="title" x="{left}" y="{top + 12}">{escape(heading)}</text>',
        f'<path class="axis" fill="none" d="M{across.start} {up.end}V{floor_y}H{end_x}"/>',
        f'<text class="quiet" x="{end_x}" y="{floor_y + 25}" text-anchor="end">{escape(labels[0])}</text>',
        f'<text class="quiet" x="{end_x}" y="{top + 12}" text-anchor="end">{escape(labels[1])}</text>',
    ]
    drawn.extend(_tick(across.at(tick), floor_y + 13, "middle", tick) for tick in across.ticks())
    drawn.extend(_tick(across.start - 4, up.at(tick) + 4, "end", tick) for tick in up.ticks())
    taken = list[tuple[float, float]]()
    for dot in sorted(dots, key=lambda dot: -dot.ratio):
        x, y = across.at(dot.speed), up.at(dot.ratio)
        drawn.append(f'<circle class="{dot.kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{escape(_words(dot))}</title></circle>')
        if dot.kind != "reference":
            line = _free(x, y + 4, taken, highest=up.end, lowest=floor_y - 2)
            drawn.append(f'<text x="{x + 7:.1f}" y="{line:.1f}">{escape(dot.name)}</text>')
    return drawn


def _tick(x: float, y: float, anchor: str, value: float) -> str:
    return f'<text class="quiet" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{value:,g}</text>'


def _words(dot: Dot) -> str:
    return f"{dot.name}: {dot.ratio:,.4g} at {dot.speed:,.3g} GB/s"


def _free(x: float, y: float, taken: list[tuple[float, float]], *, highest: float, lowest: float) -> float:
    """The height nearest to `y`, between those two, at which a label covers no other."""
    steps = (y + sign * step for step in range(_HEIGHT) for sign in (1, -1))
    inside = [height for height in steps if highest <= height <= lowest]
    free = (height for height in inside if not any(abs(x - at) < _LABEL and abs(height - other) < _LINE for at, other in taken))
    found = next(free, inside[0])
    taken.append((x, found))
    return found


def _span(values: Iterable[float]) -> tuple[float, float]:
    found = list(values)
    return min(found) / 1.25, max(found) * 1.25
