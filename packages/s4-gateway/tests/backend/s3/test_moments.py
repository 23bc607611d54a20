"""When a write took place, by the store's clock."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_gateway.backend.abc import Pieces
from s4_gateway.backend.s3.headers import http_date
from s4_gateway.backend.s3.moments import FOREVER, MAX_UPLOADS, UploadStarts, interval

from .server import ETAG, Reply, connected, serving

SECONDS = st.floats(0, 1000, allow_nan=False)


@given(received=st.floats(1e9, 2e9), before=st.floats(0, 1), work=SECONDS, after=SECONDS, lag=st.floats(0, 0.999))
def test_the_objects_time_is_in_the_interval(received: float, before: float, work: float, after: float, lag: float) -> None:
    """Whenever the store stamps the object while it has the request, and even with a Date that is up to a second old."""
    stamped = received + before + work
    answered = stamped + after
    date = formatdate(int(answered - lag if answered - lag >= received else answered), usegmt=True)
    earliest, latest = interval(date, answered - received)

    assert earliest <= int(stamped) <= latest


@pytest.mark.parametrize("date", ["", "now", "Thu, 01 Foo 2023 00:00:00 GMT", "Thu, 99 Jan 2023 99:00:00 GMT"])
def test_without_a_date_nothing_is_known(date: str) -> None:
    """A store without a clock leaves the interval open on both sides."""
    assert interval(date, 1.0) == (0, FOREVER)


@pytest.mark.parametrize("value", ["Tue, 14 Nov 2023 22:13:20 GMT", "Tuesday, 14-Nov-23 22:13:20 GMT", "Tue Nov 14 22:13:20 2023"])
def test_http_dates(value: str) -> None:
    """All three forms of RFC 9110 5.6.7."""
    assert http_date(value) == 1_700_000_000


@given(st.text(max_size=40))
def test_any_text_as_a_date(value: str) -> None:
    """Rubbish is no date, and no exception."""
    assert http_date(value) is None or isinstance(http_date(value), int)


async def test_completed_upload_may_carry_the_time_of_its_beginning() -> None:
    """S3 dates an object of parts from the start of its upload; of uploads opened elsewhere that is not known."""
    completed = b"<CompleteMultipartUploadResult><ETag>&quot;x-1&quot;</ETag></CompleteMultipartUploadResult>"
    async with serving() as server, connected(server) as backend:
        server.script(
            Reply(
                body=b"<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>",
                headers={"date": "Tue, 14 Nov 2023 22:13:20 GMT"},
            ),
            Reply(body=completed, headers={"date": "Wed, 15 Nov 2023 22:13:20 GMT"}),
            Reply(body=completed, headers={"date": "Wed, 15 Nov 2023 22:13:20 GMT"}),
        )
        upload_id = await backend.create_multipart("bucket", "key", headers={}, metadata={})
        ours = await backend.complete_multipart("bucket", "key", upload_id, [(1, ETAG)])
        foreign = await backend.complete_multipart("bucket", "key", "another", [(1, ETAG)])

        assert ours.earliest <= 1_700_000_000 < 1_700_086_400 <= ours.latest
        assert ours.earliest >= 1_700_000_000 - 5
        assert foreign.earliest == 0


async def test_lost_attempts_widen_the_interval() -> None:
    """What a lost attempt may have written counts from that attempt on."""
    async with serving() as server, connected(server) as backend:
        server.script(Reply(drop=True, delay=1.2), Reply(headers={"etag": f'"{ETAG}"', "date": "Tue, 14 Nov 2023 22:13:20 GMT"}))
        written = await backend.put_object("bucket", "key", Pieces.of(b"x"), headers={}, metadata={})

        assert written.earliest <= 1_700_000_000 - 2


def test_remembered_starts_are_bounded() -> None:
    """The oldest go first; ended ones are forgotten."""
    starts = UploadStarts()
    for number in range(MAX_UPLOADS + 1):
        starts.opened(str(number), number + 1)

    assert (starts.earliest("0"), starts.earliest("1"), starts.earliest(str(MAX_UPLOADS))) == (0, 2, MAX_UPLOADS + 1)
    starts.ended("1")
    starts.ended("1")
    assert starts.earliest("1") == 0
