"""What clients write: PUT with and without conditions, copies, deletes."""

import hashlib
from base64 import b64encode

from s4_gateway.testing.client import Answer
from s4_gateway.testing.weather.drive import LABEL, Act, Stage
from s4_gateway.testing.weather.oracle import Effect, State, Version, Violation

CONDITION_LIE = "ignored-condition"


def overlooked(stage: Stage) -> bool:
    """The store has overlooked a condition in this step."""
    return any(fault.name == CONDITION_LIE for fault in stage.sky.fired)


async def put(stage: Stage, act: Act) -> bool:
    """PutObject without conditions."""
    return await _put(stage, act, {})


async def put_if_absent(stage: Stage, act: Act) -> bool:
    """PutObject that may not overwrite."""
    return await _put(stage, act, {"if-none-match": "*"}, allowed={None})


async def put_if_match(stage: Stage, act: Act) -> bool:
    """PutObject over one known version; where none can be there, over one that never was."""
    if act.chosen is None:
        present = sorted(stage.present(act.key), key=str)
        act.chosen = present[act.step.pick % len(present)].etag if present else "0" * 32
    allowed: set[State] = {version for version in stage.present(act.key) if version.etag == act.chosen}
    return await _put(stage, act, {"if-match": f'"{act.chosen}"'}, allowed=allowed)


async def _put(stage: Stage, act: Act, condition: dict[str, str], allowed: set[State] | None = None) -> bool:
    """`allowed`: states in which the condition holds; None = all."""
    body, version = stage.new_object(act)
    effect = stage.effect(act, act.key, [version])
    answer = await stage.ask(act, "PUT", act.key, headers={LABEL: act.label, **condition}, body=body)
    if answer is None:
        stage.oracle.may_hold(act.key, [version])
        return False
    if answer.status == 200:
        if answer.etag != version.etag:
            raise Violation(f"PUT of {version} told ETag {answer.etag}")
        require(stage, act, allowed)
        effect.acknowledged = True
        stage.oracle.holds(act.key, [version])
        return True
    refused(stage, act, answer, allowed)
    return True


def require(stage: Stage, act: Act, allowed: set[State] | None) -> None:
    """A write under a condition was acknowledged: it must have been possible."""
    if allowed is None or stage.oracle.states[act.key] & allowed:
        return
    if not overlooked(stage):
        raise Violation(f"{act.step.verb} overwrote {act.key!r} against its condition")
    stage.oracle.deviations[CONDITION_LIE] += 1


def refused(stage: Stage, act: Act, answer: Answer, allowed: set[State] | None) -> None:
    """A write was refused because of its condition: there must be a state in which it does not hold."""
    if allowed is None or answer.status not in (404, 412):
        raise stage.unexpected(act, answer)
    if answer.status == 404 and answer.code != "NoSuchKey":
        raise stage.unexpected(act, answer)
    against = {None} if answer.status == 404 else stage.oracle.states[act.key] - allowed
    stage.oracle.saw(act.key, against, f"{act.step.verb} was refused with {answer.status}")


async def copy(stage: Stage, act: Act) -> bool:
    """CopyObject with the source's metadata; onto itself it is a relabelling."""
    if act.key == act.source:
        return await relabel(stage, act)
    effect = stage.effect(act, act.key, list(stage.present(act.source)))
    answer = await stage.ask(act, "PUT", act.key, headers={"x-amz-copy-source": f"/{stage.world.bucket}/{act.source}"})
    if answer is None:
        stage.oracle.may_hold(act.key, stage.present(act.source))
        return False
    if answer.status == 404 and answer.code == "NoSuchKey":
        stage.oracle.saw(act.source, {None}, "the source of a copy was said not to be there")
        return True
    copied = copied_states(stage, act, answer)
    stage.oracle.saw(act.source, copied, f"a copy told ETag {answer.text('ETag')}")
    effect.acknowledged = True
    stage.oracle.holds(act.key, copied)
    return True


def copied_states(stage: Stage, act: Act, answer: Answer) -> set[State]:
    """Possible states of the source with the ETag in a CopyObjectResult."""
    if answer.status != 200:
        raise stage.unexpected(act, answer)
    etag = (answer.text("ETag") or "").strip('"')
    return {state for state in stage.present(act.source) if state.etag == etag}


async def relabel(stage: Stage, act: Act) -> bool:
    """CopyObject onto itself with other metadata."""
    headers = {"x-amz-copy-source": f"/{stage.world.bucket}/{act.key}", "x-amz-metadata-directive": "REPLACE", LABEL: act.label}
    effect = _relabels(stage, act)
    answer = await stage.ask(act, "PUT", act.key, headers=headers)
    # Once more: what a rival wrote meanwhile may be what was copied.
    _relabels(stage, act)
    labelled = {state: Version(state.etag, state.size, act.label) for state in stage.present(act.key)}
    if answer is None:
        stage.oracle.may_hold(act.key, labelled.values())
        return False
    if answer.status == 404 and answer.code == "NoSuchKey":
        stage.oracle.saw(act.key, {None}, "the source of a copy was said not to be there")
        return True
    if answer.status != 200:
        raise stage.unexpected(act, answer)
    etag = (answer.text("ETag") or "").strip('"')
    copied = {after for before, after in labelled.items() if before.etag == etag}
    if not copied:
        raise Violation(f"a copy told ETag {etag}, of none of {sorted(map(str, labelled))}")
    effect.acknowledged = True
    stage.oracle.holds(act.key, copied)
    return True


def _relabels(stage: Stage, act: Act) -> Effect:
    return stage.effect(act, act.key, [Version(state.etag, state.size, act.label) for state in stage.present(act.key)])


async def delete(stage: Stage, act: Act) -> bool:
    """DeleteObject."""
    effect = stage.effect(act, act.key, [None])
    answer = await stage.ask(act, "DELETE", act.key)
    if answer is None:
        stage.oracle.may_hold(act.key, [None])
        return False
    if answer.status != 204:
        raise stage.unexpected(act, answer)
    effect.acknowledged = True
    stage.oracle.holds(act.key, [None])
    return True


async def delete_many(stage: Stage, act: Act) -> bool:
    """DeleteObjects of one or two keys."""
    keys = sorted({act.key, act.source})
    rows = "".join(f"<Object><Key>{key}</Key></Object>" for key in keys)
    body = f"<Delete>{rows}</Delete>".encode()
    for key in keys:
        stage.effect(act, key, [None])
    md5 = b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    answer = await stage.ask(act, "POST", query={"delete": ""}, headers={"content-md5": md5}, body=body)
    if answer is not None and answer.status != 200:
        raise stage.unexpected(act, answer)
    gone = [] if answer is None else answer.texts("Deleted/Key")
    failed = keys if answer is None else answer.texts("Error/Key")
    if sorted([*gone, *failed]) != keys:
        raise Violation(f"of the deleted {keys} there is told {gone} and {failed}")
    for key in failed:
        stage.oracle.may_hold(key, [None])
    for key in gone:
        stage.effect(act, key, [None]).acknowledged = True
        stage.oracle.holds(key, [None])
    if failed and not stage.sky.fired:
        raise Violation(f"{failed} could not be deleted, although nothing went wrong")
    return not failed
