"""What clients read: objects, ranges, parts, listings."""

from s4_gateway.testing.client import Answer
from s4_gateway.testing.weather.drive import Act, Stage
from s4_gateway.testing.weather.oracle import State, Version, Violation
from s4_gateway.testing.weather.schedule import KEYS

LIST_LIE = "cut-list"


def _absent(stage: Stage, act: Act, answer: Answer) -> bool:
    """A 404 says that there is no object."""
    if answer.status != 404 or answer.code not in ("NoSuchKey", None):
        raise stage.unexpected(act, answer)
    stage.oracle.saw(act.key, {None}, f"{act.step.verb} said that there is no object")
    return True


def _same(body: bytes, wanted: bytes, what: str) -> None:
    if body != wanted:
        at = next((at for at, (got, want) in enumerate(zip(body, wanted, strict=False)) if got != want), min(len(body), len(wanted)))
        raise Violation(f"{what}: {len(body)} bytes that differ at {at} from the {len(wanted)} right ones")


async def get(stage: Stage, act: Act) -> bool:
    """GetObject of the whole."""
    answer = await stage.ask(act, "GET", act.key)
    if answer is None:
        return False
    if answer.status != 200:
        return _absent(stage, act, answer)
    version = stage.told(answer, int(answer.headers["content-length"]))
    stage.oracle.saw(act.key, {version}, f"GET gave {version}")
    _same(answer.body, stage.content(version), f"GET of {version}")
    return True


async def head(stage: Stage, act: Act) -> bool:
    """HeadObject."""
    answer = await stage.ask(act, "HEAD", act.key)
    if answer is None:
        return False
    if answer.status != 200:
        return _absent(stage, act, answer)
    version = stage.told(answer, int(answer.headers["content-length"]))
    stage.oracle.saw(act.key, {version}, f"HEAD told of {version}")
    return True


async def get_range(stage: Stage, act: Act) -> bool:
    """GetObject of a range that begins somewhere in an object of one of the sizes and may end behind it."""
    scale = stage.world.scale
    first = scale.objects[1 + act.step.body % (len(scale.objects) - 1)].size * act.step.pick // 1000
    last = first + scale.largest * (act.step.body // 10) // 200
    answer = await stage.ask(act, "GET", act.key, headers={"range": f"bytes={first}-{last}"})
    if answer is None:
        return False
    if answer.status == 416:
        behind = {state for state in stage.oracle.states[act.key] if state is not None and state.size <= first}
        stage.oracle.saw(act.key, behind, f"byte {first} was said to lie behind the end")
        return True
    if answer.status != 206:
        return _absent(stage, act, answer)
    span, _, size = answer.headers["content-range"].removeprefix("bytes ").partition("/")
    version = stage.told(answer, int(size))
    stage.oracle.saw(act.key, {version}, f"a range came of {version}")
    stop = min(last + 1, version.size)
    if span != f"{first}-{stop - 1}" or int(answer.headers["content-length"]) != stop - first:
        raise Violation(f"bytes {first} to {stop} of {version} were wanted, {span} came")
    _same(answer.body, stage.content(version)[first:stop], f"bytes {span} of {version}")
    return True


async def get_part(stage: Stage, act: Act) -> bool:
    """GetObject of part 1 or 2."""
    number = 1 + act.step.pick % 2
    answer = await stage.ask(act, "GET", act.key, query={"partNumber": str(number)})
    if answer is None:
        return False
    if answer.status == 416:
        without = {state for state in stage.present(act.key) if len(_parts(stage, state)) < number}
        stage.oracle.saw(act.key, without, f"part {number} was said not to be there")
        return True
    if answer.status not in (200, 206):
        return _absent(stage, act, answer)
    told = (answer.etag, answer.headers.get("x-amz-meta-label", ""))
    seen = {state for state in stage.present(act.key) if (state.etag, state.label) == told}
    stage.oracle.saw(act.key, seen, f"part {number} came of {told[1]}")
    for version in seen:
        sizes = _parts(stage, version)
        start = sum(sizes[: number - 1])
        _same(answer.body, stage.content(version)[start : start + sizes[number - 1]], f"part {number} of {version}")
    return True


def _parts(stage: Stage, version: Version) -> tuple[int, ...]:
    return stage.parts.get(version.etag, (version.size,))


async def attributes(stage: Stage, act: Act) -> bool:
    """GetObjectAttributes."""
    headers = {"x-amz-object-attributes": "ETag,ObjectSize"}
    answer = await stage.ask(act, "GET", act.key, query={"attributes": ""}, headers=headers)
    if answer is None:
        return False
    if answer.status != 200:
        return _absent(stage, act, answer)
    told = (answer.text("ETag") or "").strip('"'), int(answer.text("ObjectSize") or -1)
    seen = {state for state in stage.present(act.key) if (state.etag, state.size) == told}
    stage.oracle.saw(act.key, seen, f"its attributes were said to be {told}")
    return True


async def list_objects(stage: Stage, act: Act) -> bool:
    """ListObjectsV2, all pages, of one or two keys each or of all."""
    rows: dict[str, tuple[str, int]] = {}
    names: list[str] = []
    query = {"list-type": "2", **({"max-keys": str(act.step.pick % 3)} if act.step.pick % 3 else {})}
    while True:
        answer = await stage.ask(act, "GET", query=query)
        if answer is None:
            return False
        if answer.status != 200:
            raise stage.unexpected(act, answer)
        for row in answer.xml.iter("Contents"):
            key = row.findtext("Key") or ""
            names.append(key)
            rows[key] = (row.findtext("ETag") or "").strip('"'), int(row.findtext("Size") or -1)
        if answer.text("IsTruncated") != "true":
            break
        query = {**query, "continuation-token": answer.text("NextContinuationToken") or ""}
    if names != sorted(set(names)) or not set(names) <= set(KEYS):
        raise Violation(f"the list is {names}")
    lied = any(fault.name == LIST_LIE for fault in stage.sky.fired)
    for key in KEYS:
        if key not in rows and lied:
            stage.oracle.deviations[LIST_LIE] += None not in stage.oracle.states[key]
            continue
        seen: set[State] = {None} if key not in rows else {each for each in stage.present(key) if (each.etag, each.size) == rows[key]}
        stage.oracle.saw(key, seen, f"the list has {rows.get(key, 'nothing')} of it")
    return True
