"""Run by the reference's Python: writes objects straight into the store with its file system.

Standard input: {"endpoint", "access_key", "secret_key", "objects": {path: local file}, "codec"}.
Standard output: {"version"}.
"""

import json
import sys

import s4fs


def main() -> None:
    """Write everything that standard input names."""
    asked = json.load(sys.stdin)
    options = {"endpoint_url": asked["endpoint"], "key": asked["access_key"], "secret": asked["secret_key"]}
    fs = s4fs.S4FileSystem(target_protocol="s3", target_options=options, write_enabled=True, write_codec=asked["codec"])
    for path, local in asked["objects"].items():
        fs.put_file(local, path)
    json.dump({"version": s4fs.__version__}, sys.stdout)


main()
