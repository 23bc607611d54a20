"""Preconditions."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_gateway.errors import NotModified, S3Error
from s4_gateway.wire.conditions import ReadConditions, WriteConditions, if_range_matches
from s4_gateway.wire.dates import http_date

ETAG = "d41d8cd98f00b204e9800998ecf8427e"
MODIFIED = 1_700_000_000
BEFORE, AT, AFTER = http_date(MODIFIED - 1), http_date(MODIFIED), http_date(MODIFIED + 1)


def outcome(headers: Mapping[str, str], *, etag: str | None = ETAG, copy: bool = False) -> int:
    """Status of a read under these conditions; 0 = the refusal is not what it should be."""
    conditions = ReadConditions.from_headers(headers, "x-amz-copy-source-" if copy else "")
    try:
        conditions.check(etag, MODIFIED, headers_304={"etag": f'"{etag}"'}, copy=copy)
    except NotModified as error:
        return 304 if error.headers == {"etag": f'"{etag}"'} else 0
    except S3Error as error:
        return error.status if error.code == "PreconditionFailed" else 0
    return 200


CASES: list[tuple[dict[str, str], int]] = [
    ({}, 200),
    ({"if-match": f'"{ETAG}"'}, 200),
    ({"if-match": ETAG}, 200),
    ({"if-match": f'"other", "{ETAG}"'}, 200),
    ({"if-match": "*"}, 200),
    ({"if-match": '"other"'}, 412),
    ({"if-match": f'W/"{ETAG}"'}, 412),
    ({"if-match": ""}, 412),
    ({"if-none-match": f'"{ETAG}"'}, 304),
    ({"if-none-match": ETAG}, 304),
    ({"if-none-match": f'W/"{ETAG}"'}, 304),
    ({"if-none-match": f'"a,b", "{ETAG}"'}, 304),
    ({"if-none-match": "*"}, 304),
    ({"if-none-match": '"other"'}, 200),
    ({"if-modified-since": BEFORE}, 200),
    ({"if-modified-since": AT}, 304),
    ({"if-modified-since": AFTER}, 304),
    ({"if-modified-since": "nonsense"}, 200),
    ({"if-unmodified-since": BEFORE}, 412),
    ({"if-unmodified-since": AT}, 200),
    ({"if-unmodified-since": AFTER}, 200),
    ({"if-unmodified-since": "nonsense"}, 200),
    # An ETag condition puts the date condition beside it out of force (RFC 9110, section 13.2.2; the S3 reference says the same).
    ({"if-match": f'"{ETAG}"', "if-unmodified-since": BEFORE}, 200),
    ({"if-match": '"other"', "if-unmodified-since": AFTER}, 412),
    ({"if-none-match": f'"{ETAG}"', "if-modified-since": BEFORE}, 304),
    ({"if-none-match": '"other"', "if-modified-since": AFTER}, 200),
    ({"if-match": '"other"', "if-none-match": f'"{ETAG}"'}, 412),
    ({"if-match": f'"{ETAG}"', "if-none-match": f'"{ETAG}"'}, 304),
]


@pytest.mark.parametrize(("headers", "status"), CASES)
def test_read_conditions(headers: dict[str, str], status: int) -> None:
    """Conditions of a read are evaluated in the order of RFC 9110."""
    assert outcome(headers) == status


@pytest.mark.parametrize(("headers", "status"), CASES)
def test_copy_source_conditions(headers: dict[str, str], status: int) -> None:
    """Conditions on a copy's source are the same, but never 304; those without the prefix do not count."""
    prefixed = {f"x-amz-copy-source-{name}": value for name, value in headers.items()}
    assert outcome(prefixed, copy=True) == (412 if status == 304 else status)
    assert outcome(prefixed) == 200


def test_an_object_without_validator_matches_only_the_star() -> None:
    """No ETag is no validator: no listed one can match it."""
    assert outcome({"if-match": "*"}, etag=None) == 200
    assert outcome({"if-match": '"None"'}, etag=None) == 412
    assert outcome({"if-match": '""'}, etag=None) == 412
    assert outcome({"if-none-match": '"x"'}, etag=None) == 200


def test_the_refusal_names_its_condition() -> None:
    """The 412 says which condition failed, as S3 does."""
    with pytest.raises(S3Error) as caught:
        ReadConditions.from_headers({"if-match": '"x"'}).check(ETAG, MODIFIED)
    assert caught.value.fields == {"Condition": "If-Match"}


@pytest.mark.parametrize(
    ("value", "matches"),
    [
        (None, True),
        (f'"{ETAG}"', True),
        (AT, True),
        (BEFORE, False),
        (AFTER, False),
        ('"other"', False),
        (f'W/"{ETAG}"', False),
        ("*", False),
        ("", False),
    ],
)
def test_if_range(value: str | None, matches: bool) -> None:
    """If-Range holds for exactly this object: a strong ETag, or its very date."""
    assert if_range_matches(value, ETAG, MODIFIED) is matches


def test_if_range_of_an_object_without_validator() -> None:
    """Without an ETag only the date can match."""
    assert not if_range_matches('"x"', None, MODIFIED)
    assert if_range_matches(AT, None, MODIFIED)


@given(st.text(max_size=200))
def test_no_etag_list_breaks_the_parser(value: str) -> None:
    """Any text is a list of ETags, maybe an empty one."""
    assert outcome({"if-none-match": value}) in (200, 304)
    assert outcome({"if-match": value}) in (200, 412)


@pytest.mark.parametrize(
    ("headers", "conditions"),
    [
        ({}, WriteConditions()),
        ({"if-none-match": "*"}, WriteConditions(if_absent=True)),
        ({"if-none-match": " * "}, WriteConditions(if_absent=True)),
        ({"if-match": f'"{ETAG}"'}, WriteConditions(if_match=ETAG)),
        ({"if-match": ETAG}, WriteConditions(if_match=ETAG)),
        ({"if-match": "*"}, WriteConditions(if_match="*")),
        ({"if-modified-since": AT}, WriteConditions()),
    ],
)
def test_write_conditions(headers: dict[str, str], conditions: WriteConditions) -> None:
    """Writes know If-None-Match: * and If-Match of one ETag; If-Modified-Since means nothing for them."""
    assert WriteConditions.from_headers(headers) == conditions


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"if-none-match": f'"{ETAG}"'}, "NotImplemented"),
        ({"if-none-match": "*", "if-match": "x"}, "NotImplemented"),
        ({"if-match": '"a", "b"'}, "NotImplemented"),
        ({"if-match": 'W/"a"'}, "NotImplemented"),
        ({"if-unmodified-since": AT}, "NotImplemented"),
        ({"if-match": ""}, "InvalidArgument"),
        ({"if-match": '""'}, "InvalidArgument"),
    ],
)
def test_other_write_conditions_are_refused(headers: dict[str, str], code: str) -> None:
    """A condition that cannot be kept is refused: leaving it out would write what should not be written."""
    with pytest.raises(S3Error) as caught:
        WriteConditions.from_headers(headers)
    assert caught.value.code == code
