"""DeleteObjects: many keys in one request, one outcome each."""

from collections.abc import Mapping, Sequence

from s4_gateway.backend.abc import BackendError, Deleted, Outcome, Pieces
from s4_gateway.backend.s3 import xml
from s4_gateway.backend.s3.errors import status_of
from s4_gateway.backend.s3.request import Guard, Request
from s4_gateway.backend.s3.retries import Requester

Target = tuple[str, str | None]
"""Key and version id."""


def deleted(key: str, version_id: str | None, *, marker: bool, marker_version_id: str | None) -> Deleted:
    """A successful deletion; `marker` = a delete marker was made, or the deleted version was one."""
    return Deleted(key, version_id=version_id, delete_marker=marker, marker_version_id=marker_version_id if marker else None)


async def delete_batch(http: Requester, path: str, targets: Sequence[Target]) -> Mapping[Target, Deleted]:
    """Delete up to 1,000 targets whose keys XML can hold. One that the store does not mention has failed with unknown outcome.

    Raises:
        BackendError: the request as a whole failed.
    """
    unique = list(dict.fromkeys(targets))
    request = Request(
        "delete_objects",
        "POST",
        path,
        "delete=",
        headers={"content-type": "application/xml"},
        payload=Pieces.of(xml.delete_document(unique)),
        # Newer stores take a checksum header instead; Content-MD5 is the one that every store knows.
        guard=Guard.DEMANDED,
    )
    root = (await http.call(request)).document("DeleteResult")
    told = dict(_outcome(node) for name in ("Deleted", "Error") for node in root.all(name))
    return {target: told.get(target) or _untold(target) for target in unique}


def _outcome(node: xml.Node) -> tuple[Target, Deleted]:
    key = node.text("Key") or ""
    version_id = node.text("VersionId") or None
    if node.name == "Error":
        return (key, version_id), Deleted(key, version_id=version_id, error=_error(node))
    marker = node.text("DeleteMarker") == "true"
    outcome = deleted(key, version_id, marker=marker, marker_version_id=node.text("DeleteMarkerVersionId"))
    return (key, version_id), outcome


def _error(node: xml.Node) -> BackendError:
    code = node.text("Code") or "InternalError"
    status = status_of(code)
    outcome = Outcome.UNKNOWN if status >= 500 else Outcome.REFUSED
    return BackendError(code, status, node.text("Message") or code, outcome=outcome)


def _untold(target: Target) -> Deleted:
    error = BackendError("InternalError", 500, "the storage backend did not tell the outcome", outcome=Outcome.UNKNOWN)
    return Deleted(target[0], version_id=target[1], error=error)
