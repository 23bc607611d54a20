"""Spellings of time."""

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_gateway.wire.dates import http_date, iso_date, parse_http_date

# Until the end of the year 9999.
MOMENTS = st.integers(0, 253_402_300_799)


@given(MOMENTS)
def test_http_date_is_the_form_of_rfc_9110(moment: int) -> None:
    """An HTTP date is what the standard library writes, and reads back as the same second."""
    assert http_date(moment) == formatdate(moment, usegmt=True)
    assert parse_http_date(http_date(moment)) == moment


def test_iso_date_is_the_form_of_s3() -> None:
    """Documents show times with milliseconds and Z."""
    assert iso_date(1_255_369_830) == "2009-10-12T17:50:30.000Z"
    assert iso_date(0) == "1970-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    "value",
    ["Sun, 06 Nov 1994 08:49:37 GMT", " Sun, 06 Nov 1994 08:49:37 GMT ", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_all_three_forms_are_read(value: str) -> None:
    """Recipients accept IMF-fixdate, RFC 850 and asctime."""
    assert parse_http_date(value) == 784_111_777


@pytest.mark.parametrize(
    "value",
    [
        "",
        "yesterday",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nop 1994 08:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 06 Nov 1994 08:49:37 PST",
        "1994-11-06T08:49:37Z",
        "784111777",
    ],
)
def test_other_text_is_no_date(value: str) -> None:
    """What is no HTTP date is None, never an exception or another date."""
    assert parse_http_date(value) is None


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{2} (Feb|Dec) [0-9]{4} [0-2][0-9]:[0-5][0-9]:[0-6][0-9] GMT", fullmatch=True))
def test_no_text_breaks_the_parser(value: str) -> None:
    """Any text gives None, or a time that has an HTTP date of its own."""
    moment = parse_http_date(value)
    assert moment is None or parse_http_date(http_date(moment)) == moment
