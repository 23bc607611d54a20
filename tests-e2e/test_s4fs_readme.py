"""The README of s4fs is true: all of its Python runs, from top to bottom, over a store."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from servers.stores import ACCESS_KEY, SECRET_KEY, Store

pytestmark = pytest.mark.servers("versitygw")

README = Path(__file__).resolve().parent.parent / "packages" / "s4fs" / "README.md"
EXPECTED = """
assert delays["delay"].tolist() == [4.0, -1.0, 33.0]
assert late["delay"].to_list() == [4.0, 33.0]
assert rows == [("AA", -1.0), ("UA", 18.5)]
assert means.to_dict() == {"UA": 18.5, "AA": -1.0}
assert fs.fs.size("notes.s4") < 20_000
"""


def test_python_of_the_readme_runs(store: Store, tmp_path: Path) -> None:
    """pandas, Polars, DuckDB, Dask and plain files do what is shown, each in five lines or so, silently."""
    assert store.endpoint is not None
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    assert all(len(block.strip().splitlines()) <= 6 for block in blocks)
    store.behind.client.create_bucket(Bucket="flights")
    code = "\n".join([*blocks, EXPECTED])
    for shown, real in (("http://127.0.0.1:9000", store.endpoint), ("access-key", ACCESS_KEY), ("secret-key", SECRET_KEY)):
        code = code.replace(f'"{shown}"', f'"{real}"')
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, timeout=120, check=False)
    store.behind.remove_bucket("flights")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stderr
