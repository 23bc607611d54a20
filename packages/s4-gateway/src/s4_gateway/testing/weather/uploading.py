"""What clients upload in parts."""

from s4_gateway.testing.client import Answer
from s4_gateway.testing.weather.content import composite, etag_of
from s4_gateway.testing.weather.drive import LABEL, Act, Stage
from s4_gateway.testing.weather.oracle import Open, State, Upload, Version, Violation
from s4_gateway.testing.weather.schedule import Verb
from s4_gateway.testing.weather.writing import overlooked, refused, require

LAST = 3
"""Part numbers go from 1 to this; only the last may be small."""
ENDED = (Open.DONE, Open.ABORTED)

Manifest = tuple[tuple[int, str], ...]


def _upload(stage: Stage, act: Act) -> Upload | None:
    upload = stage.slots.get(act.step.slot)
    if upload is not None:
        act.key = upload.key
    return upload


def _note_lies(stage: Stage, upload: Upload) -> None:
    upload.spoiled = upload.spoiled or overlooked(stage)


def ended(upload: Upload, act: Act, answer: Answer, stage: Stage) -> bool:
    """The answer says that there is no such upload; then it must have ended."""
    if answer.status != 404 or answer.code != "NoSuchUpload":
        raise stage.unexpected(act, answer)
    upload.narrow(ENDED, f"{act.step.verb} was answered NoSuchUpload")
    return True


async def create(stage: Stage, act: Act) -> bool:
    """CreateMultipartUpload; an upload that is in the slot makes way."""
    answer = await stage.ask(act, "POST", act.key, query={"uploads": ""}, headers={LABEL: act.label})
    if answer is None:
        return False
    if answer.status != 200:
        raise stage.unexpected(act, answer)
    former = stage.slots.get(act.step.slot)
    if former is not None:
        stage.strays.append(former)
    stage.slots[act.step.slot] = Upload(answer.text("UploadId") or "", act.key, act.label)
    return True


async def part(stage: Stage, act: Act) -> bool:
    """UploadPart, also of a number that was sent before."""
    upload = _upload(stage, act)
    if upload is None:
        return True
    number = 1 + act.step.pick % LAST
    scale = stage.world.scale
    shapes = scale.last_parts if number == LAST else scale.parts
    body = shapes[act.step.body % len(shapes)].body(f"{stage.schedule.seed}-{act.serial}")
    return await _put_part(stage, act, upload, number, body=body, headers={})


async def part_copy(stage: Stage, act: Act) -> bool:
    """UploadPartCopy of a whole object."""
    upload = _upload(stage, act)
    if upload is None:
        return True
    return await _put_part(
        stage, act, upload, 1 + act.step.pick % LAST, body=b"", headers={"x-amz-copy-source": f"/{stage.world.bucket}/{act.source}"}
    )


async def _put_part(stage: Stage, act: Act, upload: Upload, number: int, *, body: bytes, headers: dict[str, str]) -> bool:
    query = {"partNumber": str(number), "uploadId": upload.id}
    sources = [stage.content(state) for state in stage.present(act.source)] if headers else [body]
    possible = {etag_of(content): content for content in sources}
    for etag, content in possible.items():
        stage.oracle.bodies.setdefault(etag, content)
    known = upload.parts.setdefault(number, {None})
    answer = await stage.ask(act, "PUT", act.key, query=query, headers=headers, body=body)
    _note_lies(stage, upload)
    if answer is None:
        known.update((etag, len(content)) for etag, content in possible.items())
        return False
    if answer.status == 404 and answer.code == "NoSuchKey" and headers:
        stage.oracle.saw(act.source, {None}, "the source of a part was said not to be there")
        return True
    if answer.status != 200:
        return ended(upload, act, answer, stage)
    etag = ((answer.text("ETag") or "").strip('"') if headers else answer.etag) or ""
    if etag not in possible:
        raise Violation(f"part {number} told ETag {etag}, not one of {sorted(possible)}")
    if headers:
        seen: set[State] = {state for state in stage.present(act.source) if etag_of(stage.content(state)) == etag}
        stage.oracle.saw(act.source, seen, f"a part was copied whose ETag is {etag}")
    upload.parts[number] = {(etag, len(possible[etag]))}
    if any(fault.name == "wrong-etag" for fault in stage.sky.fired):
        # What the gateway has recorded is not what the store will know: Complete will say so, and the part must be sent again.
        upload.parts[number].add(("wrong", 0))
    upload.told[number] = (etag, len(possible[etag]))
    return True


async def complete(stage: Stage, act: Act) -> bool:
    """CompleteMultipartUpload with all parts, now and then without one."""
    upload = _upload(stage, act)
    if upload is None or not upload.told:
        return True
    manifest = tuple((number, etag) for number, (etag, _) in sorted(upload.told.items()))
    if act.step.pick % 7 == 0 and len(manifest) > 1:
        manifest = manifest[:-1]
    if manifest not in upload.manifests:
        upload.manifests.append(manifest)
    return await _complete(stage, act, upload, manifest)


async def complete_again(stage: Stage, act: Act) -> bool:
    """CompleteMultipartUpload with the manifest of the last one."""
    upload = _upload(stage, act)
    if upload is None or not upload.manifests:
        return True
    return await _complete(stage, act, upload, upload.manifests[-1])


