"""Codecs are found by id and label, provided by entry points, loaded on first use."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from s4_format import CodecId

from s4_codecs import CodecUnavailableError, DictionaryError, Reason, available_codecs, codec_for
from s4_codecs.zstd import ZstdCodec

HERE = {CodecId.PASSTHROUGH, CodecId.CPU_ZSTD, CodecId.CPU_ZSTD_DICT, CodecId.CPU_GZIP, CodecId.NVCOMP_ZSTD, CodecId.NVCOMP_GDEFLATE}


def test_our_codecs_are_registered() -> None:
    """Every codec of this package is found under its id and its label."""
    assert available_codecs() >= HERE
    for codec_id in HERE:
        options = {"dictionary": b"raw content"} if codec_id is CodecId.CPU_ZSTD_DICT else {}
        assert codec_for(codec_id, **options).codec_id is codec_id
        assert codec_for(codec_id.label, **options).name == codec_id.label


def test_options_reach_the_codec() -> None:
    """Options are the provider's; equal ones share an instance."""
    codec = codec_for("cpu-zstd", level=7)
    assert isinstance(codec, ZstdCodec)
    assert codec.level == 7
    assert codec_for(CodecId.CPU_ZSTD, level=7) is codec
    assert codec_for("cpu-zstd", level=8) is not codec
    assert repr(codec_for("cpu-gzip", level=2)) == "GzipCodec(level=2)"


@pytest.mark.parametrize(
    ("codec", "options"),
    [("cpu-zstd", {"level": 0}), ("cpu-zstd", {"level": 23}), ("cpu-gzip", {"level": 10}), ("cpu-gzip", {"level": -1})],
)
def test_bad_levels_are_refused(codec: str, options: dict[str, int]) -> None:
    """A level that the codec does not have is named."""
    with pytest.raises(ValueError, match=f"not {options['level']}"):
        codec_for(codec, **options)


def test_unknown_options_are_refused() -> None:
    """An option that the provider does not take is an error."""
    with pytest.raises(TypeError, match="speed"):
        codec_for("cpu-zstd", speed=1)
    with pytest.raises(DictionaryError) as caught:
        codec_for("cpu-zstd-dict")
    assert caught.value.reason is Reason.DICTIONARY_MISSING


@pytest.mark.parametrize("codec", [CodecId.NVCOMP_GANS, CodecId.DIETGPU_ANS])
def test_reserved_codecs_have_no_extra(codec: CodecId) -> None:
    """A codec whose id is reserved is not here, and the error says that nothing provides it."""
    with pytest.raises(CodecUnavailableError, match="no implementation exists") as caught:
        codec_for(codec)
    assert (caught.value.codec, caught.value.extra, caught.value.reason) == (codec, None, Reason.CODEC_UNAVAILABLE)


def test_unknown_labels_are_unavailable() -> None:
    """A label that names no codec at all is refused."""
    with pytest.raises(CodecUnavailableError, match="no codec is called 'lz5'"):
        codec_for("lz5")


@pytest.fixture
def plugin(tmp_path: Path):
    """Run code in a process that sees one more installed distribution, made of an entry point line and a module."""

    def run(entry_points: str, module: str, code: str) -> str:
        info = tmp_path / "s4_plugin-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: s4-plugin\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[s4.codecs]\n{entry_points}\n")
        (tmp_path / "s4_plugin.py").write_text(textwrap.dedent(module))
        head = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        done = subprocess.run([sys.executable, "-c", head + textwrap.dedent(code)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


RESERVED = """
    from s4_format import CodecId
    from s4_codecs.passthrough import PassthroughCodec

    class Plugin(PassthroughCodec):
        codec_id = CodecId.DIETGPU_ANS
        name = "dietgpu-ans"
"""


def test_another_package_provides_a_codec(plugin) -> None:
    """An installed entry point is enough, and its module is imported when the codec is asked for, not before."""
    out = plugin(
        "dietgpu-ans = s4_plugin:Plugin",
        RESERVED,
        """
        import s4_codecs
        known = s4_codecs.available_codecs()
        listed = 5 in known
        print("s4_plugin" in sys.modules, s4_codecs.codec_for("dietgpu-ans").name, "s4_plugin" in sys.modules, listed)
        """,
    )
    assert out == "False dietgpu-ans True True"


def test_two_providers_are_an_error(plugin) -> None:
    """Who would be chosen must not depend on the order of installation; other codecs still work."""
    out = plugin(
        "cpu-zstd = s4_plugin:Plugin",
        RESERVED,
        """
        import s4_codecs
        try:
            s4_codecs.codec_for("cpu-zstd")
        except s4_codecs.RegistryError as error:
            print(error.reason, "s4_plugin:Plugin" in str(error), "s4_codecs.zstd:ZstdCodec" in str(error))
        print(s4_codecs.codec_for("cpu-gzip").name)
        """,
    )
    assert out.split() == ["duplicate-provider", "True", "True", "cpu-gzip"]


@pytest.mark.parametrize("provider", ["Plugin", "not_callable", "wrong"])
def test_a_provider_must_make_its_codec(plugin, provider: str) -> None:
    """A provider that makes another codec, or nothing, is refused; one that works is not."""
    out = plugin(
        f"dietgpu-ans = s4_plugin:{provider}",
        RESERVED + "\n    not_callable = 5\n    wrong = PassthroughCodec\n",
        """
        import s4_codecs
        try:
            print(s4_codecs.codec_for("dietgpu-ans").name)
        except s4_codecs.RegistryError as error:
            print(error.reason)
        """,
    )
    assert out == {"Plugin": "dietgpu-ans"}.get(provider, "invalid-provider")


def test_a_provider_without_its_dependency_is_unavailable(plugin) -> None:
    """An ImportError while loading means that the extra is missing; codecs unknown to this version are passed over."""
    out = plugin(
        "dietgpu-ans = s4_plugin:Plugin\nfuture-codec = s4_plugin:Future",
        "import a_module_that_is_not_installed",
        """
        import s4_codecs
        try:
            s4_codecs.codec_for("dietgpu-ans")
        except s4_codecs.CodecUnavailableError as error:
            print(error.extra, type(error.__cause__).__name__)
        """,
    )
    assert out == "None ModuleNotFoundError"
