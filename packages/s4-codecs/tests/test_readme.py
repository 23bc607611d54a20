"""The README's examples run."""

import re
from pathlib import Path

import pytest

EXAMPLES = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "README.md").read_text(), re.DOTALL)


def test_there_are_examples() -> None:
    """The README shows the one-call functions and the streaming ones."""
    assert len(EXAMPLES) == 2


@pytest.mark.parametrize("code", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each block runs by itself and prints what it says."""
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out
