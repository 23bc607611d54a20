"""Settings: from texts to values that agree with each other, or a refusal that names the setting."""

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from s4_codecs import EncodeOptions, GpuPreference
from s4_codecs.registry import GPU_CODECS

from s4_gateway.errors import SettingsError
from s4_gateway.settings import GIB, GPU_LABELS, KIB, MIB, CompressionSettings, GpuSettings, Option, Settings, options, reference

STORE = {"data_dir": "/srv/s4"}


def refusal(given: dict[str, str | None], environ: dict[str, str] | None = None) -> str:
    """Message of the refusal."""
    with pytest.raises(SettingsError) as caught:
        Settings.load(given, environ or {})
    return str(caught.value)


def test_workers_share_what_a_gateway_may_take() -> None:
    """Connections and memory are divided among the workers, each of which keeps what it cannot do without; the spool's quota is one."""
    alone = Settings.load({**STORE, "max_concurrent_connections": "1000", "memory_bytes": "1GiB"}, {})
    four = Settings.load({**STORE, "max_concurrent_connections": "1000", "memory_bytes": "1GiB", "workers": "4"}, {}).of_one_worker()
    eight = Settings.load({**STORE, "workers": "8"}, {}).of_one_worker()

    assert alone.of_one_worker() == alone
    assert (four.listen.max_concurrent_connections, four.resources.memory_bytes) == (250, 256 * MIB)
    assert (eight.listen.max_concurrent_connections, eight.resources.memory_bytes) == (128, 32 * MIB)
    assert four.resources.spool_bytes == eight.resources.spool_bytes == alone.resources.spool_bytes


def test_defaults() -> None:
    """One setting is enough; the others are as documented."""
    settings = Settings.load(STORE, {})

    assert settings.backend.data_dir == Path("/srv/s4")
    assert (settings.listen.host, settings.listen.port, settings.backend.region) == ("127.0.0.1", 8014, "us-east-1")
    assert (settings.listen.max_header_bytes, settings.listen.max_body_bytes) == (64 * KIB, 5 * GIB)
    assert (settings.listen.read_timeout_seconds, settings.listen.max_concurrent_connections) == (30.0, 1024)
    assert (settings.compression.codec, settings.compression.zstd_level, settings.compression.dispatcher) == ("cpu-zstd", 3, "sampling")
    assert (settings.state_dir, settings.spool_dir) == (Path("/srv/s4/state"), Path("/srv/s4/state/spool"))
    assert settings.log.log_format == "pretty"


