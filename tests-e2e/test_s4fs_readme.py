"""The README of s4fs is true: its Python runs as it is printed, on a bucket of a real store."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from clients.filesystems import filesystem
from servers.stores import ACCESS_KEY, SECRET_KEY, Store

pytestmark = pytest.mark.servers("versitygw")

README = Path(__file__).parents[1] / "packages" / "s4fs" / "README.md"
EXAMPLE = re.compile(r"^(\w[\w ]*):\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOOLS = {"pandas", "Polars", "DuckDB", "Dask"}
MOST_LINES = 5
BUCKET = "flights"
PLACES = {"http://127.0.0.1:9000": "endpoint", "access-key": ACCESS_KEY, "secret-key": SECRET_KEY}
"""What the page names, and what a reader puts in its place."""
OUTCOME = """
assert delays["delay"].to_list() == [4.0, -1.0, 33.0], delays
assert late["carrier"].to_list() == ["UA", "UA"], late
assert rows == [("AA", -1.0), ("UA", 18.5)], rows
assert means.to_dict() == {"AA": -1.0, "UA": 18.5}, means
"""


def test_examples_run_as_printed(store: Store, tmp_path: Path) -> None:
    """All Python of the page runs from top to bottom, silently, and finds what it wrote."""
    text = README.read_text(encoding="utf-8")
    code = "\n".join(PYTHON.findall(text)) + OUTCOME
    assert store.endpoint is not None
    for shown, real in PLACES.items():
        assert shown in code
        code = code.replace(f'"{shown}"', repr(store.endpoint if real == "endpoint" else real))
    store.behind.client.create_bucket(Bucket=BUCKET)
    try:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stderr
        assert filesystem(store).ls(BUCKET, detail=False) == [f"{BUCKET}/delays.parquet"]
    finally:
        store.behind.remove_bucket(BUCKET)


def test_examples_are_short() -> None:
    """pandas, Polars, DuckDB and Dask are there, in five lines each at most."""
    examples = EXAMPLE.findall(README.read_text(encoding="utf-8"))
    lines = {name: [line for line in code.splitlines() if line.strip()] for name, code in examples}
    assert lines.keys() >= TOOLS
    assert {name for name in TOOLS if len(lines[name]) > MOST_LINES} == set()
