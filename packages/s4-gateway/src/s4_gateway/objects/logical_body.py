"""A logical read as the body of a write: what copies that must decode are made of."""

from collections.abc import Mapping

from s4_gateway.objects.body import VerifiedBody, WholeBody
from s4_gateway.objects.reader import Opened

NONE: Mapping[str, str] = {}


class LogicalBody:
    """Fits `intake.Source`: verified bytes of known size that nobody promised a digest for."""

    sha256: str | None = None
    trailers = NONE

    def __init__(self, opened: Opened) -> None:
        self._chunks = opened.chunks
        self.size: int | None = opened.stop - opened.start

    def __aiter__(self) -> VerifiedBody | WholeBody:
        return self._chunks
