"""ListObjects and ListObjectsV2."""

import base64
import binascii
from dataclasses import dataclass
from functools import lru_cache

from s4_gateway.call import Call
from s4_gateway.errors import S3Error
from s4_gateway.objects.attributes import shown_algorithms
from s4_gateway.objects.listing import LogicalPage
from s4_gateway.objects.store import ObjectStore
from s4_gateway.operations.answers import OWNER
from s4_gateway.operations.results import ObjectList, ObjectRow
from s4_gateway.wire.headers import int_param

MAX_KEYS = 1000


@dataclass(frozen=True, slots=True)
class _Ask:
    prefix: str
    delimiter: str
    max_keys: int
    url_encoded: bool

    @classmethod
    def of(cls, call: Call) -> "_Ask":
        encoding = call.query.get("encoding-type", "")
        if encoding not in ("", "url"):
            raise S3Error("InvalidArgument", "Invalid Encoding Method specified in Request", fields={"ArgumentName": "encoding-type"})
        return cls(
            call.query.get("prefix", ""),
            call.query.get("delimiter", ""),
            min(int_param(call.query, "max-keys", default=MAX_KEYS, low=0, high=2**31 - 1), MAX_KEYS),
            encoding == "url",
        )


async def _page(store: ObjectStore, call: Call, ask: _Ask, after: str) -> LogicalPage:
    if ask.max_keys == 0:
        # Nothing can be listed, but a bucket that is not there is still an error.
        await store.core.backend.head_bucket(call.bucket)
        return LogicalPage((), (), None)
    return await store.lister.page(call.bucket, prefix=ask.prefix, delimiter=ask.delimiter, after=after, limit=ask.max_keys)


def _rows(page: LogicalPage) -> list[ObjectRow]:
    rows: list[ObjectRow] = []
    for key, modified, attributes, storage_class in page.entries:
        algorithms = _shown_algorithms(tuple(attributes.checksums))
        rows.append(
            ObjectRow(key, attributes.size, attributes.etag, modified, storage_class or "STANDARD", algorithms, attributes.checksum_type)
        )
    return rows


@lru_cache(maxsize=256)
def _shown_algorithms(names: tuple[str, ...]) -> tuple[str, ...]:
    """Of checksums by these names, those that clients are told of, as S3 names them."""
    return tuple(sorted(map(str.upper, shown_algorithms(names))))


async def list_objects(store: ObjectStore, call: Call) -> ObjectList:
    """ListObjects (version 1): NextMarker only with a delimiter, as S3."""
    ask = _Ask.of(call)
    marker = call.query.get("marker", "")
    page = await _page(store, call, ask, marker)
    return ObjectList(
        call.bucket,
        ask.prefix,
        ask.delimiter,
        ask.max_keys,
        page.last is not None,
        _rows(page),
        page.prefixes,
        ask.url_encoded,
        version=1,
        marker=marker,
        next_marker=page.last if ask.delimiter else None,
        owner=OWNER,
    )


async def list_objects_v2(store: ObjectStore, call: Call) -> ObjectList:
    """ListObjectsV2; a continuation token is the last name returned."""
    ask = _Ask.of(call)
    token = call.query.get("continuation-token")
    start_after = call.query.get("start-after")
    page = await _page(store, call, ask, start_after or "" if token is None else decode_token(token))
    return ObjectList(
        call.bucket,
        ask.prefix,
        ask.delimiter,
        ask.max_keys,
        page.last is not None,
        _rows(page),
        page.prefixes,
        ask.url_encoded,
        version=2,
        token=token,
        next_token=encode_token(page.last) if page.last is not None else None,
        start_after=start_after,
        owner=OWNER if call.query.get("fetch-owner") == "true" else None,
    )


def encode_token(name: str) -> str:
    """A continuation token: URL-safe base64 of the name's UTF-8."""
    return base64.urlsafe_b64encode(name.encode()).decode()


def decode_token(token: str) -> str:
    """The name in a token.

    Raises:
        S3Error: InvalidArgument, as S3, for what no listing gave out.
    """
    try:
        name = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        name = ""
    if not name:
        raise S3Error(
            "InvalidArgument",
            "The continuation token provided is incorrect",
            fields={"ArgumentName": "continuation-token", "ArgumentValue": token},
        )
    return name
