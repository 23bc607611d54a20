"""The README of s4fs is true: its Python runs as it is printed, against a bucket that the environment names."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from clients.filesystems import filesystem
from datasets import flights
from servers.stores import ACCESS_KEY, SECRET_KEY, Store

pytestmark = pytest.mark.servers("versitygw")

README = Path(__file__).parents[1] / "packages" / "s4fs" / "README.md"
EXAMPLE = re.compile(r"^### (\w+)\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BUCKET = "flights"
MOST_LINES = 5
MARK = "<end of the example>"


def test_examples_run_as_printed(store: Store, tmp_path: Path) -> None:
    """Every example, one after the other in one process, as a reader would paste them; each shows something."""
    examples = dict(EXAMPLE.findall(README.read_text(encoding="utf-8")))
    assert {"pandas", "Polars", "DuckDB", "Dask", "Python"} <= examples.keys()
    csv, _ = flights(tmp_path)
    store.behind.client.create_bucket(Bucket=BUCKET)
    try:
        filesystem(store).put_file(str(csv), f"{BUCKET}/flights.csv")
        script = "\n".join(f"{code}\nprint('{MARK}')" for code in examples.values())
        assert store.endpoint is not None
        environ = {
            **os.environ,
            "AWS_ENDPOINT_URL": store.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=False
        )
    finally:
        store.behind.remove_bucket(BUCKET)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.split(MARK)
    assert len(shown) == len(examples) + 1
    assert all(len(text.strip()) > 20 for text in shown[:-1]), done.stdout


def test_examples_are_short() -> None:
    """Five lines each at most, blank ones aside."""
    for name, code in EXAMPLE.findall(README.read_text(encoding="utf-8")):
        assert (name, sum(1 for line in code.splitlines() if line.strip())) <= (name, MOST_LINES)
