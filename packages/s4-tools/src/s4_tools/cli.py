"""The command `s4`."""

import click

from s4_tools._version import __version__

ABOUT = f"""s4 {__version__}: the command line of S4, the compressing S3 storage layer.

This release of s4-tools has no commands yet. Coming: estimate what a bucket would save, convert it to S4 objects and back,
verify and repair them, train dictionaries, compact what many small writes left.
Single objects can be looked into today: python -m s4_format inspect FILE"""


@click.command(help="The command line of S4, the compressing S3 storage layer.")
@click.version_option(__version__, prog_name="s4")
def main() -> None:
    """Say what this command is."""
    click.echo(ABOUT)