def version_of(stage: Stage, upload: Upload, manifest: Manifest) -> Version:
    """The object that a manifest makes."""
    bodies = [stage.oracle.bodies[etag] for _, etag in manifest]
    return stage.remember(b"".join(bodies), composite([etag for _, etag in manifest]), upload.label, [len(body) for body in bodies])


async def _complete(stage: Stage, act: Act, upload: Upload, manifest: Manifest) -> bool:
    key = upload.key
    rows = "".join(f'<Part><PartNumber>{number}</PartNumber><ETag>"{etag}"</ETag></Part>' for number, etag in manifest)
    version = version_of(stage, upload, manifest)
    conditional = act.step.verb is Verb.COMPLETE_IF_ABSENT
    allowed: set[State] | None = {None} if conditional else None
    effect = stage.effect(act, key, [version], once=True)
    answer = await stage.ask(
        act,
        "POST",
        key,
        query={"uploadId": upload.id},
        headers={"if-none-match": "*"} if conditional else {},
        body=f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode(),
        may=_excuses(upload, manifest),
    )
    _note_lies(stage, upload)
    if answer is None:
        if Open.OPEN in upload.states:
            stage.oracle.may_hold(key, [version])
            upload.states.add(Open.DONE)
        return False
    if answer.status == 200:
        _completed(stage, act, upload, version, answer, allowed)
        effect.acknowledged = True
        return True
    if answer.code == "EntityTooSmall" and any(
        len(stage.oracle.bodies[etag]) < stage.world.scale.smallest_part for _, etag in manifest[:-1]
    ):
        return True
    if answer.code == "InvalidPart":
        lied = upload.spoiled or any(fault.name == "cut-list" for fault in stage.sky.fired)
        if not lied and all(upload.parts[number] == {(etag, len(stage.oracle.bodies[etag]))} for number, etag in manifest):
            upload.narrow(ENDED, "Complete was answered InvalidPart")
        return True
    if answer.status == 412 and conditional:
        refused(stage, act, answer, allowed)
        return True
    return ended(upload, act, answer, stage)


def _excuses(upload: Upload, manifest: Manifest) -> list[str]:
    """Errors that say nothing definite and need no fault as a reason."""
    others = [other for other in upload.manifests if other != manifest]
    return ["OperationAborted"] if others or upload.states != {Open.OPEN} else []


def _completed(stage: Stage, act: Act, upload: Upload, version: Version, answer: Answer, allowed: set[State] | None) -> None:
    etag = (answer.text("ETag") or "").strip('"')
    if etag != version.etag:
        raise Violation(f"Complete told ETag {etag}, not that of {version}")
    if Open.OPEN not in upload.states or (version in stage.oracle.states[upload.key] and Open.DONE in upload.states):
        upload.narrow((Open.OPEN, Open.DONE), "Complete succeeded")
        if upload.states == {Open.DONE}:
            stage.oracle.saw(upload.key, {version}, "a repeated Complete said that its object is there")
    else:
        require(stage, act, allowed)
    upload.states = {Open.DONE}
    stage.oracle.holds(upload.key, [version])


async def abort(stage: Stage, act: Act) -> bool:
    """AbortMultipartUpload."""
    upload = _upload(stage, act)
    if upload is None:
        return True
    answer = await stage.ask(act, "DELETE", act.key, query={"uploadId": upload.id})
    if answer is None:
        upload.states.add(Open.ABORTED)
        return False
    if answer.status == 404:
        return ended(upload, act, answer, stage)
    if answer.status != 204:
        raise stage.unexpected(act, answer)
    upload.states = {Open.ABORTED} if upload.states != {Open.DONE} else {Open.DONE}
    return True


async def list_parts(stage: Stage, act: Act) -> bool:
    """ListParts: each number that must be there, with an ETag that it can have."""
    upload = _upload(stage, act)
    if upload is None:
        return True
    answer = await stage.ask(act, "GET", act.key, query={"uploadId": upload.id})
    if answer is None:
        return False
    if answer.status != 200:
        return ended(upload, act, answer, stage)
    if upload.states != {Open.OPEN} or any(fault.name == "cut-list" for fault in stage.sky.fired):
        # What an upload that is ending still shows is nobody's concern.
        return True
    rows = {int(row.findtext("PartNumber") or 0): (row.findtext("ETag") or "").strip('"') for row in answer.xml.iter("Part")}
    for number, possible in upload.parts.items():
        etags = {None if each is None else each[0] for each in possible}
        if rows.get(number) not in etags:
            raise Violation(f"ListParts has {rows.get(number)} for part {number}, which can be {etags}")
    return True


async def list_uploads(stage: Stage, act: Act) -> bool:
    """ListMultipartUploads: what is open for sure."""
    answer = await stage.ask(act, "GET", query={"uploads": ""})
    if answer is None:
        return False
    if answer.status != 200:
        raise stage.unexpected(act, answer)
    if any(fault.name == "cut-list" for fault in stage.sky.fired):
        return True
    listed = set(answer.texts("Upload/UploadId"))
    for upload in [*stage.slots.values(), *stage.strays]:
        if upload.states == {Open.OPEN} and upload.id not in listed:
            raise Violation(f"the open upload {upload.id[:6]} of {upload.key!r} is not listed")
    return True
