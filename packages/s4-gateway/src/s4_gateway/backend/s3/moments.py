"""When a write took place by the store's clock, from what its answer tells."""

from collections import OrderedDict

from s4_gateway.backend.s3.headers import http_date

CLOCK_GRAIN = 1
"""Seconds: HTTP dates are cut to whole seconds, and servers may reuse a Date for up to a second."""

FOREVER = 2**40
"""Later than any time a store tells."""

MAX_UPLOADS = 10_000
"""Uploads whose start is remembered."""


def interval(date: str, seconds: float) -> tuple[int, int]:
    """(earliest, latest) Last-Modified, both inclusive, of an object written by a request that took `seconds` and was answered at `date`.

    The store stamps the object between receiving the request and answering, so at most `seconds` before the moment that `Date` names;
    cutting to whole seconds may hide one more on either side. Both times come from the store, so our own clock does not matter.
    Without a usable Date nothing is known.
    """
    answered = http_date(date)
    if answered is None:
        return 0, FOREVER
    return answered - int(seconds) - CLOCK_GRAIN, answered + CLOCK_GRAIN


class UploadStarts:
    """When multipart uploads were opened: S3 gives the finished object that time as Last-Modified, other stores the time of Complete.

    Only of uploads that this process opened, the newest `MAX_UPLOADS`; of others nothing is known.
    """

    def __init__(self) -> None:
        self._starts: OrderedDict[str, int] = OrderedDict()

    def opened(self, upload_id: str, earliest: int) -> None:
        """Remember an upload opened at `earliest` or later."""
        self._starts[upload_id] = earliest
        while len(self._starts) > MAX_UPLOADS:
            self._starts.popitem(last=False)

    def earliest(self, upload_id: str) -> int:
        """No earlier than this was it opened; 0 where that is not known."""
        return self._starts.get(upload_id, 0)

    def ended(self, upload_id: str) -> None:
        """Forget it."""
        self._starts.pop(upload_id, None)
