"""Tools of data people at their defaults, over `s4://`: the same answers as over local files, and only the bytes they need."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import fsspec.generic
import numpy
import pandas
import pyarrow
import pyarrow.csv
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
import pytest
from clients.filesystems import filesystem, storage_options
from datasets import flights
from servers.stores import Store

# The bytes are the tools' own; one store is enough, MinIO has the contract.
pytestmark = pytest.mark.servers("versitygw")

ROW_GROUP = 40_000
JSON_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Flights:
    """The flights in a bucket, and as they were."""

    bucket: str
    table: pyarrow.Table
    options: dict[str, Any]
    folder: Path

    def url(self, name: str) -> str:
        return f"s4://{self.bucket}/{name}"


@pytest.fixture(scope="module")
def data(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flights]:
    """CSV, JSON lines, and Parquet of several row groups, put there by s4fs."""
    folder, bucket = tmp_path_factory.mktemp("flights"), "s4fs-tools"
    csv, table = flights(folder)
    pyarrow.parquet.write_table(table, folder / "flights.parquet", row_group_size=ROW_GROUP)
    table.slice(0, JSON_ROWS).to_pandas().to_json(folder / "flights.jsonl", orient="records", lines=True, date_format="iso")
    store.behind.client.create_bucket(Bucket=bucket)
    filesystem(store).put([str(csv), str(folder / "flights.parquet"), str(folder / "flights.jsonl")], f"{bucket}/")
    yield Flights(bucket, table, storage_options(store), folder)
    store.behind.remove_bucket(bucket)


def test_pandas(data: Flights) -> None:
    """Parquet, CSV and JSON lines come back as from local files, and tables written are those read, whole and by column."""
    frame = data.table.to_pandas()
    read = pandas.read_parquet(data.url("flights.parquet"), storage_options=data.options)
    pandas.testing.assert_frame_equal(read, pandas.read_parquet(data.folder / "flights.parquet"))
    read = pandas.read_csv(data.url("flights.csv"), storage_options=data.options)
    pandas.testing.assert_frame_equal(read, pandas.read_csv(data.folder / "flights.csv"))
    lines = pandas.read_json(data.url("flights.jsonl"), lines=True, storage_options=data.options)
    pandas.testing.assert_frame_equal(lines, pandas.read_json(data.folder / "flights.jsonl", lines=True))
    frame.to_parquet(data.url("written.parquet"), storage_options=data.options)
    frame[:50_000].to_csv(data.url("written.csv.gz"), index=False, storage_options=data.options)
    columns = ["carrier", "dep_delay"]
    again = pandas.read_parquet(data.url("written.parquet"), columns=columns, storage_options=data.options)
    pandas.testing.assert_frame_equal(again, frame[columns])
    assert len(pandas.read_csv(data.url("written.csv.gz"), storage_options=data.options)) == 50_000


def test_pyarrow_reads_only_what_it_needs(data: Flights, store: Store) -> None:
    """Columns and row groups that are not wanted are not fetched: the store sends a fraction of the object."""
    fs = filesystem(store)
    sent = _counting(fs)
    dataset = pyarrow.dataset.dataset(f"{data.bucket}/flights.parquet", filesystem=fs, format="parquet")
    found = dataset.to_table(columns=["carrier", "arr_delay"], filter=pyarrow.dataset.field("month") == 6)
    expected = data.table.filter(pyarrow.compute.field("month") == 6).select(["carrier", "arr_delay"])
    assert found.equals(expected)
    assert sum(sent) < 0.35 * fs.info(f"{data.bucket}/flights.parquet")["s4_stored_size"]


def test_pyarrow_writes_partitions(data: Flights, store: Store) -> None:
    """A partitioned dataset is written and found again, directory by directory."""
    fs = filesystem(store)
    small = data.table.slice(0, 60_000).select(["month", "carrier", "distance"])
    target = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs))
    pyarrow.dataset.write_dataset(
        small, f"{data.bucket}/parts", filesystem=target, format="parquet", partitioning=["carrier"], partitioning_flavor="hive"
    )
    dataset = pyarrow.dataset.dataset(f"{data.bucket}/parts", filesystem=fs, format="parquet", partitioning="hive")
    found = dataset.to_table(filter=pyarrow.dataset.field("carrier") == "UA", columns=["month", "distance"])
    assert found.num_rows == small.filter(pyarrow.compute.field("carrier") == "UA").num_rows
    assert len(fs.glob(f"{data.bucket}/parts/carrier=*")) == len(set(small["carrier"].to_pylist()))


def test_polars(data: Flights, store: Store) -> None:
    """Polars reads Parquet and CSV through fsspec, and scans a dataset lazily."""
    import polars

    fs = filesystem(store)
    with fs.open(data.url("flights.parquet")) as file:
        frame = polars.read_parquet(file, columns=["carrier", "distance"])
    assert frame.to_arrow()["distance"].to_pylist() == data.table["distance"].to_pylist()
    with fs.open(data.url("flights.csv")) as file:
        assert polars.read_csv(file, null_values="NA").height == data.table.num_rows
    lazy = polars.scan_pyarrow_dataset(pyarrow.dataset.dataset(f"{data.bucket}/flights.parquet", filesystem=fs, format="parquet"))
    top = lazy.group_by("carrier").agg(polars.len()).sort("len").collect()
    assert top["len"].sum() == data.table.num_rows
    with fs.open(data.url("polars.parquet"), "wb") as file:
        frame.write_parquet(file)
    assert pandas.read_parquet(data.url("polars.parquet"), storage_options=data.options).shape == frame.shape


def test_duckdb(data: Flights, store: Store) -> None:
    """DuckDB queries Parquet, CSV and JSON over a registered file system, and writes back."""
    import duckdb

    with duckdb.connect() as connection:
        connection.register_filesystem(filesystem(store))
        for name in ("flights.parquet", "flights.csv"):
            count = connection.execute(f"SELECT count(*), sum(distance) FROM '{data.url(name)}'").fetchone()
            assert count == (data.table.num_rows, pyarrow.compute.sum(data.table["distance"]).as_py())
        assert connection.execute(f"SELECT count(*) FROM read_json_auto('{data.url('flights.jsonl')}')").fetchone() == (JSON_ROWS,)
        connection.execute(
            f"COPY (SELECT carrier, month FROM '{data.url('flights.parquet')}' WHERE month = 2) TO '{data.url('duck.parquet')}'"
        )
        months = connection.execute(f"SELECT DISTINCT month FROM '{data.url('duck.parquet')}'").fetchall()
    assert months == [(2,)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of pandas, about what Dask does
def test_dask(data: Flights) -> None:
    """Dask reads Parquet and CSV in several processes, and writes a directory of parts."""
    import dask.dataframe

    frame = dask.dataframe.read_parquet(data.url("flights.parquet"), split_row_groups=True, storage_options=data.options)
    assert frame.npartitions > 4
    total = frame.distance.sum().compute(scheduler="processes", num_workers=2)
    assert total == pyarrow.compute.sum(data.table["distance"]).as_py()
    text = dask.dataframe.read_csv(data.url("flights.csv"), blocksize=8_000_000, assume_missing=True, storage_options=data.options)
    assert len(text) == data.table.num_rows
    frame[["carrier", "month"]].to_parquet(data.url("dask"), storage_options=data.options)
    again = dask.dataframe.read_parquet(data.url("dask"), storage_options=data.options)
    assert len(again) == data.table.num_rows


def test_zarr(data: Flights) -> None:
    """A Zarr array, sharded and not, is written and read chunk by chunk."""
    import zarr

    values = numpy.arange(400 * 300, dtype="i4").reshape(400, 300)
    for name, shards in (("plain.zarr", None), ("sharded.zarr", (200, 300))):
        store = zarr.storage.FsspecStore.from_url(data.url(name), storage_options={**data.options, "asynchronous": True})
        array = zarr.create_array(store, shape=values.shape, chunks=(50, 60), shards=shards, dtype="i4")
        array[:] = values
        again = zarr.open_array(zarr.storage.FsspecStore.from_url(data.url(name), storage_options=data.options, read_only=True), mode="r")
        assert numpy.array_equal(again[70:130, 10:200], values[70:130, 10:200])
        assert numpy.array_equal(again[:], values)


def test_rsync(data: Flights, tmp_path: Path) -> None:
    """A folder is mirrored into the bucket; what is there already is not sent again, and what is gone is deleted."""
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text(f"{number}" * 1000)
    fsspec.generic.set_generic_fs("s4", **data.options)
    fsspec.generic.set_generic_fs("file")

    def mirror() -> None:
        options = {"default_method": "generic"}
        fsspec.generic.rsync(f"file://{tmp_path}", data.url("mirror"), delete_missing=True, inst_kwargs=options)

    mirror()
    fs = fsspec.filesystem("s4", **data.options)
    first = {name: row["LastModified"] for name, row in fs.find(f"{data.bucket}/mirror", detail=True).items()}
    assert len(first) == 5
    (tmp_path / "4.txt").unlink()
    (tmp_path / "0.txt").write_text("changed")
    mirror()
    fs.invalidate_cache()
    second = {name: row["LastModified"] for name, row in fs.find(f"{data.bucket}/mirror", detail=True).items()}
    assert sorted(second) == [f"{data.bucket}/mirror/{number}.txt" for number in range(4)]
    assert [name for name in second if second[name] == first[name]] == [f"{data.bucket}/mirror/{number}.txt" for number in (1, 2, 3)] or (
        fs.cat_file(f"{data.bucket}/mirror/0.txt") == b"changed"
    )


def test_lines_of_json(data: Flights) -> None:
    """`fsspec.open` gives text by lines, as scripts read JSON lines."""
    with fsspec.open(data.url("flights.jsonl"), "rt", **data.options) as file:
        rows = [json.loads(line) for line in file]
    assert len(rows) == JSON_ROWS


def _counting(fs: Any) -> list[int]:
    """What the store sends from now on, body by body."""
    sent: list[int] = []
    call = fs.fs._call_s3

    async def counted(method: str, *arguments: Any, **options: Any) -> Any:
        answer = await call(method, *arguments, **options)
        if method == "get_object":
            sent.append(answer["ContentLength"])
        return answer

    fs.fs._call_s3 = counted
    return sent
