"""From settings, rules and the machine to how objects are encoded."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from s4_codecs import GpuPreference
from s4_codecs.registry import GPU_CODECS
from s4_codecs.testing.batch import HostBatchCodec, provided

from s4_gateway.compression import MAX_RULES_BYTES, Machine, encoding_on, look_at_machine, read_rules
from s4_gateway.errors import SettingsError
from s4_gateway.objects.encoding import Encoding, frames_footprint
from s4_gateway.settings import Settings

NONE = Machine(None, "no device is visible")
GPU = Machine("NVIDIA H200")
MIB = 2**20

RULES = """
[rules."logs/"]
policy = "trial"
[rules."media/"]
force = "passthrough"
[rules."frames/"]
force = "nvcomp-bitcomp"
"""


@pytest.fixture(autouse=True)
def codecs() -> Iterator[None]:
    """GPU codecs are there, whatever is installed."""
    with provided(*map(HostBatchCodec, GPU_CODECS)):
        yield


def settings(folder: Path, rules: str | None = None, **given: str) -> Settings:
    """Settings of a store in `folder`, with a file of rules."""
    if rules is not None:
        (folder / "rules.toml").write_text(rules)
        given["dispatch_rules"] = str(folder / "rules.toml")
    return Settings.load({"data_dir": str(folder), **given}, {})


def encoding(chosen: Settings, machine: Machine) -> Encoding:
    """What becomes of the settings on that machine."""
    return encoding_on(machine, read_rules(chosen), chosen.gpu)


def test_defaults(tmp_path: Path) -> None:
    """Without a GPU objects are encoded as the settings say."""
    made = encoding(settings(tmp_path), NONE).for_put("bucket", "key")
    assert (made.codec, made.zstd_level, made.dispatcher, made.gpu) == ("cpu-zstd", 3, "sampling", None)


def test_a_gpu_takes_part(tmp_path: Path) -> None:
    """With one, large objects of known size may go to it; small ones where they are compressed together, but not parts of uploads."""
    plain = encoding(settings(tmp_path, gpu_min_bytes="2MiB", prefer_columnar_gpu="on"), GPU)
    assert plain.for_put("bucket", "key").gpu == plain.for_object("bucket", "key").gpu == GpuPreference(2 * MIB, columnar=True)
    batched = encoding(settings(tmp_path, gpu_batch_small_puts="on", gpu_batch_floor_bytes="1000"), GPU)
    assert batched.for_put("bucket", "key").gpu == GpuPreference(1000)
    assert batched.for_object("bucket", "key").gpu == GpuPreference(MIB)


def test_rules_make_options(tmp_path: Path) -> None:
    """The file's rules hold for their prefixes, and the settings elsewhere."""
    made = encoding(settings(tmp_path, RULES, zstd_level="7"), GPU)
    assert made.for_put("logs", "a").dispatcher == "trial"
    assert made.for_put("media", "a").codec == "passthrough"
    assert made.for_put("frames", "a").codec == "nvcomp-bitcomp"
    assert {made.for_put(bucket, "a").zstd_level for bucket in ("logs", "media", "other")} == {7}


def test_a_missing_gpu_is_refused(tmp_path: Path) -> None:
    """Without a GPU its codecs are refused, with where they are named, why, and what helps."""
    with pytest.raises(SettingsError, match=r"^--codec: nvcomp-zstd needs a GPU.*no device is visible; --gpu-fallback cpu"):
        encoding(settings(tmp_path, codec="nvcomp-zstd"), NONE)
    with pytest.raises(SettingsError, match=r"^--dispatch-rules: rule 'frames/': nvcomp-bitcomp needs a GPU"):
        encoding(settings(tmp_path, RULES), NONE)
    with pytest.raises(SettingsError, match=r"^--gpu-batch-small-puts: there is no GPU: no device is visible"):
        encoding(settings(tmp_path, gpu_batch_small_puts="on", gpu_fallback="cpu"), NONE)


