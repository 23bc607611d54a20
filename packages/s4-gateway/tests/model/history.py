"""Plays histories: every answer of the gateways against the perfect S3's, and what both gateways show of the keys that were touched."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import unquote

from s4_format import Manifest

from s4_gateway.backend.abc import BackendError, Pieces
from s4_gateway.testing.client import Answer, BrokenOff

from .foreign import foreign
from .judge import differences, last_name
from .perfect import PerfectS3
from .requests import BUILDERS, Uploads
from .steps import BUCKETS, DELIMITERS, HEADER_SETS, Step
from .uploads import Rules
from .values import Bucket, Object, Reply, Request, State, is_reserved
from .world import World
from .writes import kept

WRITES = frozenset({"put", "copy", "delete", "complete", "behind", "behind_delete"})
"""Steps that touch the object at their key."""
APART = 3
"""Seconds between two writes of the same bytes to one key: a store over HTTP tells the time of a write to about a second either way."""
PATIENCE = 20.0
"""Seconds for one request."""


class Wrong(AssertionError):
    """The gateway answered something else than S3 would; says what, and at which step."""

    def __init__(self, at: int, step: object, findings: Sequence[str]) -> None:
        super().__init__(f"step {at}, {step}:\n  " + "\n  ".join(findings))
        self.at = at


@dataclass(slots=True)
class Seen:
    """What histories came across, so that a test can tell that they went everywhere."""

    answers: Counter[str] = field(default_factory=Counter)
    """By step and code (or status)."""
    forms: Counter[str] = field(default_factory=Counter)
    """Stored forms of the objects that were written."""
    steps: int = 0
    requests: int = 0


def _comes_again(answer: Answer) -> bool:
    """A refusal of a request that met another one: nothing happened, and the client is to try again."""
    return answer.code in ("OperationAborted", "ConditionalRequestConflict")


class History:
    """One history on its way."""

    def __init__(self, world: World, *, rules: Rules, frame_size: int, seen: Seen) -> None:
        self._world = world
        self._frame_size = frame_size
        self._model = PerfectS3(rules, now=world.clock.now)
        self._model.state.buckets = {name: Bucket() for name in world.buckets}
        self._ids: dict[str, str] = {}
        self._uploads = Uploads(self._ids)
        self._seen = seen
        self._at = 0
        self._step: Step | str = "the beginning"
        self._last = ""
        """Last name of a listing's page: what a token stands for."""
        self._others: list[State] = []
        """Where else the service may be, after two requests at once; further answers tell."""
        self._written: dict[tuple[str, str, bytes], int] = {}
        self._touched: set[tuple[str, str]] = set()

    async def play(self, steps: Sequence[Step]) -> None:
        """All steps, then the end, where everything is looked at and cleared away.

        Raises:
            Wrong: an answer was not S3's.
        """
        for self._at, self._step in enumerate(steps):
            await self._take(self._step)
            self._seen.steps += 1
        self._at, self._step = len(steps), "the end"
        await self._end()

    async def _take(self, step: Step) -> None:
        special = getattr(self, f"_{step.what}", None)
        if special is not None:
            await special(step)
        else:
            await self._plain(step)
        if step.what in WRITES:
            self._touched.add((step.bucket, step.key))
            await self._probe(step.bucket, step.key, step.probe or 0)
        for key in step.keys or ():
            await self._probe(step.bucket, key, step.probe or 0)

    async def _plain(self, step: Step) -> None:
        request = await self._request(step)
        self._note(step, await self._ask(step.gateway or 0, request, unsigned=bool(step.unsigned)))

    async def _request(self, step: Step) -> Request:
        if step.what in ("part", "copy_part"):
            # Which of two parts is the newer one is told by milliseconds.
            await asyncio.sleep(0.002)
        builder = BUILDERS.get(step.what) or getattr(self._uploads, step.what)
        request: Request = builder(self._model.state, step)
        self._keep_apart(request)
        return request

    def _note(self, step: Step, answer: Answer) -> None:
        self._seen.answers[f"{step.what} {answer.code or answer.status}"] += 1
        if step.what == "create" and answer.status == 200:
            self._ids[step.label] = answer.text("UploadId") or ""

    def _keep_apart(self, request: Request) -> None:
        """Let no two writes of the same bytes to one key fall into the same second: a listing cannot tell them apart, and so another
        gateway would go on showing the checksums of the first one (data-paths.md, section 4).
        """
        if request.method != "PUT" or not request.key or "partNumber" in request.query:
            return
        body = request.body
        if "x-amz-copy-source" in request.headers:
            bucket, _, key = unquote(request.headers["x-amz-copy-source"])[1:].partition("/")
            place = self._model.state.buckets.get(bucket)
            source = place.objects.get(key) if place is not None else None
            body = source.body if source is not None else b""
        self._written_at(request.bucket, request.key, body)

    def _written_at(self, bucket: str, key: str, body: bytes) -> None:
        clock = self._world.clock
        last = self._written.get((bucket, key, body))
        if last is not None and clock.now - last < APART:
            clock.now = last + APART
        self._written[bucket, key, body] = clock.now

    async def _ask(self, gateway: int, request: Request, *, unsigned: bool = False) -> Answer:
        """Send a request, and compare."""
        answer = await self._send(gateway, request, unsigned=unsigned)
        outcomes: list[tuple[list[str], State]] = []
        for state in (self._model.state, *self._others):
            state.now = self._world.clock.now
            outcomes.append(self._outcome(request, answer, state))
        right: list[State] = []
        for findings, state in outcomes:
            if not findings and state not in right:
                right.append(state)
        if not right:
            raise self._wrong([f"gateway {gateway}, {request.about}:", *outcomes[0][0]])
        self._model.state, *self._others = right
        return answer

    async def _send(self, gateway: int, request: Request, *, unsigned: bool = False) -> Answer:
        client = self._world.gateways[gateway]
        self._seen.requests += 1
        try:
            async with asyncio.timeout(PATIENCE):
                return await client.request(
                    request.method,
                    request.bucket,
                    request.key,
                    query=request.query,
                    headers=request.headers,
                    body=request.body,
                    payload="unsigned" if unsigned else "literal",
                )
        except (BrokenOff, TimeoutError) as error:
            raise self._wrong([f"gateway {gateway}, {request.about}: {error!r}"]) from error

    def _outcome(self, request: Request, answer: Answer, before: State) -> tuple[list[str], State]:
        """What is wrong with an answer to a request that met this state, and the state that it leaves."""
        grain = self._world.store.grain
        asked = request
        if "continuation-token" in request.query:
            asked = replace(request, query={**request.query, "continuation-token": self._last})
        upload_id = answer.text("UploadId") or "" if "uploads" in request.query and answer.status == 200 and request.key else ""
        said, after = self._answered(asked, before, self._model.rules, upload_id)
        findings = differences(request, answer, said, grain=grain)
        for rules, state in self._choices(request, said, before) if findings else ():
            other, left = self._answered(asked, state, rules, upload_id)
            if not differences(request, answer, other, grain=grain) and (state is before or answer.status >= 400):
                return [], left if answer.status < 400 else before
        return findings, after

    @staticmethod
    def _answered(request: Request, before: State, rules: Rules, upload_id: str) -> tuple[Reply, State]:
        model = PerfectS3(rules, now=before.now)
        model.state = before.copy()
        return model.answer(request, upload_id=upload_id), model.state

    def _choices(self, request: Request, reply: Reply, before: State) -> Iterator[tuple[Rules, State]]:
        """What a service may do instead."""
        rules = self._model.rules
        if (request.method == "POST" and "uploadId" in request.query) or "x-amz-copy-source" in request.headers:
            yield replace(rules, keeps_overwritten=True, copies_anew=True), before
        if reply.code == "NoSuchBucket":
            # Which of two reasons for a refusal is told is nowhere said.
            other = before.copy()
            for name in BUCKETS:
                other.buckets.setdefault(name, Bucket())
            yield rules, other

    def _wrong(self, findings: Sequence[str]) -> Wrong:
        return Wrong(self._at, self._step, findings)

    # What is looked at after a step

    async def _probe(self, bucket: str, key: str, gateway: int) -> None:
        """The surfaces agree about a key, on either gateway."""
        await self._ask(gateway, Request("HEAD", bucket, key, headers={"x-amz-checksum-mode": "ENABLED"}))
        await self._ask(1 - gateway, Request("GET", bucket, key))
        await self._ask(gateway, Request("GET", bucket, query={"list-type": "2", "prefix": key, "encoding-type": "url"}))
        names = "ETag,Checksum,ObjectParts,StorageClass,ObjectSize"
        await self._ask(1 - gateway, Request("GET", bucket, key, {"attributes": ""}, {"x-amz-object-attributes": names}))

    async def _end(self) -> None:
        """Both gateways show all of it; when it is deleted nothing of it is left in the store."""
        for bucket, place in list(self._model.state.buckets.items()):
            for gateway in (0, 1):
                await self._ask(gateway, Request("GET", bucket, query={"encoding-type": "url"}))
            for key in list(place.objects):
                await self._probe(bucket, key, 0)
                self._seen.forms[await self._form(bucket, key)] += 1
            for key in [*place.objects, *(key for at, key in sorted(self._touched) if at == bucket)]:
                await self._ask(0, Request("DELETE", bucket, key))
            for upload in list(place.uploads.values()):
                await self._ask(1, Request("DELETE", bucket, upload.key, {"uploadId": upload.id}))
        await self._sweep(Step("sweep", gateway=0))
        behind = self._world.store.behind
        for bucket in list(self._model.state.buckets):
            left = [entry.key for entry in (await behind.list_objects(bucket)).entries]
            left += [upload.key for upload in await behind.list_multipart(bucket)]
            if left:
                raise self._wrong([f"left behind in {bucket}: {left}"])
            await self._ask(0, Request("DELETE", bucket))

    async def _form(self, bucket: str, key: str) -> str:
        """How an object lies in the store."""
        manifest = Manifest.from_metadata((await self._world.store.behind.head_object(bucket, key)).metadata)
        if not manifest.is_s4:
            return "foreign"
        if manifest.multipart:
            return "multipart"
        if not manifest.framed:
            return "raw"
        if not manifest.trailer:
            return "framed"
        return "streamed" if manifest.logical_etag is None else "frames and trailer"

    # Steps that are no single request

    async def _together(self, step: Step) -> None:
        """Two requests at the same time, one on each gateway: the answers are those of one after the other, in either order."""
        requests = [await self._request(each) for each in (step.first, step.second)]
        answers = await asyncio.gather(*(self._send(gateway, request) for gateway, request in enumerate(requests)))
        told: list[str] = []
        right: list[State] = []
        for before in (self._model.state, *self._others):
            before.now = self._world.clock.now
            for order in ((0, 1), (1, 0)):
                findings, state = self._one_by_one([(requests[number], answers[number]) for number in order], before)
                told += findings
                if not findings and state not in right:
                    right.append(state)
        if not right:
            raise self._wrong([*(f"gateway {n}, {request.about}: {answers[n].status}" for n, request in enumerate(requests)), *told])
        self._model.state, *self._others = right
        for each, answer in zip((step.first, step.second), answers, strict=True):
            self._note(each, answer)
        for bucket, key in sorted({(each.bucket, each.key) for each in (step.first, step.second)}):
            self._touched.add((bucket, key))
            for gateway in (0, 1):
                await self._probe(bucket, key, gateway)

    def _one_by_one(self, pairs: Sequence[tuple[Request, Answer]], state: State) -> tuple[list[str], State]:
        """What is wrong with these answers if the requests came in this order."""
        for request, answer in pairs:
            findings, left = self._outcome(request, answer, state)
            if not findings:
                state = left
            elif not _comes_again(answer):
                return [f"if it comes {'first' if request is pairs[0][0] else 'last'}, {request.about}:", *findings], state
        return [], state

    async def _list(self, step: Step) -> None:
        """All pages, from either gateway by turns."""
        query = {"prefix": step.prefix, "delimiter": step.delimiter, "max-keys": str(step.page)}
        query = {name: value for name, value in query.items() if value}
        if step.encoded:
            query["encoding-type"] = "url"
        if step.version == 2:
            query["list-type"] = "2"
        after = "start-after" if step.version == 2 else "marker"
        if step.after:
            query[after] = step.after
        for page in range(100):
            answer = await self._ask((step.gateway or 0) + page & 1, Request("GET", step.bucket, query=query))
            self._seen.answers[f"list {answer.code or answer.status}"] += 1
            if answer.status != 200 or answer.text("IsTruncated") != "true":
                return
            self._last = last_name(answer)
            if step.version == 2:
                query["continuation-token"] = answer.text("NextContinuationToken") or ""
            else:
                query[after] = self._last
        raise self._wrong(["the listing has no end"])

    async def _list_uploads(self, step: Step) -> None:
        """All pages."""
        query = {"uploads": "", "prefix": step.prefix, "delimiter": step.delimiter, "max-uploads": str(step.page)}
        query = {name: value for name, value in query.items() if value or name == "uploads"}
        if step.encoded:
            query["encoding-type"] = "url"
        for page in range(100):
            request = Request("GET", step.bucket, query=query)
            answer = await self._ask((step.gateway or 0) + page & 1, request)
            self._seen.answers[f"list_uploads {answer.code or answer.status}"] += 1
            if answer.status != 200 or answer.text("IsTruncated") != "true":
                return
            said, _ = self._answered(request, self._model.state, self._model.rules, "")
            markers = {name: text for name, text in said.body[1] if isinstance(text, str)}  # type: ignore[misc]
            query |= {"key-marker": markers["NextKeyMarker"], "upload-id-marker": markers["NextUploadIdMarker"]}
            if not query["upload-id-marker"]:
                del query["upload-id-marker"]
        raise self._wrong(["the listing has no end"])

    async def _clock(self, step: Step) -> None:
        self._world.clock.now += step.seconds

    async def _restart(self, step: Step) -> None:
        await self._world.restart(step.gateway or 0, lose=bool(step.lose))

    async def _reopen(self, _step: Step) -> None:
        await self._world.reopen()

    async def _sweep(self, step: Step) -> None:
        """Nothing that anybody can see goes with it."""
        await self._world.gateways[step.gateway or 0].services.store.sweep()

    async def _behind(self, step: Step) -> None:
        """Somebody else's object."""
        place = self._model.state.buckets.get(step.bucket)
        if place is None or is_reserved(step.key):
            return
        self._written_at(step.bucket, step.key, b"".join(body.bytes for body in step.bodies))
        made = foreign(step.form, [body.bytes for body in step.bodies], frame_size=self._frame_size, min_part=self._model.rules.min_part)
        headers, metadata = kept(HEADER_SETS[step.headers or 0])
        store = self._world.store.behind
        payload = Pieces.of(made.stored)
        written = await store.put_object(step.bucket, step.key, payload, headers=headers, metadata={**metadata, **made.metadata})
        sidecar = made.sidecar(written.etag)
        if sidecar is not None:
            await store.put_object(step.bucket, f"{step.key}.s4index", Pieces.of(sidecar), headers={}, metadata={})
        etag = written.etag if made.etag == "" else made.etag
        body = b"".join(body.bytes for body in step.bodies)
        place.objects[step.key] = Object(body, etag, self._world.clock.now, headers, metadata, parts=made.parts)

    async def _behind_delete(self, step: Step) -> None:
        """Somebody else deletes it, and leaves its sidecar, unless a listing could show a folder for that alone."""
        place = self._model.state.buckets.get(step.bucket)
        if place is None or place.objects.pop(step.key, None) is None:
            return
        try:
            await self._world.store.behind.delete_object(step.bucket, step.key)
            if any(delimiter in step.key for delimiter in DELIMITERS if delimiter):
                await self._world.store.behind.delete_object(step.bucket, f"{step.key}.s4index")
        except BackendError as error:
            raise self._wrong([f"the store refused to delete: {error}"]) from error
