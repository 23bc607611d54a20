"""One step of a history: a value that says what to do in terms that mean something after any others, so that those can be left out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from .bodies import KINDS, Body
from .values import ALGORITHMS

BUCKETS = ("alpha", "beta", "gamma")
"""The third one comes and goes."""
SHARES = (12, 3, 1)
KEYS = (
    "a",
    "a/b",
    "a/c",
    "a/b/d",
    "b",
    "c space+plus%41&<x>",
    "é/ü",
    "\uffee",
    "\U0001f600",
    "line\r\nend",
    "/",
    "//..//./x",
    ".s4mpu0",
    ".s4mpua/x",
    "a.s4indexx",
)
RESERVED = ("a.s4index", ".s4mpu/x/upload", ".s4dict/0123456789abcdef", "a.__s4ver__/1")
PREFIXES = ("", "", "", "a", "a/", "a/b", ".", ".s4mpu", ".s4mpu/", "é", "zz")
DELIMITERS = ("", "", "/", "/", "b", "//", "s4", ".s4index", "\U0001f600")
HEADER_SETS: Sequence[Mapping[str, str]] = (
    {},
    {},
    {"content-type": "text/plain; charset=utf-8"},
    {"cache-control": "max-age=5", "expires": "Thu, 01 Jan 2032 00:00:00 GMT", "content-language": "de"},
    {"content-encoding": "gzip", "content-disposition": 'attachment; filename="x"'},
    {"x-amz-meta-a": "1", "x-amz-meta-with-dash": "some text  inside", "x-amz-meta-s4-codec": "forged", "x-amz-meta-s4-trailer": "1"},
    {"content-type": "application/x-s4-index", "x-amz-meta-umlaut": "gr\xc3\xbc\xc3\x9fe"},
    {"x-amz-meta-large": "m" * 1700},
    {"x-amz-meta-larger": "m" * 1900},
    {"x-amz-meta-too-large": "m" * 2040},
)
CONDITIONS = ("if-match current", "if-match other", "if-match *", "if-none-match *")
READ_CONDITIONS = (
    *CONDITIONS,
    "if-none-match current",
    "if-none-match other",
    "if-modified-since 0",
    "if-modified-since -1",
    "if-unmodified-since 0",
    "if-unmodified-since -1",
    "if-match current, if-unmodified-since -1",
    "if-none-match other, if-modified-since 0",
)
RANGES = (
    "first",
    "last",
    "middle",
    "rest",
    "suffix",
    "suffix of more",
    "beyond",
    "at the end",
    "suffix of nothing",
    "past",
    "nonsense",
    "wrong order",
)
PLANS = ("all",) * 8 + ("subset",) * 3 + ("reversed", "twice", "unknown", "wrong", "overwritten", "overwritten", "nothing", "nonsense")
OBJECT_RACES = ("copy", "put", "put", "put", "delete", "read", "read", "attributes")
UPLOAD_RACES = ("copy_part", "complete", "complete", "part", "abort", "put", "delete", "read", "list_parts")
"""Steps that are taken at the same time; two copies are not, which S3 does not make atomic either."""
FOREIGN = ("plain", "plain", "framed", "unstamped", "raw", "unstamped raw", "parts", "stamped parts")
"""Forms in which objects get into the bucket behind the gateway's back: what any client writes there, and what the reference does."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Sizes at which something changes."""

    sizes: tuple[int, ...]
    weights: tuple[int, ...]
    part_sizes: tuple[int, ...]
    part_weights: tuple[int, ...]
    min_part: int


@dataclass(frozen=True, slots=True, init=False)
class Step:
    """What to do and how."""

    what: str
    said: Mapping[str, Any]

    def __init__(self, what: str, **said: Any) -> None:
        object.__setattr__(self, "what", what)
        object.__setattr__(self, "said", said)

    def __getattr__(self, name: str) -> Any:
        return self.said.get(name)

    def __repr__(self) -> str:
        return (
            f"Step({', '.join([repr(self.what), *(f'{name}={value!r}' for name, value in self.said.items() if value not in (None, ''))])})"
        )


