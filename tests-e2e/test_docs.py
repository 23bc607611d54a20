"""The documentation is true: its Python runs, its commands exist, and its tables are the program's."""

import hashlib
import json
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from golden import of
from programs import program
from s4_gateway import settings
from s4_gateway.observe import families
from s4_gateway.operations.table import TABLE
from s4_gateway.testing.server import running_gateway
from s4_gateway.testing.weather.faults import TABLE as FAULTS

pytestmark = pytest.mark.servers("embedded")

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted((ROOT / "packages").glob("*/README.md")), *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The endpoint that the pages name; the tests put the real one in its place.
ENDPOINT = "http://127.0.0.1:8014"
GATEWAY = Path(sysconfig.get_path("scripts")) / "s4-gateway"


def _blocks(page: Path, language: str) -> list[str]:
    return [text for found, text in FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


def _commands(page: Path) -> list[str]:
    """What the reader types: the lines behind a prompt."""
    return [
        line[2:].partition("  #")[0].rstrip() for text in _blocks(page, "console") for line in text.splitlines() if line.startswith("$ ")
    ]


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


# The Python of a README may be a fragment; that of the guides is run.
PYTHON_PAGES = [page for page in PAGES if page.is_relative_to(DOCS) and _blocks(page, "python")]


@pytest.fixture(scope="module")
def gateway(hermetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A gateway started as the tutorial starts it, but on a port of the system's choice; yields the environment of its clients."""
    folder = tmp_path_factory.mktemp("docs")
    log = folder / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [GATEWAY, "--data-dir", folder / "store", "--port", "0"], stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            assert process.stdout
            said: dict[str, str] = {}
            while "secret key" not in said:
                line = process.stdout.readline()
                assert line, f"s4-gateway ended with {process.wait()}: {log.read_text()}"
                name, _, value = line.strip().rpartition("  ")
                said[name.strip()] = value
            yield {
                **os.environ,
                "ENDPOINT": said["endpoint"],
                "AWS_ACCESS_KEY_ID": said["access key"],
                "AWS_SECRET_ACCESS_KEY": said["secret key"],
                "AWS_DEFAULT_REGION": said["region"],
            }
        finally:
            process.terminate()
            process.wait(timeout=30)


def test_pages_with_python_are_found() -> None:
    """The pages that promise runnable code are among those that run."""
    names = {_name(page) for page in PYTHON_PAGES}

    assert {
        "docs/tutorial/index.md",
        "docs/how-to/clients.md",
        "docs/how-to/codecs.md",
        "docs/how-to/without-the-gateway.md",
        "docs/how-to/without-a-gpu.md",
    } <= names


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=_name)
def test_python_of_a_page_runs(page: Path, gateway: dict[str, str], tmp_path: Path) -> None:
    """All Python of a page runs from top to bottom, silently, warnings being errors."""
    code = "\n".join(_blocks(page, "python")).replace(ENDPOINT, gateway["ENDPOINT"])

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, env=gateway, capture_output=True, text=True, timeout=120, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stderr


def test_client_commands_run(gateway: dict[str, str], tmp_path: Path) -> None:
    """The aws and rclone commands of the clients' page run as printed."""
    folders = [str(program(name).parent) for name in ("awscli", "rclone")]
    (tmp_path / "logs").mkdir()
    for path in (tmp_path / "access.log", tmp_path / "logs" / "access.log"):
        path.write_text("one line of text\n" * 100_000, encoding="utf-8")
    script = "set -e\n" + "\n".join(_commands(DOCS / "how-to" / "clients.md")).replace(ENDPOINT, gateway["ENDPOINT"])

    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**gateway, "PATH": os.pathsep.join([*folders, gateway["PATH"]])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "access.log" in done.stdout
    assert "0 differences found" in done.stderr


def test_commands_of_the_decoder_run(tmp_path: Path) -> None:
    """The commands that read a GPU-written object by hand give its original bytes, from what the commands before them leave behind."""
    stored = of("refcode/unframed_nvcomp-bitcomp")
    (tmp_path / "access.log.stored").write_bytes(stored.stored.body)
    (tmp_path / "head.json").write_text(json.dumps({"Metadata": stored.stored.metadata}), encoding="utf-8")
    commands = [line for line in _commands(DOCS / "how-to" / "without-a-gpu.md") if line.startswith("s4-codec ")]

    assert commands
    for line in commands:
        program, *arguments = line.split()
        subprocess.run([GATEWAY.with_name(program), *arguments], cwd=tmp_path, timeout=60, check=True)
    assert hashlib.sha256((tmp_path / "access.log").read_bytes()).hexdigest() == stored.sha256


def test_options_in_commands_exist() -> None:
    """No page shows an option of s4-gateway that it does not have."""
    known = {about.flag for about in settings.options() if not about.secret} | {"--help", "--version"}
    shown = {
        (_name(page), option)
        for page in PAGES
        for command in _commands(page)
        if command.startswith("s4-gateway ")
        for option in re.findall(r"(?<=\s)--[a-z-]+", command)
    }

    assert len(shown) > 3
    assert {(page, option) for page, option in shown if option not in known} == set()


@pytest.mark.parametrize(
    ("page", "table"), [("command-line", settings.reference()), ("metrics", families.reference())], ids=["settings", "metrics"]
)
def test_reference_table_is_the_programs(page: str, table: str) -> None:
    """The reference pages hold the tables that the program makes of its own declarations: reference() in the module."""
    assert table in (DOCS / "reference" / f"{page}.md").read_text(encoding="utf-8")


def test_rules_of_a_page_are_taken(tmp_path: Path) -> None:
    """A gateway starts with every file of dispatch rules that a page shows."""
    found = [text for page in PAGES for text in _blocks(page, "toml") if "[rules." in text]
    assert len(found) == 2
    for number, text in enumerate(found):
        file = tmp_path / f"{number}.toml"
        file.write_text(text, encoding="utf-8")
        with running_gateway("--data-dir", str(tmp_path / str(number)), "--dispatch-rules", str(file)) as process:
            assert process.endpoint


def test_operations_listed_are_those_served() -> None:
    """The reference lists every S3 operation that is built, and none that is answered 501."""
    page = (DOCS / "reference" / "s3.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([A-Z][A-Za-z0-9]+)` \|", page, re.MULTILINE)

    assert sorted(listed) == sorted(name for name, entry in TABLE.items() if entry.run)


def test_links_between_pages_lead_somewhere() -> None:
    """Every relative link of a page leads to a file, and its anchor to a heading there."""
    dead = [
        (_name(page), link)
        for page in PAGES
        for link, path, anchor in re.findall(r"\]\((?!\w+:)(([^)#]*)#?([^)]*))\)", page.read_text(encoding="utf-8"))
        if not _leads_somewhere(page, path, anchor)
    ]

    assert dead == []


def _leads_somewhere(page: Path, path: str, anchor: str) -> bool:
    target = page.parent / path if path else page
    if not anchor:
        return target.exists()
    headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_fault_is_argued() -> None:
    """The page about failures has each fault that the schedules play, and among the limits each that is a lie of the store."""
    page = (DOCS / "explanation" / "what-can-go-wrong.md").read_text(encoding="utf-8")
    table, _, limits = page.partition("## What no gateway can see")
    rows = " ".join(line for line in table.splitlines() if line.startswith("|"))
    assert set(re.findall(r"`([a-z0-9-]+)`", rows)) == FAULTS.keys()
    assert {name for name, fault in FAULTS.items() if fault.lie and f"`{name}`" not in limits} == set()