def test_the_cpu_stands_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With --gpu-fallback cpu, cpu-zstd takes the place of GPU codecs, and whose place it takes is logged and can be counted."""
    with caplog.at_level(logging.WARNING):
        made = encoding(settings(tmp_path, RULES, gpu_fallback="cpu"), NONE)
    assert "rule 'frames/'" in caplog.text
    assert made.for_put("frames", "a").codec == "cpu-zstd"
    assert (made.misses_device("frames", "a"), made.misses_device("logs", "a")) == (True, False)
    assert not encoding(settings(tmp_path, RULES), GPU).misses_device("frames", "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rules.", "rules.toml: "),
        ('[rules."logs"]\nzstd_level = 3', "rule 'logs': a bucket, a slash"),
        ('[rules."logs/"]\nforce = "lz5"', "the name of a codec"),
        ("#" * (MAX_RULES_BYTES + 1), "more than"),
        ('[rules."logs/"]\nexclude = ["cpu-zstd"]', "configured and excluded"),
    ],
    ids=["toml", "prefix", "codec", "size", "contradiction"],
)
def test_bad_rules_are_named(tmp_path: Path, text: str, message: str) -> None:
    """Rules that cannot be used are refused with the setting, the file and what is wrong."""
    with pytest.raises(SettingsError, match=r"^--dispatch-rules: .*rules\.toml: ") as caught:
        read_rules(settings(tmp_path, text))
    assert message in str(caught.value)


def test_a_rules_file_that_is_not_there(tmp_path: Path) -> None:
    """A file that cannot be read is refused; so is one that is no text."""
    with pytest.raises(SettingsError, match=r"^--dispatch-rules: .*missing\.toml: No such file"):
        read_rules(settings(tmp_path, dispatch_rules=str(tmp_path / "missing.toml")))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="utf-8"):
        read_rules(settings(tmp_path, dispatch_rules=str(tmp_path / "binary")))


def test_rules_may_change(tmp_path: Path) -> None:
    """From the moment on that new rules are followed, they are what counts."""
    chosen = settings(tmp_path, RULES)
    made = encoding(chosen, GPU)
    assert made.for_put("media", "a").codec == "passthrough"
    made.follow(read_rules(settings(tmp_path, '[rules."media/"]\nforce = "cpu-gzip"')))
    assert made.for_put("media", "a").codec == "cpu-gzip"
    assert made.for_put("frames", "a").codec == "cpu-zstd"


@pytest.mark.parametrize(
    ("given", "rules"),
    [({"dispatcher": "always"}, None), ({"codec": "cpu-gzip"}, None), ({"codec": "passthrough"}, '[rules."a/"]\nforce = "cpu-zstd"')],
)
def test_nobody_looks_for_a_gpu_without_need(tmp_path: Path, given: dict[str, str], rules: str | None) -> None:
    """Where no setting would use one, CUDA is not even looked for."""
    chosen = settings(tmp_path, rules, **given)
    assert look_at_machine(read_rules(chosen), chosen.gpu) == Machine(None, "no setting uses one")


def test_what_frames_take(tmp_path: Path) -> None:
    """What is reserved for frames grows with the frames that a codec may have, and with batches for a GPU."""
    small = encoding(settings(tmp_path), NONE).for_put("bucket", "key")
    trial = encoding(settings(tmp_path, dispatcher="trial"), NONE).for_put("bucket", "key")
    gpu = encoding(settings(tmp_path, codec="nvcomp-zstd"), GPU).for_put("bucket", "key")
    sizes = [frames_footprint(options, size=None, frames_in_flight=4) for options in (small, trial, gpu)]
    assert sizes[0] == 8 * MIB
    assert sizes == sorted(sizes)
    assert sizes[2] == 48 * MIB
    assert frames_footprint(small, size=5 << 30, frames_in_flight=4) == 8 * MIB
    assert frames_footprint(small, size=5 << 30, frames_in_flight=4, part=True) == 64 * MIB