@pytest.mark.parametrize("about", [about for about in options() if not about.secret], ids=lambda about: about.name)
def test_each_setting_has_an_option_and_a_variable(about: Option) -> None:
    """What an option sets, its environment variable sets too, and the option wins."""
    name = about.name
    samples = {
        "data_dir": ("/a", "/b"),
        "endpoint_url": ("http://a:9000", "https://b"),
        "region": ("eu-central-1", "us-west-2"),
        "staging_bucket": ("one", "two"),
        "host": ("::1", "0.0.0.0"),
        "port": ("0", "65535"),
        "domain": ("s3.example.com", "localhost:8014"),
        "max_header_bytes": ("16384", "32KiB"),
        "max_body_bytes": ("1MiB", "5 GiB"),
        "read_timeout_seconds": ("0", "2.5"),
        "max_concurrent_connections": ("1", "9"),
        "drain_seconds": ("0", "60"),
        "credentials": ("/a.toml", "/b.toml"),
        "codec": ("cpu-gzip", "passthrough"),
        "zstd_level": ("1", "22"),
        "dispatcher": ("always", "trial"),
        "trial_ns_per_byte": ("3", "30.5"),
        "dispatch_rules": ("/a.toml", "/b.toml"),
        "gpu_min_bytes": ("1", "4MiB"),
        "prefer_columnar_gpu": ("on", "off"),
        "gpu_fallback": ("cpu", "refuse"),
        "gpu_batch_small_puts": ("on", "off"),
        "gpu_batch_max_items": ("1", "4096"),
        "gpu_batch_window_ms": ("1", "10000"),
        "gpu_batch_floor_bytes": ("1", "8KiB"),
        "sidecars": ("off", "on"),
        "workers": ("2", "8"),
        "state_dir": ("/a", "/b"),
        "spool_dir": ("/a", "/b"),
        "spool_bytes": ("0", "1TiB"),
        "memory_bytes": ("32MiB", "1GiB"),
        "log_format": ("json", "pretty"),
    }
    first, second = samples[name]
    store = {} if name in ("data_dir", "endpoint_url") else STORE
    if name == "trial_ns_per_byte":
        store = {**STORE, "dispatcher": "trial"}
    elif name.startswith("gpu_batch_") and name != "gpu_batch_small_puts":
        store = {**STORE, "gpu_batch_small_puts": "on"}
    variable = about.variable

    by_option = Settings.load({**store, name: first}, {})
    by_variable = Settings.load(store, {variable: first})
    both = Settings.load({**store, name: second}, {variable: first})

    assert by_option == by_variable
    assert both == Settings.load({**store, name: second}, {})
    assert both != by_option


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "65536"),
        ("port", "-1"),
        ("port", "tcp://10.0.0.1:8014"),
        ("port", ""),
        ("host", " "),
        ("max_header_bytes", "8191"),
        ("max_header_bytes", "1.5KiB"),
        ("max_body_bytes", "1023KiB"),
        ("max_body_bytes", "1 XiB"),
        ("read_timeout_seconds", "-1"),
        ("read_timeout_seconds", "nan"),
        ("read_timeout_seconds", "1e3"),
        ("max_concurrent_connections", "0"),
        ("codec", "zstd"),
        ("zstd_level", "0"),
        ("zstd_level", "23"),
        ("dispatcher", "Sampling"),
        ("trial_ns_per_byte", "0"),
        ("trial_ns_per_byte", "1e3"),
        ("dispatch_rules", " "),
        ("gpu_min_bytes", "0"),
        ("gpu_fallback", "gpu"),
        ("gpu_batch_max_items", "0"),
        ("gpu_batch_max_items", "4097"),
        ("gpu_batch_window_ms", "0.5"),
        ("sidecars", "yes"),
        ("log_format", "xml"),
        ("memory_bytes", "1MiB"),
        ("domain", "http://s3.example.com"),
        ("domain", "-a.example"),
        ("domain", "a..b"),
    ],
)
def test_malformed_values_are_named(name: str, value: str) -> None:
    """A value that does not parse is refused with the option's name, or the variable's where it came from there, and what is accepted."""
    flag = "--" + name.replace("_", "-")

    assert re.match(rf"{flag}: {re.escape(repr(value))} is not \S.+", refusal({**STORE, name: value}))
    assert refusal(STORE, {f"S4_{name.upper()}": value}).startswith(f"S4_{name.upper()}: ")


@pytest.mark.parametrize(
    "value",
    [
        "s3.example.com",
        "ftp://s3.example.com",
        "http://",
        "http://a/b",
        "http://a?b",
        "http://a#b",
        "http://k:s@a",
        "http://a:0",
        "http://a:99999",
        "http://[::1",
        "",
    ],
)
def test_endpoints_that_are_none(value: str) -> None:
    """An endpoint is scheme and host, nothing else; what is refused is shown but for credentials, which are refused too."""
    assert refusal({"endpoint_url": value}).startswith("--endpoint-url: ")


def test_an_endpoint_loses_its_slash() -> None:
    """A trailing slash makes no other endpoint, nor another state folder."""
    plain, slash = (Settings.load({"endpoint_url": url}, {}) for url in ("http://[::1]:9000", "http://[::1]:9000/"))

    assert plain == slash


@pytest.mark.parametrize(
    ("given", "environ", "named"),
    [
        ({}, {}, ("--data-dir", "--endpoint-url")),
        ({"data_dir": "/a", "endpoint_url": "http://a"}, {}, ("--data-dir", "--endpoint-url")),
        ({"data_dir": "/a"}, {"S4_ENDPOINT_URL": "http://a"}, ("--data-dir", "S4_ENDPOINT_URL")),
        (STORE, {"S4_ACCESS_KEY_ID": "a"}, ("S4_SECRET_ACCESS_KEY",)),
        (STORE, {"S4_SECRET_ACCESS_KEY": "a"}, ("S4_ACCESS_KEY_ID",)),
        (
            {**STORE, "credentials": "/a"},
            {"S4_ACCESS_KEY_ID": "a", "S4_SECRET_ACCESS_KEY": "b"},
            ("--credentials", "S4_ACCESS_KEY_ID"),
        ),
        ({**STORE, "codec": "cpu-gzip", "zstd_level": "5"}, {}, ("--zstd-level",)),
        ({**STORE, "trial_ns_per_byte": "5"}, {}, ("--trial-ns-per-byte", "sampling")),
        ({**STORE, "gpu_batch_window_ms": "5"}, {}, ("--gpu-batch-window-ms", "--gpu-batch-small-puts")),
        (STORE, {"S4_GPU_BATCH_MAX_ITEMS": "5"}, ("S4_GPU_BATCH_MAX_ITEMS",)),
        ({**STORE, "gpu_batch_small_puts": "on", "gpu_min_bytes": "4096"}, {}, ("--gpu-batch-floor-bytes", "--gpu-min-bytes", "4096")),
        ({**STORE, "workers": "3", "max_concurrent_connections": "2"}, {}, ("--max-concurrent-connections", "3 workers")),
        ({**STORE, "workers": "3"}, {"S4_MEMORY_BYTES": "95MiB"}, ("S4_MEMORY_BYTES", "3 workers")),
        ({**STORE, "codec": "cpu-gzip"}, {"S4_ZSTD_LEVEL": "5"}, ("S4_ZSTD_LEVEL",)),
    ],
)
def test_contradictions_are_named(given: dict[str, str | None], environ: dict[str, str], named: tuple[str, ...]) -> None:
    """Settings that cannot both hold are refused, each by the name it was given under."""
    message = refusal(given, environ)

    assert [name for name in named if name not in message] == []


