"""The ordered checks between authentication and a handler."""

from dataclasses import dataclass, replace

import pytest

from s4_gateway.call import Call, Principal
from s4_gateway.errors import S3Error
from s4_gateway.operations.table import TABLE
from s4_gateway.policy import CHECKS, authorize
from s4_gateway.wire.body import RawBody

RESERVED = ("a.s4index", ".s4index", "x/y.s4index", ".s4mpu/id/upload", ".s4mpu/", ".s4dict/0123456789abcdef", "k.__s4ver__/1")
FREE = ("a", ".s4mpu0", "x/.s4mpu/y", "s4index", "a.s4index.bak", ".s4dictionary", "a/.s4dict/b")


@dataclass(frozen=True)
class Row:
    """A row of the table, as far as the checks read it."""

    writes: bool


async def _nothing() -> dict[str, object]:
    raise AssertionError("a check must not read the body")


CALL = Call(
    operation="GetObject",
    method="GET",
    bucket="bucket",
    key="key",
    query={},
    headers={},
    request_id="0" * 16,
    raw_path=b"/bucket/key",
    raw_query=b"",
    raw_headers=(),
    resource="/bucket/key",
    source_ip=None,
    body=RawBody(_nothing, size=0),
    principal=Principal("somebody"),
)


def refusal(call: Call, *, writes: bool) -> str:
    """Code of the refusal."""
    with pytest.raises(S3Error) as caught:
        authorize(call, Row(writes))
    return caught.value.code


@pytest.mark.parametrize("key", RESERVED)
def test_reserved_keys(key: str) -> None:
    """The storage layer's own objects are absent for readers and illegal for writers."""
    assert refusal(replace(CALL, key=key), writes=False) == "NoSuchKey"
    assert refusal(replace(CALL, key=key), writes=True) == "InvalidObjectName"


@pytest.mark.parametrize("key", FREE)
@pytest.mark.parametrize("writes", [False, True])
def test_names_that_only_look_like_it(key: str, writes: bool) -> None:
    """Names beside the reserved ones are the clients'."""
    authorize(replace(CALL, key=key), Row(writes))
    authorize(replace(CALL, headers={"x-amz-copy-source": f"bucket/{key}"}), Row(writes))


@pytest.mark.parametrize("source", ["bucket/a.s4index", "/bucket/.s4mpu/id/upload", "bucket/a%2Es4index", "bucket/a.s4index?versionId=1"])
def test_reserved_sources(source: str) -> None:
    """A copy from a reserved name finds nothing, however the name is written and whatever the operation."""
    assert refusal(replace(CALL, headers={"x-amz-copy-source": source}), writes=True) == "NoSuchKey"


def test_bucket_operations_have_no_key() -> None:
    """The empty key is no object's name."""
    authorize(replace(CALL, key=""), Row(writes=True))


def test_nobody_is_refused_first() -> None:
    """Who did not sign learns nothing about names."""
    assert refusal(replace(CALL, principal=None, key="a.s4index"), writes=False) == "AccessDenied"
    assert refusal(replace(CALL, principal=None), writes=False) == "AccessDenied"


def test_every_check_can_refuse() -> None:
    """No check of the list is dead: for each there is a request that only it refuses."""
    requests = [replace(CALL, principal=None), replace(CALL, key="a.s4index"), replace(CALL, headers={"x-amz-copy-source": "b/a.s4index"})]
    found = []
    for call in requests:
        refusing = []
        for check in CHECKS:
            try:
                check(call, Row(writes=False))
            except S3Error:
                refusing.append(check)
        found.append(refusing)

    assert found == [[check] for check in CHECKS]


@pytest.mark.parametrize("operation", sorted(TABLE))
def test_each_operation_passes_the_checks(operation: str) -> None:
    """Every row of the table can be checked: a reserved key is refused in the way that fits what the operation does."""
    entry = TABLE[operation]
    with pytest.raises(S3Error) as caught:
        authorize(replace(CALL, operation=operation, key="a.s4index"), entry)

    assert caught.value.code == ("InvalidObjectName" if entry.writes else "NoSuchKey")
