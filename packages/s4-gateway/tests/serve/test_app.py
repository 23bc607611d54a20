"""The one function that every request passes, in this process: routing, errors, records."""

import asyncio
import io
import json
import logging
import re
from collections.abc import AsyncIterator, Sequence

import pytest

from s4_gateway.backend.abc import BackendError, Bucket, Outcome, StoreError
from s4_gateway.backend.memory import MemoryBackend
from s4_gateway.errors import ERRORS, S3Error
from s4_gateway.faults import OWN_FAULTS, backend_fault
from s4_gateway.operations.results import CompletedUpload, Content, PendingUpload
from s4_gateway.operations.table import TABLE
from s4_gateway.testing.client import BrokenOff, GatewayClient, make_gateway
from s4_gateway.wire.response import respond


class Moody(MemoryBackend):
    """A store whose listing of buckets does what the test says."""

    trouble: BaseException | None = None
    pings = 0

    async def list_buckets(self) -> Sequence[Bucket]:
        if self.trouble is not None:
            raise self.trouble
        return await super().list_buckets()

    async def ping(self) -> None:
        self.pings += 1
        if self.trouble is not None:
            raise self.trouble


@pytest.fixture(name="store")
def fixture_store() -> Moody:
    """What the gateway stands on."""
    return Moody()


@pytest.fixture(name="log")
def fixture_log() -> io.BytesIO:
    """Takes the access log."""
    return io.BytesIO()


@pytest.fixture(name="client")
async def fixture_client(store: Moody, log: io.BytesIO) -> AsyncIterator[GatewayClient]:
    """A gateway, by its client."""
    async with make_gateway(store, log=log) as client:
        yield client


class TestServicePaths:
    """/health, /ready and /metrics against buckets of these names."""

    @pytest.mark.parametrize("name", ["health", "ready", "metrics"])
    async def test_signed_requests_reach_buckets(self, client: GatewayClient, name: str) -> None:
        """Whoever signs means the bucket, by header or by URL, and it is a bucket like any other."""
        made = await client.request("PUT", name)
        listed = await client.request("GET", name, query={"list-type": "2"})
        head = await client.request("HEAD", name)
        presigned = await client.request("GET", name, query={"X-Amz-Signature": "0" * 64}, signed=False)
        old = await client.request("GET", name, query={"Signature": "x"}, signed=False)

        assert (made.status, listed.text("Name"), head.status) == (200, name, 200)
        assert presigned.code in ("AuthorizationQueryParametersError", "AccessDenied", "InvalidAccessKeyId")
        assert old.code in ("AccessDenied", "UnsupportedSignature", "InvalidRequest", "InvalidAccessKeyId")

    async def test_unsigned_requests_reach_the_gateway(self, client: GatewayClient) -> None:
        """GET and HEAD without a signature get the gateway's own answers, without S3's headers."""
        health = await client.request("GET", "health", signed=False)
        ready = await client.request("GET", "ready", signed=False)
        metrics = await client.request("GET", "metrics", signed=False)
        head = await client.request("HEAD", "health", signed=False)

        assert (health.status, health.body) == (200, b"ok\n")
        assert (ready.status, ready.body) == (200, b"ready\n")
        assert metrics.headers["content-type"].startswith("text/plain; version=")
        assert b"s4_gateway_requests_total" in metrics.body
        assert (head.status, head.body) == (200, b"")
        assert {answer.headers["server"] for answer in (health, ready, metrics, head)} == {"s4-gateway"}

    @pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "OPTIONS"])
    async def test_other_methods_are_s3(self, client: GatewayClient, method: str) -> None:
        """No other method is answered by the gateway itself."""
        answer = await client.request(method, "health", signed=False)

        assert answer.status >= 400
        assert answer.code is not None

    async def test_paths_below_are_s3(self, client: GatewayClient) -> None:
        """Only the exact paths are the gateway's."""
        for path in ("/health/", "/health/x", "//health", "/Health"):
            assert (await client.request("GET", path=path, signed=False)).code in ("AccessDenied", "InvalidBucketName")

    async def test_not_ready(self, client: GatewayClient, store: Moody) -> None:
        """A backend that does not answer gives 503 with the reason, and is not asked again for each one who asks us."""
        store.trouble = BackendError("ServiceUnavailable", 503, "secret detail", outcome=Outcome.UNKNOWN)
        answers = await asyncio.gather(*[client.request("GET", "ready", signed=False) for _ in range(20)])

        assert {(answer.status, answer.body) for answer in answers} == {(503, b"not ready: the backend answered ServiceUnavailable\n")}
        assert store.pings == 1