@pytest.mark.parametrize(
    "given",
    [
        {"codec": "cpu-columnar", "zstd_level": "9"},
        {"codec": "cpu-gzip", "dispatcher": "trial", "zstd_level": "9", "trial_ns_per_byte": "50"},
        {"codec": "passthrough", "dispatch_rules": "/rules.toml", "zstd_level": "9", "trial_ns_per_byte": "50"},
    ],
)
def test_settings_that_count_are_taken(given: dict[str, str | None]) -> None:
    """A level and a budget are taken where a codec or a dispatcher has them, or a rule may."""
    assert Settings.load({**STORE, **given}, {}).compression.zstd_level == 9


def test_words_of_the_codecs() -> None:
    """The names and the default that settings repeat are those of s4_codecs."""
    assert {codec.label for codec in GPU_CODECS} == set(GPU_LABELS)
    assert CompressionSettings().trial_ns_per_byte == EncodeOptions().trial_ns_per_byte
    assert GpuSettings().gpu_min_bytes == GpuPreference().min_bytes


def test_secrets_stay_secret() -> None:
    """A pair comes from the environment only, and neither shows in a representation nor in a refusal."""
    environ = {"S4_ACCESS_KEY_ID": "known", "S4_SECRET_ACCESS_KEY": "hidden"}
    settings = Settings.load({**STORE, "secret_access_key": "from the command line"}, environ)

    assert (settings.keys.access_key_id, settings.keys.secret_access_key) == ("known", "hidden")
    assert "hidden" not in repr(settings)
    assert "   " not in refusal(STORE, {**environ, "S4_SECRET_ACCESS_KEY": "   "})


def test_state_folders_are_apart() -> None:
    """Two endpoints never share a state folder, even where only the scheme differs; XDG_STATE_HOME is honoured."""
    environ = {"XDG_STATE_HOME": "/var/lib/x"}
    folders = {Settings.load({"endpoint_url": url}, environ).state_dir for url in ("http://a:1", "https://a:1", "http://a:2")}

    assert len(folders) == 3
    assert {folder.parent for folder in folders} == {Path("/var/lib/x/s4-gateway")}
    assert Settings.load({"endpoint_url": "http://a:1", "state_dir": "/s"}, environ).spool_dir == Path("/s/spool")


def test_paths_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Relative paths belong to the directory of the start, `~` to the user."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    settings = Settings.load({"data_dir": "store", "credentials": "~/users.toml"}, {})

    assert (settings.backend.data_dir, settings.keys.credentials) == (tmp_path / "store", Path("/home/somebody/users.toml"))


def test_the_reference_has_every_setting() -> None:
    """The documentation's table has one row a setting, with option, variable and default; secrets have no option."""
    table = reference()
    rows = table.strip().splitlines()

    assert len(rows) == 2 + len(list(options()))
    for about in options():
        assert f"`{about.variable}`" in table
        assert (f"`{about.flag} " in table) is not about.secret
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows)


@given(st.integers(0, 2**40), st.sampled_from([("", 1), ("KiB", KIB), (" MiB", MIB), ("gib", GIB)]))
def test_sizes(number: int, unit: tuple[str, int]) -> None:
    """A size is a number with an optional binary unit."""
    settings = Settings.load({**STORE, "spool_bytes": f"{number}{unit[0]}"}, {})

    assert settings.resources.spool_bytes == number * unit[1]


@given(st.sampled_from([about.name for about in options() if not about.secret]), st.text(max_size=40))
@example("data_dir", "~nobody-has-this-name/store")
def test_any_text_is_a_value_or_a_refusal(name: str, value: str) -> None:
    """No text raises anything but the named refusal."""
    with contextlib.suppress(SettingsError):
        Settings.load({**STORE, name: value}, {})
