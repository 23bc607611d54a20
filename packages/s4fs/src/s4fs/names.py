"""Names that belong to S4 itself, as paths of a file system."""

from s4_format import is_reserved


def is_hidden(path: str) -> bool:
    """Whether a path is a sidecar, a dictionary, state of an upload or a shadow of a version, or lies in a folder of those.

    Buckets begin at different depths on different targets, so every tail of the path is looked at as a key.
    """
    parts = path.strip("/").split("/")
    return any(is_reserved("/".join(parts[start:])) or is_reserved("/".join(parts[start:]) + "/") for start in range(len(parts)))
