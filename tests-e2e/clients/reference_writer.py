"""Run by the reference's Python: writes the files of a folder into a bucket with its s4fs.

Standard input: {"endpoint", "access_key", "secret_key", "bucket", "folder"}. Each file becomes an object of its name.
"""

import json
import pathlib
import sys

import s4fs


def main() -> None:
    """Write everything that standard input names."""
    asked = json.load(sys.stdin)
    options = {
        "endpoint_url": asked["endpoint"],
        "key": asked["access_key"],
        "secret": asked["secret_key"],
        "use_listings_cache": False,
        "skip_instance_cache": True,
    }
    writer = s4fs.S4FileSystem(target_protocol="s3", target_options=options, write_enabled=True, skip_instance_cache=True)
    for path in sorted(pathlib.Path(asked["folder"]).iterdir()):
        writer.pipe_file(f"{asked['bucket']}/{path.name}", path.read_bytes())


main()
