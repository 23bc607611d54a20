"""What an operator can set: one model, read once from command line and environment, and handed out in groups.

Each setting is a field below; its command-line option is `--<name>` and its environment variable `S4_<NAME>`. The option wins.
This is the only module that reads the environment. `reference()` renders the model as the documentation's table.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from s4_gateway.errors import SettingsError

T = TypeVar("T")
Parser = Callable[[str], object]

KIB, MIB, GIB = 2**10, 2**20, 2**30
SMALLEST_HEADER_LIMIT = 8 * KIB
"""A signed request with 2 KB of user metadata has to fit."""
SMALLEST_MEMORY = 32 * MIB
"""A process that holds less at a time cannot stream one large body at full speed."""
MAX_WORKERS = 128
GPU_LABELS = ("nvcomp-ans", "nvcomp-bitcomp", "nvcomp-cascaded", "nvcomp-gdeflate", "nvcomp-zstd")
DEFAULT_TRIAL_NS_PER_BYTE = 12.0
"""These two as s4_codecs has them, which takes too long to load for `--help`."""
SWITCH = "on|off"
"""Placeholder of settings that are on or off."""
LEVELLED = ("cpu-zstd", "cpu-columnar")
"""Codecs that --zstd-level is for."""

UNITS = {"": 1, "kib": KIB, "mib": MIB, "gib": GIB, "tib": 2**40}


class _Malformed(ValueError):
    """A value does not parse; the message says what is accepted."""


def text(value: str) -> str:
    """Any text but none at all."""
    if not value.strip():
        raise _Malformed("a value that is not empty")
    return value.strip()


def folder(value: str) -> Path:
    """A path, `~` expanded, made absolute."""
    try:
        return Path(text(value)).expanduser().absolute()
    except RuntimeError:
        raise _Malformed("a path; no such user has a home folder") from None


def integer(low: int, high: int) -> Parser:
    """A parser of whole numbers in [low, high]."""

    def parse(value: str) -> int:
        if not re.fullmatch(r"\d{1,18}", value.strip()) or not low <= int(value) <= high:
            raise _Malformed(f"a whole number from {low} to {high}")
        return int(value)

    return parse


def size(low: int) -> Parser:
    """A parser of sizes of at least `low` bytes: `1048576`, `1MiB`, `5 GiB`."""

    def parse(value: str) -> int:
        match = re.fullmatch(r"(\d{1,15})\s*(|kib|mib|gib|tib)", value.strip().lower())
        number = int(match[1]) * UNITS[match[2]] if match else -1
        if number < low:
            raise _Malformed(f"a size of at least {low} bytes, such as 65536 or 64MiB")
        return number

    return parse


def seconds(low: float) -> Parser:
    """A parser of times of at least `low` seconds, fractions allowed."""

    def parse(value: str) -> float:
        if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", value.strip()) or float(value) < low:
            raise _Malformed(f"a number of seconds, {low:g} or more")
        return float(value)

    return parse


def number(low: float, unit: str) -> Parser:
    """A parser of numbers above `low`, fractions allowed."""

    def parse(value: str) -> float:
        if not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", value.strip()) or not float(value) > low:
            raise _Malformed(f"a number of {unit} above {low:g}")
        return float(value)

    return parse


def choice(*accepted: str) -> Parser:
    """A parser of a closed set of words."""

    def parse(value: str) -> str:
        if value.strip() not in accepted:
            raise _Malformed("one of " + ", ".join(accepted))
        return value.strip()

    return parse


def switch(value: str) -> bool:
    """`on` or `off`."""
    return choice("on", "off")(value) == "on"


def endpoint(value: str) -> str:
    """An http or https URL with a host and nothing behind it but an optional slash."""
    try:
        url = urlsplit(value.strip())
        bare = url.path in ("", "/") and not (url.query or url.fragment or "@" in url.netloc)
        acceptable = bare and url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        acceptable = False
    if not acceptable:
        raise _Malformed("a URL such as https://s3.eu-central-1.amazonaws.com, without path, query or credentials")
    return value.strip().rstrip("/")


def domain(value: str) -> str:
    """A host name, optionally with a port, under which `<bucket>.<name>` addresses a bucket."""
    name = value.strip().lower()
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:\d{1,5})?", name) or len(name) > 253:
        raise _Malformed("a host name such as s3.example.com, optionally with :port")
    return name


def setting(default: T, parse: Parser, help: str, *, shown: str | None = None, metavar: str = "TEXT", secret: bool = False) -> T:
    """A field of a settings group.

    Args:
        default: the value where neither option nor variable is given.
        parse: turns the given text into the value.
        help: one sentence for `--help` and the reference.
        shown: how the default reads in the reference, where its value does not say it.
        metavar: placeholder of the value.
        secret: never on a command line (other users see it there) and never shown.
    """
    about = {"parse": parse, "help": help, "shown": shown, "metavar": metavar, "secret": secret}
    return field(default=default, metadata=about, repr=not secret)


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """Where objects are stored; exactly one of the first two."""

    data_dir: Path | None = setting(None, folder, "Store objects in this directory (the embedded store).", metavar="DIR")
    endpoint_url: str | None = setting(
        None, endpoint, "Store objects behind this S3 endpoint; its keys come from the usual AWS chain.", metavar="URL"
    )
    region: str = setting("us-east-1", text, "Region of the gateway and of the backend's signatures.", metavar="NAME")
    staging_bucket: str | None = setting(
        None, text, "Bucket for small multipart parts of buckets that have versioning or object lock.", metavar="BUCKET"
    )


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """Where clients connect, and what one of them may take."""

    host: str = setting("127.0.0.1", text, "Address to listen on.", metavar="ADDRESS")
    port: int = setting(8014, integer(0, 65535), "TCP port; 0 lets the system choose.", metavar="PORT")
    domain: str | None = setting(None, domain, "Serve `<bucket>.DOMAIN` beside paths (virtual-host addressing).", metavar="DOMAIN")
    max_header_bytes: int = setting(
        64 * KIB, size(SMALLEST_HEADER_LIMIT), "Largest request head: request line and headers together.", shown="64 KiB", metavar="BYTES"
    )
    max_body_bytes: int = setting(5 * GIB, size(MIB), "Largest request body, decoded.", shown="5 GiB", metavar="BYTES")
    read_timeout_seconds: float = setting(
        30.0,
        seconds(0),
        "Close a connection when no byte moved for so long while the gateway waits for the client; also the time for a whole request head. "
        "0 = never, and 60 s for a request head.",
        metavar="SECONDS",
    )
    max_concurrent_connections: int = setting(1024, integer(1, 1_000_000), "Client connections open at a time.", metavar="NUMBER")
    drain_seconds: float = setting(10.0, seconds(0), "Time that requests in progress have to end after SIGTERM.", metavar="SECONDS")


@dataclass(frozen=True, slots=True)
class KeySettings:
    """The keys clients sign with."""

    credentials: Path | None = setting(
        None, folder, "TOML file with one [[user]] table (access_key, secret_key) per client.", metavar="FILE"
    )
    access_key_id: str | None = setting(None, text, "Access key of the only client.", metavar="KEY", secret=True)
    secret_access_key: str | None = setting(None, text, "Secret key of the only client.", metavar="KEY", secret=True)


@dataclass(frozen=True, slots=True)
class CompressionSettings:
    """How objects are stored."""

    codec: str = setting(
        "cpu-zstd",
        choice("cpu-zstd", "cpu-gzip", "passthrough", "cpu-columnar", *GPU_LABELS),
        "Codec for data worth compressing; those of nvcomp need a GPU.",
        metavar="NAME",
    )
    zstd_level: int = setting(3, integer(1, 22), "Level of cpu-zstd and cpu-columnar, 1 (fast) to 22 (small).", metavar="LEVEL")
    dispatcher: Literal["sampling", "always", "trial"] = setting(
        "sampling",
        choice("sampling", "always", "trial"),
        "sampling looks at the first bytes and leaves incompressible data alone; always compresses; trial compresses a sample with each "
        "codec and takes the smallest.",
        metavar="NAME",
    )
    trial_ns_per_byte: float = setting(
        DEFAULT_TRIAL_NS_PER_BYTE,
        number(0, "nanoseconds a byte"),
        "Dispatcher trial: time that a codec may take, in nanoseconds a byte on one core.",
        metavar="NUMBER",
    )
    dispatch_rules: Path | None = setting(
        None,
        folder,
        "TOML file of rules by bucket and key prefix: policy, force, exclude, zstd_level. Read again on SIGHUP.",
        metavar="FILE",
    )
    sidecars: bool = setting(
        True,
        switch,
        "Write `<key>.s4index` beside objects above 4 MiB, for readers that do not know the trailer: on or off.",
        shown="on",
        metavar=SWITCH,
    )


@dataclass(frozen=True, slots=True)
class GpuSettings:
    """What a GPU is used for, where there is one."""

    gpu_min_bytes: int = setting(
        MIB,
        size(1),
        "With a GPU, objects of known size from here on that cpu-zstd would compress get nvcomp-zstd (sampling), or are tried on it too "
        "(trial).",
        shown="1 MiB",
        metavar="BYTES",
    )
    prefer_columnar_gpu: bool = setting(
        False,
        switch,
        "Of these, nvcomp-bitcomp for those whose first bytes look like columns of numbers: on or off.",
        shown="off",
        metavar=SWITCH,
    )
    gpu_fallback: Literal["refuse", "cpu"] = setting(
        "refuse",
        choice("refuse", "cpu"),
        "Where settings name a GPU codec and there is no GPU: refuse to start, or store with cpu-zstd (cpu).",
        metavar="refuse|cpu",
    )
    gpu_batch_small_puts: bool = setting(
        False, switch, "Compress small objects on the GPU too, those of several requests together: on or off.", shown="off", metavar=SWITCH
    )
    gpu_batch_max_items: int = setting(
        32, integer(1, 4096), "Frames of small objects that are compressed together at most.", metavar="NUMBER"
    )
    gpu_batch_window_ms: int = setting(
        4, integer(1, 10_000), "Longest wait of a small object for others, in milliseconds.", metavar="NUMBER"
    )
    gpu_batch_floor_bytes: int = setting(
        4 * KIB, size(1), "Smaller objects stay on the CPU; larger ones up to --gpu-min-bytes are batched.", shown="4 KiB", metavar="BYTES"
    )


@dataclass(frozen=True, slots=True)
class ResourceSettings:
    """What the gateway may use on its own machine."""

    state_dir: Path | None = setting(
        None,
        folder,
        "Attribute cache and journal of open uploads.",
        shown="`<data-dir>/state`, else one folder an endpoint in the user's state folder",
        metavar="DIR",
    )
    spool_dir: Path | None = setting(None, folder, "Temporary files of multipart parts.", shown="`<state-dir>/spool`", metavar="DIR")
    spool_bytes: int = setting(20 * GIB, size(0), "Most bytes in spool files; beyond, parts get SlowDown.", shown="20 GiB", metavar="BYTES")
    memory_bytes: int = setting(
        128 * MIB,
        size(SMALLEST_MEMORY),
        "Most bytes of objects in memory at a time, all requests together.",
        shown="128 MiB, at least 32 MiB a worker",
        metavar="BYTES",
    )
    workers: int = setting(1, integer(1, MAX_WORKERS), "Processes that serve together on the one port.", metavar="NUMBER")


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What the gateway writes to standard error."""

    log_format: Literal["pretty", "json"] = setting("pretty", choice("pretty", "json"), "Form of log lines.", metavar="pretty|json")


