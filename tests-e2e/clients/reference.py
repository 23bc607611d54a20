"""The reference's own packages, s4fs and s4-codec, at work in an environment of their own."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from programs import program
from servers.stores import ACCESS_KEY, SECRET_KEY, Store

HERE = Path(__file__).parent
PATIENCE_SECONDS = 240


def read_by_the_reference(store: Store, paths: Sequence[str], ranges: Sequence[Sequence[int]]) -> dict[str, Any]:
    """What the reference makes of these objects; see reference_reader.py."""
    return _run("reference_reader.py", store, paths=list(paths), ranges=list(ranges))


def write_by_the_reference(store: Store, objects: Mapping[str, Path], codec: str = "cpu-zstd") -> None:
    """Put local files as the reference's s4fs does; see reference_writer.py."""
    _run("reference_writer.py", store, objects={path: str(local) for path, local in objects.items()}, codec=codec)


def _run(name: str, store: Store, **asked: Any) -> dict[str, Any]:
    asked |= {"endpoint": store.endpoint, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    command = [program("reference"), HERE / name]
    ended = subprocess.run(command, input=json.dumps(asked).encode(), capture_output=True, timeout=PATIENCE_SECONDS, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    told: dict[str, Any] = json.loads(ended.stdout)
    return told
