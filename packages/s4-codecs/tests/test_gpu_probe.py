"""Finding out whether there is a device: once, only when asked, and saying what is missing."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from s4_format import Algorithm, CodecId, ElementType

from s4_codecs.errors import CodecUnavailableError
from s4_codecs.gpu import engine, probe
from s4_codecs.gpu.library import METHODS, Library

from .fake_cuda import CUDARuntimeError, FakeLibrary, fake_cupy


class FakeHandle:
    """A libnvcomp of some version that has every function, or lacks one."""

    def __init__(self, version: int, *, lacks: str = "") -> None:
        self._version = version
        self._lacks = lacks

    def nvcompGetProperties(self, properties: Any) -> int:  # noqa: N802 -- nvCOMP's name
        """Fill in the version."""
        properties._obj.version = self._version
        return 0

    def __getattr__(self, name: str) -> Callable[..., int]:
        if self._lacks and name.endswith(self._lacks):
            raise AttributeError(name)
        return lambda *_: 0


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """cupy and nvidia.libnvcomp as they are where everything is there; the probe asks anew, and forgets afterwards."""
    cupy, nvidia, libnvcomp = ModuleType("cupy"), ModuleType("nvidia"), ModuleType("nvidia.libnvcomp")
    runtime = ModuleType("runtime")
    runtime.__dict__.update(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=lambda: 1,
        getDevice=lambda: 0,
        getDeviceProperties=lambda _: {"name": b"A device", "totalGlobalMem": 1 << 30},
        runtimeGetVersion=lambda: 13020,
    )
    cuda = ModuleType("cupy.cuda")
    cuda.__dict__.update(runtime=runtime)
    cupy.__dict__.update(cuda=cuda)
    libnvcomp.__dict__.update(load_library=lambda: FakeHandle(6000))
    found = {"cupy": cupy, "nvidia": nvidia, "nvidia.libnvcomp": libnvcomp}
    for name, module in found.items():
        monkeypatch.setitem(sys.modules, name, module)
    probe._probe.cache_clear()
    yield found
    probe._probe.cache_clear()


def test_a_device_is_described(modules: dict[str, ModuleType]) -> None:
    """Name, memory and versions, asked for once."""
    device = probe.require(CodecId.NVCOMP_ZSTD)
    assert (device.name, device.memory_bytes, device.cuda_runtime, device.nvcomp) == ("A device", 1 << 30, "13.2", "6.0.0")
    modules["cupy"].cuda.runtime.getDeviceCount = lambda: 0
    assert probe.device() is device
    assert probe.missing() is None


def test_no_device(modules: dict[str, ModuleType]) -> None:
    """Without a device there is none, and the reason says so."""
    modules["cupy"].cuda.runtime.getDeviceCount = lambda: 0
    assert probe.device() is None
    assert probe.missing() == "no device is visible"
    assert engine.pipeline() is None
    assert engine.missing() == "no device is visible"


@pytest.mark.parametrize("name", ["cupy", "nvidia.libnvcomp"])
def test_what_is_not_installed(modules: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A package that is missing is named with the extras that bring it."""
    del modules
    monkeypatch.setitem(sys.modules, name, None)
    assert probe.device() is None
    with pytest.raises(CodecUnavailableError, match=r"s4-codecs\[gpu\].*s4-codecs\[gpu-cu13\]") as caught:
        probe.require(CodecId.NVCOMP_ANS)
    assert (caught.value.codec, caught.value.extra) == (CodecId.NVCOMP_ANS, "gpu")
    assert "nvcomp-ans" in str(caught.value)


def test_what_cuda_says(modules: dict[str, ModuleType]) -> None:
    """An error of CUDA, as without a driver, is the reason."""

    def refuse() -> int:
        raise CUDARuntimeError(35)

    modules["cupy"].cuda.runtime.getDeviceCount = refuse
    assert probe.missing() == "CUDA says cudaError 35"


def test_no_library_for_the_platform(modules: dict[str, ModuleType]) -> None:
    """A package without its library is told."""
    modules["nvidia.libnvcomp"].load_library = lambda: None
    assert "no library for this platform" in str(probe.missing())


@pytest.mark.parametrize("version", [4200, 7000])
def test_unknown_versions_are_refused(modules: dict[str, ModuleType], version: int) -> None:
    """Another major version of nvCOMP is named, with those that are supported."""
    modules["nvidia.libnvcomp"].load_library = lambda: FakeHandle(version)
    assert f"nvCOMP {version // 1000}." in str(probe.missing())
    assert "5.x and 6.x" in str(probe.missing())


