"""The helper processes that decode with nvCOMP: when they start, what they see, and that nothing they suffer reaches the caller."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from s4_format import Algorithm, CodecId, parse_container

from s4_codecs import CodecUnavailableError, CorruptPayloadError, codec_for
from s4_codecs.nvcomp import host, host_helper, host_library
from s4_codecs.nvcomp.host import HostDecoder
from s4_codecs.nvcomp.host_library import HostLibrary, find_library

from .golden import GOLDEN, golden_payloads

LIBRARY = find_library()
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="the extra nvcomp-cpu is not installed, or has nothing for this platform")

BITCOMP = next(entry for entry in golden_payloads() if entry.id == "nvcomp/bitcomp-uint32.u32mono160k")
GDEFLATE = next(entry for entry in golden_payloads() if entry.id == "nvcomp/gdeflate-a1.text150k")
CRASHING = [(memoryview(b"\xff" * 300), 5000)]
"""A page at which the library ends its process."""


@pytest.fixture
def decoder() -> Iterator[HostDecoder]:
    """A decoder of its own, so that its processes are known."""
    assert LIBRARY
    made = HostDecoder(LIBRARY)
    yield made
    made.close()


def decode(decoder: HostDecoder, entry=BITCOMP) -> bytes:
    """The plaintext of a golden container."""
    body = entry.body
    container = parse_container(body)
    return b"".join(decoder.decode(container.algorithm, list(container.chunks(body))))


def children(process: int | str = "self") -> set[int]:
    """Processes that this one started and that are there."""
    found = set()
    for task in Path(f"/proc/{process}/task").iterdir():
        found |= {int(number) for number in (task / "children").read_text().split()}
    return found


def running(decoder: HostDecoder) -> int:
    """The process of a decoder that has one."""
    (helper,) = decoder._all
    return helper._process.pid


def run(code: str) -> str:
    """What a fresh interpreter prints that runs this with a codec and the path of a body."""
    head = f"""
    import os, signal, sys
    from pathlib import Path
    from s4_codecs import codec_for
    body, size = Path({str(BITCOMP.file)!r}).read_bytes(), {BITCOMP.size}
    children = lambda: {{int(n) for task in Path("/proc/self/task").iterdir() for n in (task / "children").read_text().split()}}
    """
    text = textwrap.dedent(head) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-W", "error", "-c", text], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def gone(process: int) -> bool:
    """Whether the process has ended, waiting a little for it."""
    for _ in range(200):
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def test_starts_when_it_is_needed_and_ends_with_the_process() -> None:
    """Neither an import nor a codec starts a process; the first payload does, and the end of the caller ends it."""
    out = run(
        """
        codec = codec_for("nvcomp-bitcomp")
        codec_for("nvcomp-gdeflate").inflater()
        before = children()
        assert len(codec.decompress(body, size)) == size
        (helper,) = children()
        maps = Path("/proc/self/maps").read_text()
        print(len(before), helper, "libnvcomp" in maps)
        """
    )
    before, helper, loaded = out.split()
    assert (before, loaded) == ("0", "False")
    assert gone(int(helper))


def test_ends_when_the_caller_is_killed() -> None:
    """A caller that has no time to say goodbye leaves no process behind."""
    code = f"""
    import os, signal
    from pathlib import Path
    from s4_codecs import codec_for
    codec_for("nvcomp-bitcomp").decompress(Path({str(BITCOMP.file)!r}).read_bytes(), {BITCOMP.size})
    print(*(Path(f"/proc/self/task/{{os.getpid()}}/children").read_text().split()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert gone(int(done.stdout))


def test_what_it_sees() -> None:
    """No file or socket of the caller, none of its settings, no system call but a few: two pipes and the shared memory are all it has."""
    out = run(
        """
        import socket
        from s4_codecs.nvcomp.host_helper import _SYSTEM_CALLS
        import platform
        os.environ["AWS_SECRET_ACCESS_KEY"] = "secret"
        listening, opened = socket.socket(), open("/etc/hostname")
        for descriptor in (listening.fileno(), opened.fileno()):
            os.set_inheritable(descriptor, True)
        codec_for("nvcomp-bitcomp").decompress(body, size)
        (helper,) = children()
        files = {os.readlink(path).split(":")[0] for path in Path(f"/proc/{helper}/fd").iterdir()}
        status = dict(line.split(":\\t") for line in Path(f"/proc/{helper}/status").read_text().splitlines())
        print(sorted(files))
        print("AWS" in Path(f"/proc/{helper}/environ").read_text(), os.readlink(f"/proc/{helper}/cwd"))
        print(status["NoNewPrivs"], status["Seccomp"], platform.machine() in _SYSTEM_CALLS)
        listening.close(), opened.close()
        """
    )
    files, surroundings, confined = out.splitlines()
    assert files == "['/dev/null', '/memfd', 'pipe']"
    assert surroundings == "False /"
    assert confined == "1 2 True"


def test_forked_processes_have_their_own() -> None:
    """A process that is forked from one with a helper starts another, and neither disturbs the other."""
    out = run(
        """
        codec = codec_for("nvcomp-bitcomp")
        plain = codec.decompress(body, size)
        (helper,) = children()
        child = os.fork()
        if child == 0:
            same = codec.decompress(body, size) == plain
            (other,) = children()
            os.write(1, f"{same} {other != helper}\\n".encode())
            sys.exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        print(codec.decompress(body, size) == plain, children() == {helper})
        """
    )
    assert out.splitlines() == ["True True", "True True"]


def test_damage_does_not_reach_the_caller(decoder: HostDecoder) -> None:
    """A payload that kills the helper is a damaged payload; what comes next has another helper."""
    plain = decode(decoder)
    for _ in range(3):
        first = running(decoder)
        with pytest.raises(CorruptPayloadError, match="damaged"):
            list(decoder.decode(Algorithm.GDEFLATE, CRASHING))
        assert gone(first)
        assert decode(decoder) == plain
        assert running(decoder) != first


def test_damage_is_one_payload_s(decoder: HostDecoder) -> None:
    """Threads whose payloads are sound are not told of the damage in another's."""
    plain, outcomes = decode(decoder), list[object]()

    def damaged() -> None:
        for _ in range(4):
            with pytest.raises(CorruptPayloadError):
                list(decoder.decode(Algorithm.GDEFLATE, CRASHING))

    def sound() -> None:
        outcomes.extend(decode(decoder) == plain for _ in range(20))

    threads = [threading.Thread(target=work) for work in (damaged, sound, sound)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [True] * 40


def test_damage_that_is_noticed(decoder: HostDecoder) -> None:
    """A stream that says another size than it should, or is longer than it is, is refused without being decoded."""
    body = BITCOMP.body
    chunk, size = next(parse_container(body).chunks(body))
    for wrong in ([(chunk, size - 4)], [(chunk, size + 4)], [(chunk[:-8], size)], [(memoryview(bytes(len(chunk))), size)]):
        with pytest.raises(CorruptPayloadError):
            list(decoder.decode(Algorithm.BITCOMP, wrong))


def test_one_that_was_killed_is_replaced(decoder: HostDecoder) -> None:
    """A helper that was ended from outside says nothing of the payload: another one decodes it."""
    plain = decode(decoder)
    os.kill(running(decoder), signal.SIGKILL)
    assert decode(decoder) == plain

    # Now in the middle of its work: it is stopped, gets a request, and is ended before it can answer.
    stopped, found = running(decoder), list[bytes]()
    os.kill(stopped, signal.SIGSTOP)
    worker = threading.Thread(target=lambda: found.append(decode(decoder)))
    worker.start()
    time.sleep(0.2)
    os.kill(stopped, signal.SIGKILL)
    worker.join()
    assert found == [plain]
    assert running(decoder) != stopped


def test_one_that_does_not_answer(decoder: HostDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper that hangs is given up after a time; it is no fault of the payload."""
    plain = decode(decoder)
    stopped = running(decoder)
    os.kill(stopped, signal.SIGSTOP)
    monkeypatch.setattr(host, "ANSWER_SECONDS", 0.1)
    with pytest.raises(CodecUnavailableError, match="did not answer"):
        decode(decoder)
    monkeypatch.undo()
    assert gone(stopped)
    assert decode(decoder) == plain


def test_an_endless_loop_ends() -> None:
    """What takes more CPU time than any sound request is ended by the kernel, as damage."""
    code = f"""
    import mmap, sys
    sys.path.insert(0, {str(Path(host_helper.__file__).parent)!r})
    import host_helper
    host_helper.CPU_SECONDS = 0.2
    def spin(rows):
        while True:
            pass
    host_helper.serve(mmap.mmap(-1, 4096), {{5: spin}})
    """
    started = time.monotonic()
    request = host_helper.REQUEST.pack(5, 0)
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], input=request, capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGPROF
    assert time.monotonic() - started < 30
    assert signal.Signals(-done.returncode) in host._DAMAGE_SIGNALS


def test_as_many_as_processors(decoder: HostDecoder) -> None:
    """Threads work side by side, with no more helpers than there are processors."""
    plain = decode(decoder, GDEFLATE)
    outcomes = list[bool]()
    threads = [threading.Thread(target=lambda: outcomes.append(decode(decoder, GDEFLATE) == plain)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [True] * 12
    assert 1 <= len(decoder._all) <= len(os.sched_getaffinity(0))


def test_large_chunks_and_many_small_ones(decoder: HostDecoder) -> None:
    """Chunks of 16 MiB fit, and so do more chunks than a request holds."""
    assert LIBRARY
    from .container_writers import container, nvcomp_bitcomp, nvcomp_gdeflate

    large = bytes(range(256)) * (16 << 12)
    body = container(Algorithm.BITCOMP, nvcomp_bitcomp(LIBRARY), large + b"tail", chunk_size=16 << 20)
    assert b"".join(decoder.decode(Algorithm.BITCOMP, list(parse_container(body).chunks(body)))) == large + b"tail"
    small = bytes(range(8)) * 1200
    body = container(Algorithm.GDEFLATE, nvcomp_gdeflate(LIBRARY), small, chunk_size=1)
    assert b"".join(decoder.decode(Algorithm.GDEFLATE, list(parse_container(body).chunks(body)))) == small


def test_closed_ones_start_nothing(decoder: HostDecoder) -> None:
    """When the process ends no new helper is started."""
    decode(decoder)
    process = running(decoder)
    decoder.close()
    assert gone(process)
    with pytest.raises(CodecUnavailableError):
        decode(decoder)


def test_libraries_that_cannot_be_used(tmp_path: Path) -> None:
    """Files that are no libraries, or not these, are missing decoders."""
    for content in (b"", b"not a library"):
        path = tmp_path / "libnvcomp.so.9"
        path.write_bytes(content)
        decoder = HostDecoder(HostLibrary(path, path))
        with pytest.raises(CodecUnavailableError, match="BITCOMP"):
            decode(decoder)
        decoder.close()


def test_a_process_that_cannot_start(decoder: HostDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no process can be started the codec is not available; that is not the payload's fault."""
    monkeypatch.setattr(sys, "executable", str(GOLDEN / "no-such-program"))
    with pytest.raises(CodecUnavailableError, match="cannot be started"):
        decode(decoder)


def test_no_memory_to_share(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same where there are too many files open for another one."""

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse)
    decoder = HostDecoder(HostLibrary(tmp_path, tmp_path))
    with pytest.raises(CodecUnavailableError, match="too many open files"):
        decode(decoder)


def test_where_the_library_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is found by its package, needs both of its files, and is nowhere where the package is not or the platform is another."""
    assert LIBRARY
    assert LIBRARY.gdeflate.name.startswith("libnvcomp_cpu.so")

    def parent_missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    def installed_at(*folders: Path) -> object:
        return lambda name: SimpleNamespace(submodule_search_locations=[str(folder) for folder in folders])

    looked_for = find_library.__wrapped__
    (tmp_path / "lib64").mkdir()
    (tmp_path / "lib64" / "libnvcomp_cpu.so.6").touch()
    for finder in (parent_missing, lambda name: None, installed_at(tmp_path), installed_at()):
        monkeypatch.setattr(host_library, "find_spec", finder)
        assert looked_for() is None
    (tmp_path / "lib64" / "libnvcomp.so.6").touch()
    monkeypatch.setattr(host_library, "find_spec", installed_at(tmp_path))
    assert looked_for() == HostLibrary(tmp_path / "lib64" / "libnvcomp_cpu.so.6", tmp_path / "lib64" / "libnvcomp.so.6")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert looked_for() is None


def test_helpers_serve_the_codecs() -> None:
    """Codecs of one process share its helpers."""
    plain = codec_for(CodecId.NVCOMP_BITCOMP).decompress(BITCOMP.body, BITCOMP.size)
    helpers = children()
    for _ in range(5):
        assert codec_for(CodecId.NVCOMP_BITCOMP).decompress(BITCOMP.body, BITCOMP.size) == plain
        codec_for(CodecId.NVCOMP_GDEFLATE).decompress(GDEFLATE.body, GDEFLATE.size)
    assert children() == helpers
