"""Every S3 operation has one route, and nothing else changes it."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4_gateway.errors import S3Error
from s4_gateway.wire.routes import OPERATIONS, QUALIFIERS, ROUTES, Level, route

from .helpers import OPERATIONS_OF_S3

NOT_ROUTED = {
    "GetBucketLifecycle": "old name of GetBucketLifecycleConfiguration, same request",
    "PutBucketLifecycle": "old name of PutBucketLifecycleConfiguration, same request",
    "GetBucketNotification": "old name of GetBucketNotificationConfiguration, same request",
    "PutBucketNotification": "old name of PutBucketNotificationConfiguration, same request",
    "ListDirectoryBuckets": "ListBuckets at another host",
    "WriteGetObjectResponse": "an operation of the Object Lambda hosts",
}


def modelled(operation: str) -> tuple[str, Level, dict[str, str], dict[str, str]]:
    """Method, level, query and headers that S3 demands of a request."""
    model = OPERATIONS_OF_S3[operation]
    query = model["query"] | dict.fromkeys(model["required_query"], "1")
    return model["method"], Level[model["level"].upper()], query, dict.fromkeys(model["required_headers"], "x")


@pytest.mark.parametrize("operation", sorted(OPERATIONS_OF_S3.keys() - NOT_ROUTED.keys()))
def test_every_operation_of_the_model_is_routed(operation: str) -> None:
    """The least request of each operation goes there, with and without x-id and the parameters of a presigned URL."""
    method, level, query, headers = modelled(operation)
    assert route(method, level, query, headers) == operation
    noise = {"x-id": "PutObject", "X-Amz-Signature": "0", "X-Amz-Date": "0", "utm_source": "mail", "versionId": "null"}
    assert route(method, level, noise | query, headers) == operation


def test_the_table_holds_nothing_but_the_model() -> None:
    """Each row is an operation of S3, and none is there twice."""
    assert OPERATIONS_OF_S3.keys() - NOT_ROUTED.keys() == OPERATIONS
    assert len({(row.method, row.level, row.parameters) for row in ROUTES}) == len(ROUTES)


@pytest.mark.parametrize("parameter", sorted({name for row in ROUTES for name in row.parameters}))
@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
@pytest.mark.parametrize("level", [Level.BUCKET, Level.OBJECT])
def test_a_sub_resource_never_falls_back_to_the_whole(method: str, level: Level, parameter: str) -> None:
    """`DELETE /bucket/key?acl` never deletes the object, `PUT /bucket?cors` never makes a bucket."""
    try:
        operation = route(method, level, {parameter: ""}, {})
    except S3Error as error:
        operation = error.code
    rows = [row.operation for row in ROUTES if (row.method, row.level, row.parameters) == (method, level, {parameter})]
    assert operation in (rows or ("MethodNotAllowed", "InvalidArgument", "NotImplemented"))


@pytest.mark.parametrize(
    ("method", "level", "query", "operation"),
    [
        ("GET", Level.OBJECT, {"partNumber": "2"}, "GetObject"),
        ("HEAD", Level.OBJECT, {"partNumber": "2", "versionId": "null"}, "HeadObject"),
        ("GET", Level.OBJECT, {"uploadId": "u", "partNumber": "1"}, "ListParts"),
        ("GET", Level.OBJECT, {"lifecycle": "x", "id": "7"}, "GetObject"),
        ("GET", Level.BUCKET, {"list-type": "2", "id": "7", "prefix": "uploads"}, "ListObjectsV2"),
        ("GET", Level.BUCKET, {"id": "7"}, "ListObjects"),
        ("GET", Level.BUCKET, {"prefix": "", "delimiter": "/", "marker": "acl"}, "ListObjects"),
        ("GET", Level.BUCKET, {"inventory": "", "id": "7"}, "GetBucketInventoryConfiguration"),
        ("GET", Level.SERVICE, {"prefix": "x"}, "ListBuckets"),
    ],
)
def test_reads_keep_their_parameters(method: str, level: Level, query: dict[str, str], operation: str) -> None:
    """A parameter that means nothing at this level, or qualifies the read, changes no read."""
    assert route(method, level, query, {}) == operation


@pytest.mark.parametrize(
    ("method", "level", "query", "code"),
    [
        ("PUT", Level.OBJECT, {"partNumber": "1"}, "InvalidArgument"),
        ("PUT", Level.OBJECT, {"uploadId": "u"}, "InvalidArgument"),
        ("PUT", Level.OBJECT, {"uploadId": "u", "partNumber": "1", "acl": ""}, "InvalidArgument"),
        ("GET", Level.OBJECT, {"acl": "", "tagging": ""}, "InvalidArgument"),
        ("GET", Level.BUCKET, {"list-type": "3"}, "InvalidArgument"),
        ("GET", Level.BUCKET, {"list-type": ""}, "InvalidArgument"),
        ("DELETE", Level.BUCKET, {"id": "7"}, "MethodNotAllowed"),
        ("DELETE", Level.OBJECT, {"lifecycle": ""}, "MethodNotAllowed"),
        ("HEAD", Level.OBJECT, {"tagging": ""}, "MethodNotAllowed"),
        ("POST", Level.OBJECT, {}, "MethodNotAllowed"),
        ("POST", Level.SERVICE, {}, "MethodNotAllowed"),
        ("POST", Level.BUCKET, {}, "NotImplemented"),
        ("OPTIONS", Level.OBJECT, {}, "MethodNotAllowed"),
        ("PATCH", Level.BUCKET, {}, "MethodNotAllowed"),
        ("DELETE", Level.SERVICE, {}, "MethodNotAllowed"),
    ],
)
def test_refusals(method: str, level: Level, query: dict[str, str], code: str) -> None:
    """What is no operation is refused with S3's code."""
    with pytest.raises(S3Error) as caught:
        route(method, level, query, {})
    assert caught.value.code == code