@dataclass(frozen=True, slots=True)
class Settings:
    """All of them. Values are parsed and agree with each other."""

    backend: BackendSettings = field(default_factory=BackendSettings)
    listen: ListenSettings = field(default_factory=ListenSettings)
    keys: KeySettings = field(default_factory=KeySettings)
    compression: CompressionSettings = field(default_factory=CompressionSettings)
    gpu: GpuSettings = field(default_factory=GpuSettings)
    resources: ResourceSettings = field(default_factory=ResourceSettings)
    log: LogSettings = field(default_factory=LogSettings)
    state_dir: Path = Path()
    """Where state is kept, the default applied."""
    spool_dir: Path = Path()
    """Where spool files are made, the default applied."""

    @classmethod
    def load(cls, given: Mapping[str, str | None], environ: Mapping[str, str] | None = None) -> "Settings":
        """Settings from command-line texts and environment.

        Args:
            given: field name -> text; None = not given.
            environ: None = of this process.

        Raises:
            SettingsError: a value does not parse, or two settings contradict each other.
        """
        environ = os.environ if environ is None else environ
        texts = {about.name: _given(about, given, environ) for about in options()}
        chosen = {name: source for name, source in texts.items() if source is not None}
        groups = {name: _group(kind, chosen) for name, kind in GROUPS.items()}
        _refuse_contradictions(chosen, groups["backend"], groups["keys"])
        _refuse_idle_codec_settings(chosen, groups["compression"], groups["gpu"])
        _refuse_too_many_workers(chosen, groups["listen"], groups["resources"])
        state_dir = groups["resources"].state_dir or _default_state_dir(groups["backend"], environ)
        return cls(**groups, state_dir=state_dir, spool_dir=groups["resources"].spool_dir or state_dir / "spool")

    def of_one_worker(self) -> "Settings":
        """What each of the workers may take, so that all of them together take what the settings say. The spool's quota is not divided:
        one part may need most of it, so the workers share it.
        """
        listen, resources = self.listen, self.resources
        return replace(
            self,
            listen=replace(listen, max_concurrent_connections=listen.max_concurrent_connections // resources.workers),
            resources=replace(resources, memory_bytes=max(SMALLEST_MEMORY, resources.memory_bytes // resources.workers)),
        )


GROUPS: Mapping[str, type[Any]] = {
    "backend": BackendSettings,
    "listen": ListenSettings,
    "keys": KeySettings,
    "compression": CompressionSettings,
    "gpu": GpuSettings,
    "resources": ResourceSettings,
    "log": LogSettings,
}


@dataclass(frozen=True, slots=True)
class Option:
    """One setting, for the command line and for the reference."""

    name: str
    """Field name, e.g. `data_dir`."""
    help: str
    default: str
    """As people read it; `none` where there is none."""
    metavar: str
    secret: bool

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return "S4_" + self.name.upper()


def options() -> Iterator[Option]:
    """All settings in the order of the model."""
    for group in GROUPS.values():
        for about in fields(group):
            data = about.metadata
            default = data["shown"] or ("none" if about.default is None else f"`{about.default}`")
            yield Option(about.name, data["help"], default, data["metavar"], data["secret"])


def reference() -> str:
    """The settings as a Markdown table."""
    rows = ["| option | environment | default | meaning |", "|---|---|---|---|"]
    for about in options():
        flag = "" if about.secret else f"`{about.flag} {about.metavar}`".replace("|", "\\|")
        rows.append(f"| {flag} | `{about.variable}` | {about.default} | {about.help} |")
    return "\n".join(rows) + "\n"


@dataclass(frozen=True, slots=True)
class _Source:
    """A given text and the name the operator knows it by."""

    name: str
    value: str


def _given(about: Option, given: Mapping[str, str | None], environ: Mapping[str, str]) -> _Source | None:
    value = None if about.secret else given.get(about.name)
    if value is not None:
        return _Source(about.flag, value)
    if about.variable in environ:
        return _Source(about.variable, environ[about.variable])
    return None


def _group(kind: type[Any], chosen: Mapping[str, _Source]) -> Any:
    values = {}
    for about in fields(kind):
        source = chosen.get(about.name)
        if source is None:
            continue
        try:
            values[about.name] = about.metadata["parse"](source.value)
        except _Malformed as error:
            found = "the value given" if about.metadata["secret"] else repr(source.value[:200])
            raise SettingsError(f"{source.name}: {found} is not {error}") from None
    return kind(**values)


def _refuse_contradictions(chosen: Mapping[str, _Source], backend: BackendSettings, keys: KeySettings) -> None:
    def named(name: str) -> str:
        return chosen[name].name

    if backend.data_dir is None and backend.endpoint_url is None:
        raise SettingsError("--data-dir or --endpoint-url: give one of them, it says where objects are stored")
    if backend.data_dir is not None and backend.endpoint_url is not None:
        raise SettingsError(f"{named('data_dir')} and {named('endpoint_url')}: objects are stored in one place, give only one")
    if (keys.access_key_id is None) != (keys.secret_access_key is None):
        missing = "S4_SECRET_ACCESS_KEY" if keys.secret_access_key is None else "S4_ACCESS_KEY_ID"
        raise SettingsError(f"{missing}: not set, but the other half of the pair is")
    if keys.credentials is not None and keys.access_key_id is not None:
        raise SettingsError(f"{named('credentials')} and S4_ACCESS_KEY_ID: client keys come from one of them, give only one")


def _refuse_idle_codec_settings(chosen: Mapping[str, _Source], compression: CompressionSettings, gpu: GpuSettings) -> None:
    """What was given must count for something, unless rules may make it count."""
    trial = compression.dispatcher == "trial" or compression.dispatch_rules is not None
    if "zstd_level" in chosen and compression.codec not in LEVELLED and not trial:
        raise SettingsError(
            f"{chosen['zstd_level'].name}: only codecs {' and '.join(LEVELLED)} have a level, the codec is {compression.codec}"
        )
    if "trial_ns_per_byte" in chosen and not trial:
        raise SettingsError(f"{chosen['trial_ns_per_byte'].name}: only dispatcher trial has a budget, it is {compression.dispatcher}")
    if not gpu.gpu_batch_small_puts:
        for name in ("gpu_batch_max_items", "gpu_batch_window_ms", "gpu_batch_floor_bytes"):
            if name in chosen:
                raise SettingsError(f"{chosen[name].name}: nothing is batched without --gpu-batch-small-puts on")
    elif gpu.gpu_batch_floor_bytes >= gpu.gpu_min_bytes:
        raise SettingsError(
            f"--gpu-batch-floor-bytes: no object lies between {gpu.gpu_batch_floor_bytes} and --gpu-min-bytes, {gpu.gpu_min_bytes}"
        )


def _refuse_too_many_workers(chosen: Mapping[str, _Source], listen: ListenSettings, resources: ResourceSettings) -> None:
    workers = resources.workers
    if listen.max_concurrent_connections < workers:
        raise SettingsError(
            f"{chosen['max_concurrent_connections'].name}: {listen.max_concurrent_connections} are too few for {workers} workers, "
            "each needs one at least"
        )
    if "memory_bytes" in chosen and resources.memory_bytes < SMALLEST_MEMORY * workers:
        raise SettingsError(
            f"{chosen['memory_bytes'].name}: {resources.memory_bytes} bytes are too few for {workers} workers, "
            f"each needs {SMALLEST_MEMORY} at least"
        )


def _default_state_dir(backend: BackendSettings, environ: Mapping[str, str]) -> Path:
    if backend.data_dir is not None:
        return backend.data_dir / "state"
    base = Path(environ["XDG_STATE_HOME"]) if environ.get("XDG_STATE_HOME") else Path.home() / ".local" / "state"
    url = backend.endpoint_url or ""
    # Cached attributes name a bucket and a key, not an endpoint: two endpoints never share a folder.
    name = re.sub(r"[^a-z0-9.-]", "-", urlsplit(url).netloc.lower())[:80]
    return base / "s4-gateway" / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