class Generator:
    """Random steps; the same for the same source of randomness."""

    def __init__(self, random: Random, scale: Scale, *, races: bool = False) -> None:
        self._random = random
        self._races = races
        self._scale = scale
        self._uploads: list[tuple[str, str, str]] = []
        self._ended: list[tuple[str, str, str]] = []
        self._count = 0
        self._due: list[Step] = []
        # A few keys, so that steps meet.
        self._keys = random.sample(KEYS, 4)

    def steps(self, count: int) -> list[Step]:
        """So many."""
        names, weights = list(RULES), [weight for weight, _ in RULES.values()]
        steps: list[Step] = []
        while len(steps) < count:
            if self._due and self._random.random() < 0.5:
                steps.append(self._due.pop(0))
            elif not self._due and self._random.random() < 0.03:
                self._due = self._whole_upload()
            elif self._races and self._random.random() < 0.3:
                steps.append(self._race(self._address(), OBJECT_RACES))
            else:
                name = self._random.choices(names, weights)[0]
                steps.append(self._step(name, RULES[name][1](self)))
        return steps

    def _step(self, name: str, said: dict[str, Any]) -> Step:
        return Step(name, **said, **self._where())

    def _whole_upload(self) -> list[Step]:
        """One that comes to something, others in between: its steps one after the other."""
        create = self.create()
        upload = {name: create[name] for name in ("bucket", "key", "label")}
        numbers = sorted(self._random.sample((1, 2, 3, 4, 9999, 10_000), self._random.choice((1, 2, 2, 3, 3))))
        parts = [{**upload, "number": number, "body": self._large_part()} for number in numbers[:-1]]
        parts.append({**upload, "number": numbers[-1], "body": self._part_body()})
        self._random.shuffle(parts)
        end = self._step("complete", {**upload, **self._completion(self._random.choice(("all", "all", "all", "subset")))})
        if self._races:
            end = self._race(upload, UPLOAD_RACES, first=end)
        return [self._step("create", create), *(self._step("part", part) for part in parts), end]

    def _race(self, of: dict[str, Any], names: Sequence[str], *, first: Step | None = None) -> Step:
        """Two steps at once, of the same object or upload."""
        picked = self._random.sample(names, 2) if self._random.random() < 0.8 else [self._random.choice(names[1:])] * 2
        if first is not None:
            picked[0] = first.what
        steps = [first] if first is not None else []
        for name in picked[len(steps) :]:
            conditional = name == "put" and self._random.random() < 0.5
            condition = {"digest": None, "headers": 0, "condition": self._random.choice(CONDITIONS)} if conditional else {}
            steps.append(Step(name, **{**RULES[name][1](self), **of, **condition}))
        if picked[0] == "copy" and self._random.random() < 0.5:
            # What is copied changes.
            steps[1] = Step(picked[1], **{**steps[1].said, "bucket": steps[0].source_bucket, "key": steps[0].source})
        return Step("together", first=steps[0], second=steps[1])

    def _where(self) -> dict[str, Any]:
        return {"gateway": self._random.randrange(2), "probe": self._random.randrange(2)}

    def _sometimes(self, share: float, value: Callable[[], Any]) -> Any:
        return value() if self._random.random() < share else None

    def _key(self) -> str:
        return self._random.choice(RESERVED) if self._random.random() < 0.01 else self._random.choice(self._keys)

    def _address(self) -> dict[str, Any]:
        return {"bucket": self._random.choices(BUCKETS, SHARES)[0], "key": self._key()}

    def _of(self, sizes: tuple[int, ...], weights: tuple[int, ...]) -> Body:
        size = max(0, self._random.choices(sizes, weights)[0] + self._random.choice((0, 0, -1, 1)))
        return Body(self._random.choice(KINDS), size, self._random.randrange(3))

    def _body(self) -> Body:
        return self._of(self._scale.sizes, self._scale.weights)

    def _part_body(self) -> Body:
        return self._of(self._scale.part_sizes, self._scale.part_weights)

    def _large_part(self) -> Body:
        return Body(self._random.choice(KINDS), self._scale.min_part + self._random.randrange(100), self._random.randrange(3))

    def _digest(self) -> str | None:
        right = ("md5", *ALGORITHMS)
        return self._random.choice((*right, *right, *(f"wrong {name}" for name in right)))

    def put(self) -> dict[str, Any]:
        digest = self._sometimes(0.3, self._digest)
        condition = self._sometimes(0.2, lambda: self._random.choice(CONDITIONS)) if digest is None else None
        headers = self._random.randrange(len(HEADER_SETS)) if digest is None and condition is None else 0
        said = {"body": self._body(), "headers": headers, "digest": digest, "condition": condition}
        return {**self._address(), **said, "unsigned": self._sometimes(0.3, lambda: True)}

    def read(self) -> dict[str, Any]:
        return {
            **self._address(),
            "method": self._random.choice(("GET", "GET", "HEAD")),
            "range": self._sometimes(0.5, lambda: self._random.choice(RANGES)),
            "condition": self._sometimes(0.3, lambda: self._random.choice(READ_CONDITIONS)),
            "if_range": self._sometimes(0.1, lambda: self._random.choice(("current", "other", "date", "older date"))),
            "part": self._sometimes(0.15, lambda: self._random.choice((1, 1, 2, 3, 7))),
            "checksums": self._sometimes(0.4, lambda: True),
            "overrides": self._sometimes(0.1, lambda: True),
        }

    def attributes(self) -> dict[str, Any]:
        return {
            **self._address(),
            "names": self._random.choice(("ETag,ObjectSize", "ObjectParts, Checksum", "ETag,Checksum,ObjectParts,StorageClass,ObjectSize")),
            "most": self._sometimes(0.3, lambda: self._random.choice((0, 1, 2))),
            "marker": self._sometimes(0.3, lambda: self._random.choice((0, 1, 2, 9999))),
        }

    def copy(self) -> dict[str, Any]:
        directive = self._sometimes(0.6, lambda: self._random.choice(("COPY", "REPLACE", "REPLACE")))
        plain = self._random.random() < 0.6
        return {
            **self._address(),
            "source_bucket": self._random.choices(BUCKETS, SHARES)[0],
            "source": self._key(),
            "directive": directive,
            "headers": self._random.randrange(len(HEADER_SETS)) if directive == "REPLACE" and plain else 0,
            "condition": None if plain else self._sometimes(0.5, lambda: self._random.choice(CONDITIONS)),
            "source_condition": None if plain else self._sometimes(0.5, lambda: self._random.choice(READ_CONDITIONS)),
        }

    def delete(self) -> dict[str, Any]:
        return self._address()

    def delete_many(self) -> dict[str, Any]:
        keys = [self._key() for _ in range(self._random.choice((1, 2, 2, 3)))]
        return {"bucket": self._random.choice(BUCKETS[:2]), "keys": keys, "quiet": self._sometimes(0.5, lambda: True)}

    def create(self) -> dict[str, Any]:
        self._count += 1
        address = self._address()
        label = f"u{self._count}"
        self._uploads.append((label, address["bucket"], address["key"]))
        algorithm = self._sometimes(0.5, lambda: self._random.choice(ALGORITHMS).upper())
        type_ = self._sometimes(0.4, lambda: self._random.choice(("FULL_OBJECT", "COMPOSITE"))) if algorithm else None
        return {**address, "label": label, "algorithm": algorithm, "type": type_, "headers": self._random.randrange(len(HEADER_SETS))}

    def _upload(self) -> dict[str, Any]:
        # Mostly the newest, so that uploads come to something.
        known = self._ended if not self._uploads or self._random.random() < 0.05 else self._uploads[-3:]
        label, bucket, key = self._random.choice(known or [("u0", BUCKETS[0], self._key())])
        return {"bucket": bucket, "key": key, "label": label}

    def _end(self, upload: dict[str, Any]) -> dict[str, Any]:
        """Mostly forget it: it will not be there any more."""
        known = (upload["label"], upload["bucket"], upload["key"])
        if known in self._uploads and self._random.random() < 0.8:
            self._uploads.remove(known)
            self._ended.append(known)
        return upload

    def _number(self) -> int:
        return self._random.choices((1, 2, 3, 4, 9999, 10_000, 0, 10_001), (12, 10, 6, 3, 1, 1, 0.2, 0.2))[0]

    def part(self) -> dict[str, Any]:
        return {**self._upload(), "number": self._number(), "body": self._part_body(), "digest": self._sometimes(0.2, self._digest)}

    def copy_part(self) -> dict[str, Any]:
        return {
            **self._upload(),
            "number": self._number(),
            "source_bucket": self._random.choices(BUCKETS, SHARES)[0],
            "source": self._key(),
            "range": self._sometimes(0.5, lambda: self._random.choice(("first", "last", "middle", "beyond", "past"))),
            "source_condition": self._sometimes(0.2, lambda: self._random.choice(READ_CONDITIONS)),
        }

    def complete(self) -> dict[str, Any]:
        plan = self._random.choice(PLANS)
        upload = self._end(self._upload()) if plan in ("all", "subset", "overwritten") else self._upload()
        return {**upload, **self._completion(plan)}

    def _completion(self, plan: str) -> dict[str, Any]:
        special = plan in ("all", "subset") and self._random.random() < 0.4
        extra = self._random.choice(("size", "wrong size", "checksum", "wrong checksum", "type", "wrong type", *CONDITIONS))
        return {"plan": plan, "extra": extra if special else None, "pick": self._random.randrange(100)}

    def abort(self) -> dict[str, Any]:
        return self._end(self._upload())

    def list_parts(self) -> dict[str, Any]:
        return {
            **self._upload(),
            "most": self._sometimes(0.4, lambda: self._random.choice((0, 1, 2))),
            "marker": self._sometimes(0.3, self._number),
        }

    def list_uploads(self) -> dict[str, Any]:
        return {
            "bucket": self._random.choice(BUCKETS),
            "prefix": self._random.choice(PREFIXES),
            "delimiter": self._random.choice(DELIMITERS),
            "page": self._random.choice((1, 1, 2, 1000)),
            "encoded": self._random.random() < 0.5,
        }

    def list(self) -> dict[str, Any]:
        return {
            "bucket": self._random.choices(BUCKETS, SHARES)[0],
            "prefix": self._random.choice(PREFIXES),
            "delimiter": self._random.choice(DELIMITERS),
            "after": self._sometimes(0.2, lambda: self._random.choice((*KEYS, "a/", ".s4mpu/", "b~"))),
            "page": self._random.choice((0, 1, 1, 2, 3, 1000, 5000)),
            "version": self._random.choice((1, 2, 2)),
            "encoded": self._random.random() < 0.5,
        }

    def bucket(self) -> dict[str, Any]:
        return {"bucket": self._random.choices(BUCKETS, (1, 1, 8))[0], "method": self._random.choice(("PUT", "PUT", "DELETE", "HEAD"))}

    def clock(self) -> dict[str, Any]:
        return {"seconds": self._random.choice((1, 1, 1, 2, 60, 3600))}

    def restart(self) -> dict[str, Any]:
        return {"lose": self._random.random() < 0.5}

    def behind(self) -> dict[str, Any]:
        form = self._random.choice(FOREIGN)
        bodies = [self._body()]
        if "parts" in form:
            bodies = [self._large_part() for _ in range(self._random.choice((0, 1, 2)))] + [self._part_body()]
        return {**self._address(), "form": form, "bodies": bodies, "headers": self._random.randrange(6) if form == "plain" else 0}

    def behind_delete(self) -> dict[str, Any]:
        return self._address()

    def nothing(self) -> dict[str, Any]:
        return {}


