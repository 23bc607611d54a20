"""What is deleted with an object, and with a directory."""

from collections.abc import Iterable

from s4_format import SIDECAR_SUFFIX

from s4fs.names import is_hidden, sidecar_of


def removable(paths: Iterable[str]) -> list[str]:
    """Objects, which are visible, and the sidecars that they may have, each behind its object."""
    chosen: list[str] = []
    for path in paths:
        chosen.append(path)
        sidecar = sidecar_of(path)
        if sidecar is not None:
            chosen.append(sidecar)
    return chosen


def leftovers(names: Iterable[str]) -> list[str]:
    """Of everything below a directory that goes as a whole, what goes with it: placeholders, and sidecars of objects long gone.

    Dictionaries, uploads and versions stay: they belong to objects elsewhere.
    """
    return [name for name in names if not is_hidden(name.removesuffix(SIDECAR_SUFFIX))]
