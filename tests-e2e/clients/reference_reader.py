"""Run by the reference's Python: reads objects straight from the store with its packages, and tells what it read as JSON.

Standard input: {"endpoint", "access_key", "secret_key", "paths": [...], "ranges": [[start, stop], ...]}.
Standard output: for each path {"size", "sha256", "ranges": [sha256 of each that begins within the object], "frames": number or null,
"index": the decoded sidecar or null, "stored": bytes}.
"""

import hashlib
import json
import sys

import s4_codec
import s4fs
from s3fs import S3FileSystem


def main() -> None:
    """Read everything that standard input names."""
    asked = json.load(sys.stdin)
    options = {
        "endpoint_url": asked["endpoint"],
        "key": asked["access_key"],
        "secret": asked["secret_key"],
        "use_listings_cache": False,
        "skip_instance_cache": True,
    }
    raw = S3FileSystem(**options)
    reader = s4fs.S4FileSystem(target_protocol="s3", target_options=options, skip_instance_cache=True)
    told = {}
    for path in asked["paths"]:
        body = raw.cat_file(path)
        framed = body[:4] in (s4_codec.FRAME_MAGIC, s4_codec.PADDING_MAGIC)
        sidecar = path + s4_codec.SIDECAR_SUFFIX
        told[path] = {
            "size": reader.info(path)["size"],
            "sha256": hashlib.sha256(reader.cat_file(path)).hexdigest(),
            "ranges": [
                hashlib.sha256(reader.cat_file(path, start=start, end=stop)).hexdigest()
                for start, stop in asked["ranges"]
                if start < len(reader.cat_file(path))
            ],
            "frames": len(s4_codec.frame_iter(body)) if framed else None,
            "index": s4_codec.decode_index(raw.cat_file(sidecar)) if raw.exists(sidecar) else None,
            "stored": len(body),
        }
    json.dump({"versions": [s4_codec.__version__, s4fs.__version__], "objects": told}, sys.stdout)


main()