def test_a_library_that_lacks_a_function() -> None:
    """It is refused by the function's name, when it is loaded or when the algorithm is asked for."""
    with pytest.raises(CodecUnavailableError, match="nvcompBatchedCRC32Async"):
        Library(FakeHandle(6000, lacks="CRC32Async"))  # type: ignore[arg-type]
    library = Library(FakeHandle(6000, lacks="ZstdDecompressAsync"))  # type: ignore[arg-type]
    with pytest.raises(CodecUnavailableError, match="nvcompBatchedZstdDecompressAsync"):
        library.api(Algorithm.ZSTD)


def test_cascaded_needs_version_6() -> None:
    """Its streams were others before; the other algorithms are there."""
    library = Library(FakeHandle(5300))  # type: ignore[arg-type]
    with pytest.raises(CodecUnavailableError, match="at least version 6"):
        library.api(Algorithm.CASCADED)
    assert library.api(Algorithm.BITCOMP).method.algorithm is Algorithm.BITCOMP
    with pytest.raises(CodecUnavailableError, match="no version"):
        library.api(Algorithm.LZ4)


@pytest.mark.parametrize(
    ("algorithm", "element", "expected"),
    [
        # The structs of nvcomp/zstd.h, bitcomp.h, gdeflate.h, ans.h and cascaded.h, written out.
        (Algorithm.ZSTD, ElementType.CHAR, ""),
        (Algorithm.BITCOMP, ElementType.CHAR, "00000000 00000000"),
        (Algorithm.BITCOMP, ElementType.U32, "00000000 05000000"),
        (Algorithm.GDEFLATE, ElementType.CHAR, "01000000"),
        (Algorithm.ANS, ElementType.CHAR, "00000000 00000000"),
        (Algorithm.CASCADED, ElementType.U64, "07000000 01000000 0100000000000000 0000000000000000 0700000000000000 07"),
    ],
)
def test_options(algorithm: Algorithm, element: ElementType, expected: str) -> None:
    """Option structs are byte for byte what the headers say."""
    assert METHODS[algorithm].compress_options(element) == bytes.fromhex(expected)


def test_an_algorithm_asks_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes come from the library once for the same question, and every option is 64 bytes by value."""
    handle = FakeHandle(6000)
    asked: list[tuple[Any, ...]] = []

    def max_output(size: int, options: ctypes.Structure, found: Any) -> int:
        asked.append((size, ctypes.sizeof(options)))
        found._obj.value = size + 100 * len(asked)
        return 0

    monkeypatch.setattr(handle, "nvcompBatchedBitcompCompressGetMaxOutputChunkSize", max_output, raising=False)
    api = Library(handle).api(Algorithm.BITCOMP)  # type: ignore[arg-type]
    assert api.max_output(65_536) == api.max_output(65_536) == 65_536 + 400
    assert asked == [(65_536, 64)] * 4


def test_importing_brings_no_cuda() -> None:
    """The package, the codecs and the probe are imported without CUDA, and asking the registry for ids asks no device."""
    code = (
        "import sys, s4_codecs, s4_codecs.gpu.probe, s4_codecs.gpu.engine, s4_codecs.nvcomp.codec; s4_codecs.available_codecs(); "
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in ('cupy', 'nvidia')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert done.stdout.strip() == "[]"


def test_the_pipeline_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made once, with the settings given before, says why when it has failed, and is closed at the end."""
    with fake_cupy():
        from s4_codecs.gpu.pipeline import PipelineSettings

        monkeypatch.setattr(engine, "_pipelines", {})
        monkeypatch.setattr(engine, "_settings", [])
        device = probe.Device("A device", 1, "13.2", "6.0.0", FakeLibrary())  # type: ignore[arg-type]
        monkeypatch.setattr(probe, "device", lambda: device)
        monkeypatch.setattr(probe, "missing", lambda: None)
        engine.configure(PipelineSettings(lanes=3, copiers=1))
        made = engine.pipeline()
        assert made is not None
        assert made.settings.lanes == 3
        assert engine.pipeline() is made
        assert engine.missing() is None
        with pytest.raises(ValueError, match="in use already"):
            engine.configure(PipelineSettings())
        made.close()
        assert engine.pipeline() is None
        assert engine.missing() == "the pipeline is closed"
        engine._close()
        assert engine._pipelines == {}
