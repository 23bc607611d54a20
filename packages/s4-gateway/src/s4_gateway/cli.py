"""The command `s4-gateway`: serve, or examine a backend."""

import logging
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NoReturn

import click

from s4_gateway._version import __version__
from s4_gateway.errors import SettingsError
from s4_gateway.settings import Settings, options

if TYPE_CHECKING:
    from s4_gateway.client_keys import ClientKeys
    from s4_gateway.services import Plan

logger = logging.getLogger(__name__)

Given = dict[str, str | None]

EXIT_FAILURE = 1
EXIT_USAGE = 2


def with_settings(command: click.Command) -> None:
    """Give a command one option per setting. Values stay text: Settings.load parses option and environment variable alike."""
    for about in options():
        if not about.secret:
            default = about.default.replace("`", "")
            command.params.append(
                click.Option([about.flag], metavar=about.metavar, help=f"{about.help} [{about.variable}; default: {default}]")
            )


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


def _end(error: Exception) -> NoReturn:
    click.echo(f"s4-gateway: {str(error) or type(error).__name__}", err=True)
    sys.exit(EXIT_USAGE if isinstance(error, SettingsError) else EXIT_FAILURE)
