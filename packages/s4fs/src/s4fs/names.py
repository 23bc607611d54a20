"""Names that belong to S4 itself, as paths of a file system."""

from s4_format import KeyNameError, is_reserved, sidecar_key

MAX_KEY_BYTES = 1024

VERSION_QUERY = "?versionId="
"""How s3fs names a version in a path."""


def is_hidden(path: str) -> bool:
    """Whether a path is a sidecar, a dictionary, state of an upload or a shadow of a version, or lies in a folder of those.

    Buckets begin at different depths on different targets, so every tail of the path is looked at as a key.
    """
    parts = path.partition(VERSION_QUERY)[0].strip("/").split("/")
    return any(is_reserved("/".join(parts[start:])) or is_reserved("/".join(parts[start:]) + "/") for start in range(len(parts)))


def sidecar_of(path: str) -> str | None:
    """The path of an object's sidecar; None where it can have none: its name is a reserved one, or leaves no room, or is of a version.

    Sidecars belong to the latest version alone.
    """
    if VERSION_QUERY in path:
        return None
    try:
        place = sidecar_key(path)
    except KeyNameError:
        return None
    return place if len(place.split("/", 1)[-1].encode()) <= MAX_KEY_BYTES else None
