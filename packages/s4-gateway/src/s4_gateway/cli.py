"""The command `s4-gateway`: serve, examine a backend, or check an embedded store."""

import json
import logging
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NoReturn

import click

from s4_gateway._version import __version__
from s4_gateway.errors import SettingsError
from s4_gateway.settings import SWITCH, Settings, options

if TYPE_CHECKING:
    from s4_gateway.backend.local.check import Report
    from s4_gateway.client_keys import ClientKeys
    from s4_gateway.services import Plan

logger = logging.getLogger(__name__)

Given = dict[str, str | None]

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_LEFTOVERS = 3
"""`check` found something that `--repair` would put right."""
EXIT_DAMAGE = 4
"""`check` found something that was stored and cannot be given back."""


def with_settings(command: click.Command) -> None:
    """Give a command one option per setting. Values stay text: Settings.load parses option and environment variable alike."""
    for about in options():
        if not about.secret:
            default = about.default.replace("`", "")
            help_text = f"{about.help} [{about.variable}; default: {default}]"
            if about.metavar == SWITCH:
                # Named without a value it is on.
                command.params.append(click.Option([about.flag], metavar=about.metavar, help=help_text, is_flag=False, flag_value="on"))
            else:
                command.params.append(click.Option([about.flag], metavar=about.metavar, help=help_text))


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 140})
@click.version_option(__version__, prog_name="s4-gateway")
@click.pass_context
def main(context: click.Context, /, **given: str | None) -> None:
    """Serve an S3 endpoint that stores every object compressed and gives it back byte for byte.

    Give --data-dir or --endpoint-url. Each option can also be set by the environment variable in brackets; client keys by --credentials, or
    by S4_ACCESS_KEY_ID and S4_SECRET_ACCESS_KEY.
    """
    context.obj = given
    if context.invoked_subcommand is None:
        _serve(_settings(given))


@main.command("doctor")
@click.pass_context
def examine(context: click.Context, /, **given: str | None) -> None:
    """Tell what the backend can and cannot do, and what follows from it."""
    import asyncio

    from s4_gateway import doctor
    from s4_gateway.observe import Metrics
    from s4_gateway.services import build_backend, find_backend_credentials

    outer: Given = context.obj
    settings = _settings({name: value if given[name] is None else given[name] for name, value in outer.items()})
    try:
        backend = build_backend(settings, Metrics(), find_backend_credentials(settings))
        report = asyncio.run(doctor.run(backend))
    except Exception as error:  # noqa: BLE001 - the end of the program: whatever it is, it is told in one line
        _end(error)
    width = shutil.get_terminal_size((140, 24)).columns
    click.echo(doctor.render(report, width=max(width, 100)), nl=False)
    sys.exit(0 if report.healthy else EXIT_FAILURE)


@main.command("check")
@click.option("--data-dir", metavar="DIR", help="Directory of the store. [S4_DATA_DIR]")
@click.option("--repair", is_flag=True, help="Put right what is provable: counts, orphans, and what a killed run left to do.")
@click.option("--quick", is_flag=True, help="Compare sizes alone; the bytes of bodies are not read.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def check(context: click.Context, /, *, data_dir: str | None, repair: bool, quick: bool, as_json: bool) -> None:
    """Examine an embedded store that no server uses: rows, files, and the bytes of every object.

    Exit status: 0 when nothing is wrong, or all of it is repaired; 3 when --repair would help; 4 when something is damaged; 1 when the
    store cannot be examined, also because a server uses it.
    """
    from s4_gateway.backend.abc import BackendError
    from s4_gateway.backend.local.check import examine as examine_store

    outer: Given = context.obj
    directory = _settings({"data_dir": data_dir or outer["data_dir"]}).backend.data_dir
    if directory is None:
        _end(SettingsError("check looks at an embedded store: give --data-dir"))
    try:
        report = examine_store(directory, mend=repair, read=not quick)
    except BackendError as error:
        _end(error, EXIT_DAMAGE if error.code == "InternalError" else EXIT_FAILURE)
    _tell(report, as_json=as_json)


def _tell(report: "Report", *, as_json: bool) -> NoReturn:
    from s4_gateway.backend.local.check import Weight

    damages, leftovers = len(report.open(Weight.DAMAGE)), len(report.open(Weight.LEFTOVER))
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
    else:
        for finding in report.findings:
            click.echo(str(finding))
        read = "read" if report.read else "not read"
        click.echo(f"{report.objects} objects, {report.bodies} bodies, {report.stored_bytes} bytes, {read}")
        click.echo(f"{damages} damaged, {leftovers} left over" if damages or leftovers else "nothing is wrong")
    sys.exit(EXIT_DAMAGE if damages else EXIT_LEFTOVERS if leftovers else 0)


with_settings(main)
with_settings(examine)


def _settings(given: Mapping[str, str | None]) -> Settings:
    try:
        return Settings.load(given)
    except SettingsError as error:
        _end(error)


def _serve(settings: Settings) -> None:
    from s4_gateway.observe import logs
    from s4_gateway.serve import bind, serve
    from s4_gateway.services import plan_services

    logs.configure(settings.log.log_format)
    try:
        listening = bind(settings.listen.host, settings.listen.port)
        address = listening.getsockname()[:2]
        plan = plan_services(settings)

        def announce() -> None:
            _announce(settings, address, plan.keys)

        if settings.resources.workers == 1:
            serve(plan.services(), listening, ready=announce)
        else:
            _serve_by_workers(plan.locked(), listening, ready=announce)
        logger.info("stopped")
    except Exception as error:  # noqa: BLE001 - the end of the program: whatever it is, it is told in one line
        _end(error)


def _serve_by_workers(plan: "Plan", listening: socket.socket, *, ready: Callable[[], None]) -> None:
    from s4_gateway.observe import logs
    from s4_gateway.observe.shared_stream import SharedStream, SharedText
    from s4_gateway.serve import Station, Supervisor, serve

    settings = plan.settings
    stream = SharedStream(sys.stderr.fileno())  # for as long as this process lives
    logs.configure(settings.log.log_format, SharedText(stream))

    def job(station: Station) -> None:
        serve(plan.services(station.place, log_stream=stream), listening, ready=station.ready, station=station)

    Supervisor(job, (listening,), count=settings.resources.workers, drain_seconds=settings.listen.drain_seconds, ready=ready).run()


def _announce(settings: Settings, address: tuple[str, int], keys: "ClientKeys") -> None:
    """Where to connect and with what, on standard output; secrets once only, when they were made.

    In one piece: whoever reads it while it is written sees all of it or nothing.
    """
    host, port = address
    shown = f"[{host}]" if ":" in host else host
    lines = [
        f"s4-gateway {__version__}",
        f"endpoint    http://{shown}:{port}",
        f"region      {settings.backend.region}",
        f"backend     {settings.backend.endpoint_url or settings.backend.data_dir}",
    ]
    if keys.made is not None:
        access_key, secret_key = keys.made
        lines += ["client keys, shown this once:", f"access key  {access_key}", f"secret key  {secret_key}"]
    if keys.kept_in is not None:
        lines.append(f"keys are in {keys.kept_in}")
    click.echo("\n".join(lines))


def _end(error: Exception, status: int = EXIT_FAILURE) -> NoReturn:
    click.echo(f"s4-gateway: {str(error) or type(error).__name__}", err=True)
    sys.exit(EXIT_USAGE if isinstance(error, SettingsError) else status)