def test_a_refused_method_names_the_others() -> None:
    """405 has Allow (RFC 9110, section 15.5.6)."""
    with pytest.raises(S3Error) as caught:
        route("PATCH", Level.OBJECT, {"tagging": ""}, {})
    assert caught.value.headers == {"allow": "DELETE, GET, PUT"}


@pytest.mark.parametrize(("query", "operation"), [({}, "CopyObject"), ({"uploadId": "u", "partNumber": "1"}, "UploadPartCopy")])
def test_copies_are_told_by_their_header(query: dict[str, str], operation: str) -> None:
    """Only the header makes a copy, even an empty one; a parameter of that name does not."""
    assert route("PUT", Level.OBJECT, query, {"x-amz-copy-source": ""}) == operation
    assert route("PUT", Level.OBJECT, query | {"x-amz-copy-source": "/b/k"}, {}) != operation


@given(
    st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "get", ""]),
    st.sampled_from(Level),
    st.dictionaries(
        st.sampled_from(sorted({name for row in ROUTES for name in row.parameters} | {"foo", "x-id"})),
        st.sampled_from(["", "1", "2"]),
        max_size=4,
    ),
)
def test_every_request_is_an_operation_or_refused(method: str, level: Level, query: dict[str, str]) -> None:
    """No combination breaks the table, and a writing operation is only reached with exactly its parameters."""
    try:
        operation = route(method, level, query, {})
    except S3Error:
        return
    row = next(row for row in ROUTES if row.operation == operation)
    assert (row.method, row.level) == (method, level)
    assert row.parameters <= query.keys()
    if method not in ("GET", "HEAD"):
        known = {name for other in ROUTES for name in other.parameters}
        assert row.parameters == known & query.keys()


def test_qualifiers_are_parameters_of_routes() -> None:
    """A qualifier that no route uses would be dead, and one that stands alone no qualifier."""
    assert all(any(name in row.parameters for row in ROUTES) for name in QUALIFIERS)
    assert not any({name} == row.parameters for name, row in product(QUALIFIERS, ROUTES))