class TestErrors:
    """Whatever goes wrong becomes one answer."""

    async def test_an_unexpected_error(self, client: GatewayClient, store: Moody, caplog: pytest.LogCaptureFixture) -> None:
        """A bug is InternalError with a request id; its traceback is in the log once, under that id, and nothing of it in the answer."""
        store.trouble = RuntimeError("a secret of the gateway")
        answer = await client.request("GET")
        tracebacks = [record for record in caplog.records if record.exc_info]

        assert (answer.status, answer.code) == (500, "InternalError")
        assert b"secret" not in answer.body
        assert len(tracebacks) == 1
        assert answer.headers["x-amz-request-id"] in tracebacks[0].getMessage()
        assert answer.text("RequestId") == answer.headers["x-amz-request-id"]

    @pytest.mark.parametrize(
        ("error", "status", "code"),
        [
            (BackendError("AccessDenied", 403, "no"), 403, "AccessDenied"),
            (BackendError("NoSuchBucket", 404, "no"), 404, "NoSuchBucket"),
            (BackendError("OddCode", 409, "odd"), 409, "OddCode"),
            (BackendError("SlowDown", 503, "slow", outcome=Outcome.UNKNOWN), 503, "SlowDown"),
            (BackendError("TooManyRequests", 429, "slow"), 503, "SlowDown"),
            (BackendError("InternalError", 500, "boom", outcome=Outcome.UNKNOWN), 503, "ServiceUnavailable"),
            (BackendError("ServiceUnavailable", 503, "gone", outcome=Outcome.UNKNOWN), 503, "ServiceUnavailable"),
            (BackendError("NoSuchKey", 404, "lost", outcome=Outcome.UNKNOWN), 503, "ServiceUnavailable"),
            (BackendError("NotImplemented", 501, "never"), 501, "NotImplemented"),
            (BackendError("PermanentRedirect", 301, "elsewhere"), 503, "ServiceUnavailable"),
            (BackendError("InternalError", 200, "in a 200"), 503, "ServiceUnavailable"),
            (BackendError("<bad code>", 400, "odd"), 503, "ServiceUnavailable"),
            *[(BackendError(code, 403, "ours"), 503, "ServiceUnavailable") for code in sorted(OWN_FAULTS)],
        ],
        ids=lambda value: f"{value.code} {value.status}" if isinstance(value, BackendError) else None,
    )
    async def test_errors_of_the_backend(self, client: GatewayClient, store: Moody, error: BackendError, status: int, code: str) -> None:
        """Refusals pass through, what may be repeated is 503, and clients are not blamed for the gateway's own requests."""
        store.trouble = error
        answer = await client.request("GET")

        assert (answer.status, answer.code) == (status, code)
        assert backend_fault(error).status != 500

    @pytest.mark.parametrize(
        "error",
        [
            StoreError("ServiceUnavailable", 503, "storing a body: the disk is full"),
            StoreError("ServiceUnavailable", 503, "committing: the disk reports an I/O error", outcome=Outcome.UNKNOWN),
            StoreError("InternalError", 500, "the file of body 0000010000000001 is gone"),
        ],
    )
    async def test_trouble_of_a_store_of_our_own(
        self, client: GatewayClient, store: Moody, error: StoreError, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What the embedded store says is told to the client and to the operator: it alone knows what is broken, and why."""
        store.trouble = error
        answer = await client.request("GET")

        assert (answer.status, answer.code, answer.text("Message")) == (error.status, error.code, error.message)
        assert str(error) in caplog.text

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (BackendError("InternalError", 500, "boom", outcome=Outcome.UNKNOWN), "ServiceUnavailable"),
            (S3Error("InvalidPart"), "InvalidPart"),
            (RuntimeError("a secret of the gateway"), "InternalError"),
        ],
        ids=["backend", "S3", "bug"],
    )
    @pytest.mark.parametrize("seconds", [0.0, 0.05], ids=["before the head", "behind the head"])
    async def test_errors_of_a_pending_upload(
        self, client: GatewayClient, log: io.BytesIO, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, seconds: float
    ) -> None:
        """A Complete that fails is an error document, with a status of its own or, behind an early 200, in the body; the log knows."""

        async def done() -> CompletedUpload:
            await asyncio.sleep(seconds)
            raise error

        async def run(*_: object) -> PendingUpload:
            return PendingUpload(done())

        entry = TABLE["CompleteMultipartUpload"]
        monkeypatch.setitem(TABLE, "CompleteMultipartUpload", type(entry)(run, entry.actions, entry.writes))
        monkeypatch.setitem(respond.__kwdefaults__, "heartbeat_seconds", 0.02)
        answer = await client.request("POST", "bucket", "key", query={"uploadId": "x"})
        await client.services.access_log.close()

        assert answer.code == code
        assert (answer.status == 200) is (seconds > 0)
        assert f" error={code} ".encode() in log.getvalue()
        assert b"secret" not in answer.body

    async def test_operations_that_are_not_built(self, client: GatewayClient) -> None:
        """A known operation without a handler is NotImplemented, signed; unsigned it is AccessDenied like all others."""
        await client.request("PUT", "bucket")
        signed = await client.request("GET", "bucket", query={"policy": ""})
        unsigned = await client.request("GET", "bucket", query={"policy": ""}, signed=False)

        assert TABLE["GetBucketPolicy"].run is None
        assert (signed.status, signed.code, unsigned.code) == (501, "NotImplemented", "AccessDenied")

    async def test_requests_that_have_no_address(self, client: GatewayClient, log: io.BytesIO) -> None:
        """A request that cannot be parsed is answered and logged with an id of its own."""
        answer = await client.request("GET", path="/bucket/%zz", signed=False)
        client.services.access_log.flush()
        await client.services.access_log.close()
        line = log.getvalue().decode()

        assert (answer.status, answer.code) == (400, "InvalidURI")
        assert re.fullmatch(r"[0-9A-F]{16}", answer.headers["x-amz-request-id"])
        assert f"request_id={answer.headers['x-amz-request-id']} operation=Unknown" in line

    async def test_every_answer_has_an_id(self, client: GatewayClient) -> None:
        """Successes, errors and HEAD alike; no two are the same."""
        answers = [
            await client.request("PUT", "bucket"),
            await client.request("HEAD", "bucket", "nothing"),
            await client.request("GET", "x"),
        ]

        assert len({answer.headers["x-amz-request-id"] for answer in answers}) == 3


class TestRecords:
    """One count and one line a request."""

    async def lines(self, client: GatewayClient, log: io.BytesIO) -> list[dict[str, str]]:
        """All lines as dicts."""
        await client.services.access_log.close()
        return [dict(re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', line)) for line in log.getvalue().decode().splitlines()]

    async def test_a_line_says_what_happened(self, client: GatewayClient, log: io.BytesIO) -> None:
        """Who did what to which key, with which outcome, bytes and time."""
        await client.request("PUT", "bucket")
        await client.request("PUT", "bucket", "a key\n", body=b"x" * 1000, headers={"user-agent": "agent/1"})
        await client.request("GET", "bucket", "a key\n")
        await client.request("GET", "bucket", "absent")
        _, put, get, absent = await self.lines(client, log)

        assert (put["operation"], put["principal"], put["bucket"], put["key"]) == ("PutObject", "testclient", "bucket", '"a key\\n"')
        assert (put["status"], put["bytes_in"], put["bytes_out"], put["user_agent"]) == ("200", "1000", "0", "agent/1")
        assert (get["status"], get["bytes_in"], get["bytes_out"], get["source_ip"]) == ("200", "0", "1000", "127.0.0.1")
        assert (absent["status"], absent["error"]) == ("404", "NoSuchKey")
        assert float(put["ms"]) > 0

    async def test_all_operations_are_counted(self, client: GatewayClient) -> None:
        """Every request is one request in the metrics, under its operation and status, refused ones included."""
        await client.request("PUT", "bucket")
        await client.request("HEAD", "bucket")
        await client.request("HEAD", "bucket", "absent")
        await client.request("GET", "bucket", query={"uploads": ""})
        await client.request("GET", "bucket", signed=False)
        counted = {key: value for key, value in client.services.metrics.tallies["s4_gateway_requests"].items() if value}

        assert counted == {
            ("CreateBucket", "200"): 1,
            ("HeadBucket", "200"): 1,
            ("HeadObject", "404"): 1,
            ("ListMultipartUploads", "200"): 1,
            ("ListObjects", "403"): 1,
        }

    async def test_a_client_that_leaves(self, client: GatewayClient, log: io.BytesIO) -> None:
        """A request whose client went away is recorded with status 499, and nothing is stored."""
        await client.request("PUT", "bucket")
        with pytest.raises(BrokenOff) as caught:
            await client.request("PUT", "bucket", "key", body=b"x" * 300_000, payload="unsigned", disconnect_after=100_000)
        absent = await client.request("HEAD", "bucket", "key")
        line = (await self.lines(client, log))[1]

        assert caught.value.answer is None
        assert absent.status == 404
        assert (line["status"], line["error"], line["bytes_in"]) == ("499", "ClientDisconnected", "100000")

    async def test_a_cancelled_request(self, client: GatewayClient, store: Moody, log: io.BytesIO) -> None:
        """So is one that the server cancelled; nothing is in flight any more."""
        store.trouble = asyncio.CancelledError()
        with pytest.raises(asyncio.CancelledError):
            await client.request("GET")
        store.trouble = None

        assert client.services.metrics.in_flight == 0
        assert [line["status"] for line in await self.lines(client, log)] == ["499"]

    async def test_an_answer_that_breaks(self, client: GatewayClient, log: io.BytesIO, caplog: pytest.LogCaptureFixture) -> None:
        """A body that fails behind its head is broken off, not ended, and both logs say so."""
        await client.request("PUT", "bucket")
        caplog.set_level(logging.WARNING)

        async def failing() -> AsyncIterator[bytes]:
            yield b"x"
            raise S3Error("InternalError", "a damaged frame")

        async def run(*_: object) -> Content:
            return Content(200, {}, 100, failing())

        entry = TABLE["GetObject"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(TABLE, "GetObject", type(entry)(run, entry.actions))  # type: ignore[arg-type]
            with pytest.raises(BrokenOff) as caught:
                await client.request("GET", "bucket", "key")
        line = (await self.lines(client, log))[1]

        assert caught.value.answer is not None
        assert (line["status"], line["error"]) == ("200", "InternalError")
        assert any("broken off" in record.getMessage() for record in caplog.records)


def test_all_own_codes_are_http_errors() -> None:
    """Every code in the table has a status of its own kind: none is a 200, none an unexpected 500."""
    assert {status for status, _ in ERRORS.values()} <= {400, 403, 404, 405, 409, 411, 412, 416, 500, 501, 503}
    assert [code for code, (status, _) in ERRORS.items() if status == 500] == ["InternalError"]
    assert json.dumps(sorted(ERRORS)) == json.dumps(list(ERRORS))
