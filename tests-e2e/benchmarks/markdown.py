"""Tables in Markdown."""

from collections.abc import Sequence


def table(headings: Sequence[str], lines: Sequence[Sequence[str]], *, numbers: bool = False) -> str:
    """A table; with `numbers` all columns but the first are set to the right."""
    rule = ["---", *(["---:"] if numbers else ["---"]) * (len(headings) - 1)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (headings, rule, *lines))
