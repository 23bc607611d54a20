"""Bar charts as SVG, legible on light and dark pages: the picture brings its own background and follows the reader's preference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 760
_COLUMNS = 3
_GAP = 14
_BAR = 16
_PANEL_HEAD = 24
_LABEL = 74
_VALUE = 62
_TOP = 34

_STYLE = """
  .card { fill: #fbfbfa } text { font: 12px system-ui, sans-serif; fill: #1f2328 } .head { font-weight: 600 } .quiet { fill: #59636e }
  .direct { fill: #9aa4af } .reference { fill: #d18b3c } .ours { fill: #2f74c0 } .ours-2 { fill: #6aa7e8 }
  @media (prefers-color-scheme: dark) {
    .card { fill: #1c2128 } text { fill: #e6edf3 } .quiet { fill: #9198a1 }
    .direct { fill: #6e7781 } .reference { fill: #e0a458 } .ours { fill: #4c94e6 } .ours-2 { fill: #8cbdf2 }
  }
"""


@dataclass(frozen=True, slots=True)
class Panel:
    """The bars of one row: name of a target -> value. Panels do not share a scale."""

    title: str
    bars: Mapping[str, float]


def chart(title: str, panels: Sequence[Panel], *, form: str) -> str:
    """An SVG document: one panel a row, `_COLUMNS` beside each other."""
    column = (WIDTH - _GAP * (_COLUMNS + 1)) // _COLUMNS
    tallest = max((len(panel.bars) for panel in panels), default=0) * (_BAR + 4) + _PANEL_HEAD + _GAP
    height = _TOP + -(-len(panels) // _COLUMNS) * tallest + 4
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">',
        f"<style>{_STYLE}</style>",
        f'<rect class="card" width="{WIDTH}" height="{height}" rx="8"/>',
        f'<text class="head" x="{_GAP}" y="22">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        left = _GAP + number % _COLUMNS * (column + _GAP)
        top = _TOP + number // _COLUMNS * tallest
        drawn += _panel(panel, left, top, column, form)
    return "\n".join([*drawn, "</svg>", ""])


def _panel(panel: Panel, left: int, top: int, width: int, form: str) -> list[str]:
    room = width - _LABEL - _VALUE
    most = max(panel.bars.values(), default=0) or 1
    drawn = [f'<text class="quiet" x="{left}" y="{top + 14}">{escape(panel.title)}</text>']
    for number, (name, value) in enumerate(panel.bars.items()):
        y = top + _PANEL_HEAD + number * (_BAR + 4)
        length = max(1.0, value / most * room)
        drawn += [
            f'<text x="{left}" y="{y + 12}">{escape(name)}</text>',
            f'<rect class="{escape(name)}" x="{left + _LABEL}" y="{y}" width="{length:.1f}" height="{_BAR}" rx="2"/>',
            f'<text x="{left + _LABEL + length + 5:.1f}" y="{y + 12}">{value:{form}}</text>',
        ]
    return drawn