RULES: Mapping[str, tuple[int, Callable[[Generator], dict[str, Any]]]] = {
    "put": (20, Generator.put),
    "read": (20, Generator.read),
    "attributes": (3, Generator.attributes),
    "copy": (9, Generator.copy),
    "delete": (2, Generator.delete),
    "delete_many": (2, Generator.delete_many),
    "create": (2, Generator.create),
    "part": (9, Generator.part),
    "copy_part": (4, Generator.copy_part),
    "complete": (5, Generator.complete),
    "abort": (1, Generator.abort),
    "list_parts": (3, Generator.list_parts),
    "list_uploads": (2, Generator.list_uploads),
    "list": (6, Generator.list),
    "bucket": (1, Generator.bucket),
    "clock": (3, Generator.clock),
    "restart": (1, Generator.restart),
    "reopen": (1, Generator.nothing),
    "sweep": (1, Generator.nothing),
    "behind": (4, Generator.behind),
    "behind_delete": (1, Generator.behind_delete),
}
"""Rules: how often, and what they say."""


def simpler(step: Step) -> list[Step]:
    """Steps that are like this one but for one thing that it need not say; one of two that are taken at once."""
    if step.what == "together":
        return [step.first, step.second]
    optional = [name for name, value in step.said.items() if name not in NEEDED and value not in (None, "", 0, False)]
    return [Step(step.what, **{**step.said, name: None if name != "headers" else 0}) for name in optional]


NEEDED = frozenset(
    {"bucket", "key", "gateway", "probe", "body", "bodies", "label", "number", "method", "names", "source_bucket", "source", "plan", "form"}
    | {"keys", "prefix", "delimiter", "page", "version", "seconds", "pick"}
)
