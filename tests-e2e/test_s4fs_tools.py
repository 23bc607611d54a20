"""Data tools at their default settings read and write through s4fs: flights as Parquet, CSV and JSON lines, and arrays."""

import io
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import dask
import dask.dataframe
import duckdb
import fsspec.generic
import numpy as np
import pandas as pd
import polars as pl
import pyarrow
import pyarrow.compute
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet
import pytest
import zarr
from benchmarks.link import Far, Link, linked
from clients.filesystems import filesystem, gateway_options, storage_options
from datasets import flights, write_json_lines, write_parquet
from servers.gateways import Gateway
from servers.stores import Store

pytestmark = [
    pytest.mark.servers("versitygw"),
    # What dask does with pandas is not ours to mend.
    pytest.mark.filterwarnings("ignore:The inplace keyword"),
]
JSON_ROWS = 20_000
ROW_GROUP = 20_000
JULY = 29_425
"""Flights in July."""
FILES = ("flights.parquet", "flights.csv", "flights.jsonl")
WRITERS = ("s4fs", "gateway")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flights as files."""
    made = tmp_path_factory.mktemp("flights")
    _, table = flights(made)
    write_parquet(table, made / "flights.parquet", row_group_size=ROW_GROUP)
    write_json_lines(table.slice(0, JSON_ROWS), made / "flights.jsonl")
    return made


@pytest.fixture(scope="module")
def expected(folder: Path) -> pd.DataFrame:
    """The flights as pandas reads them from the local file."""
    return pd.read_parquet(folder / "flights.parquet")


@pytest.fixture(scope="module")
def buckets(store: Store, gateway: Gateway, folder: Path) -> Iterator[dict[str, str]]:
    """By writer: a bucket that has the files."""
    names = {writer: f"flights-{writer}" for writer in WRITERS}
    for name in names.values():
        gateway.client().create_bucket(Bucket=name)
    fs = filesystem(store)
    for file in FILES:
        fs.put_file(str(folder / file), f"{names['s4fs']}/{file}")
        gateway.client().upload_file(str(folder / file), names["gateway"], file)
    yield names
    for name in names.values():
        store.behind.remove_bucket(name)


@pytest.fixture(params=WRITERS)
def bucket_of_flights(request: pytest.FixtureRequest, buckets: dict[str, str]) -> str:
    """The bucket of each writer."""
    return buckets[request.param]


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    """Two processes that share nothing with this one, as Dask's workers do."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        yield pool


def test_objects_take_less_room_than_their_files(store: Store, buckets: dict[str, str], folder: Path) -> None:
    """What is read below really lies compressed, and s4fs tells the sizes of the files."""
    for writer, bucket in buckets.items():
        entries = {entry["name"].rpartition("/")[2]: entry["size"] for entry in filesystem(store).ls(bucket)}
        assert (writer, entries) == (writer, {file: (folder / file).stat().st_size for file in FILES})
        for file, most in (("flights.csv", 0.3), ("flights.jsonl", 0.2), ("flights.parquet", 1.0)):
            assert store.behind.size(bucket, file) < most * (folder / file).stat().st_size


def test_pandas_parquet(store: Store, bucket_of_flights: str, expected: pd.DataFrame) -> None:
    """The whole table, and columns of the rows that a filter picks."""
    path, options = f"s4://{bucket_of_flights}/flights.parquet", storage_options(store)
    pd.testing.assert_frame_equal(pd.read_parquet(path, storage_options=options), expected)
    picked = pd.read_parquet(path, storage_options=options, columns=["carrier", "distance"], filters=[("month", "==", 7)])
    pd.testing.assert_frame_equal(picked, expected[expected.month == 7][["carrier", "distance"]].reset_index(drop=True))


def test_pandas_csv_and_json_lines(store: Store, bucket_of_flights: str, folder: Path) -> None:
    """Text is the text of the file."""
    options = storage_options(store)
    csv = pd.read_csv(f"s4://{bucket_of_flights}/flights.csv", storage_options=options)
    pd.testing.assert_frame_equal(csv, pd.read_csv(folder / "flights.csv"))
    lines = pd.read_json(f"s4://{bucket_of_flights}/flights.jsonl", lines=True, storage_options=options)
    pd.testing.assert_frame_equal(lines, pd.read_json(folder / "flights.jsonl", lines=True))


@pytest.fixture(scope="module")
def far(store: Store) -> Iterator[Far]:
    """The store at the end of a link that counts."""
    with linked(store, Link("counted")) as link:
        yield link


def test_pyarrow_dataset_reads_what_it_needs(store: Store, far: Far, bucket_of_flights: str, expected: pd.DataFrame) -> None:
    """Columns and row groups that are not asked for stay in the store."""
    path = f"{bucket_of_flights}/flights.parquet"
    dataset = pyarrow.dataset.dataset(path, filesystem=filesystem(store, port=far.port), format="parquet")
    before = far.passed()
    july = dataset.to_table(columns=["dep_delay", "distance"], filter=pyarrow.dataset.field("month") == 7)
    received = far.passed().since(before).received
    pd.testing.assert_frame_equal(july.to_pandas(), expected[expected.month == 7][["dep_delay", "distance"]].reset_index(drop=True))
    assert july.num_rows == JULY
    assert received < store.behind.size(bucket_of_flights, "flights.parquet") * 0.6


def test_pyarrow_writes_partitions(store: Store, bucket: str, folder: Path) -> None:
    """A partitioned dataset is written and found again, folder by folder."""
    fs = filesystem(store)
    some = pyarrow.parquet.read_table(folder / "flights.parquet", columns=["month", "carrier", "distance"]).slice(0, 60_000)
    hive = pyarrow.dataset.partitioning(pyarrow.schema([("carrier", pyarrow.string())]), flavor="hive")
    pyarrow.dataset.write_dataset(some, f"{bucket}/parts", filesystem=fs, format="parquet", partitioning=hive)
    united = pyarrow.compute.field("carrier") == "UA"
    found = pyarrow.dataset.dataset(f"{bucket}/parts", filesystem=fs, format="parquet", partitioning=hive).to_table(filter=united)
    assert found.num_rows == some.filter(united).num_rows
    assert len(fs.glob(f"{bucket}/parts/carrier=*")) == len(set(some["carrier"].to_pylist()))


def test_pyarrow_csv_in_a_stream(store: Store, bucket_of_flights: str, folder: Path) -> None:
    """An open file is a source of pyarrow's streaming reader."""
    with filesystem(store).open(f"{bucket_of_flights}/flights.csv", "rb") as file:
        assert pyarrow.csv.read_csv(file).equals(pyarrow.csv.read_csv(folder / "flights.csv"))


def test_polars(store: Store, bucket_of_flights: str, expected: pd.DataFrame) -> None:
    """Open files, eager and lazily over a dataset, with a filter that is pushed down."""
    fs = filesystem(store)
    with fs.open(f"{bucket_of_flights}/flights.parquet") as file:
        assert pl.read_parquet(file, columns=["distance"])["distance"].sum() == expected.distance.sum()
    with fs.open(f"{bucket_of_flights}/flights.csv") as file:
        assert pl.read_csv(file, null_values="NA")["distance"].sum() == expected.distance.sum()
    with fs.open(f"{bucket_of_flights}/flights.jsonl") as file:
        assert len(pl.read_ndjson(file)) == JSON_ROWS
    with fs.open(f"{bucket_of_flights}/by-polars.parquet", "wb") as file:
        pl.from_pandas(expected[["carrier", "month"]]).write_parquet(file)
    with fs.open(f"{bucket_of_flights}/by-polars.parquet") as file:
        assert pl.read_parquet(file)["month"].sum() == expected.month.sum()
    fs.rm_file(f"{bucket_of_flights}/by-polars.parquet")
    dataset = pyarrow.dataset.dataset(f"{bucket_of_flights}/flights.parquet", filesystem=fs)
    july = pl.scan_pyarrow_dataset(dataset).filter(pl.col("month") == 7).select(pl.col("dep_delay").mean()).collect()
    assert july.item() == pytest.approx(expected[expected.month == 7].dep_delay.mean())


def test_duckdb(store: Store, bucket_of_flights: str, expected: pd.DataFrame) -> None:
    """SQL over all three formats, projections and filters pushed down, and a table written."""
    path = f"s4://{bucket_of_flights}"
    with duckdb.connect() as db:
        db.register_filesystem(filesystem(store))
        counts = db.sql(f"SELECT carrier, count(*) FROM read_parquet('{path}/flights.parquet') WHERE month = 7 GROUP BY ALL").fetchall()
        assert dict(counts) == expected[expected.month == 7].carrier.value_counts().to_dict()
        assert db.sql(f"SELECT sum(distance) FROM read_csv('{path}/flights.csv', nullstr = 'NA')").fetchall() == [
            (expected.distance.sum(),)
        ]
        assert db.sql(f"SELECT count(*) FROM read_json('{path}/flights.jsonl')").fetchall() == [(JSON_ROWS,)]
        db.sql(f"COPY (SELECT * FROM read_parquet('{path}/flights.parquet') WHERE month = 7) TO '{path}/july.parquet' (FORMAT parquet)")
        assert db.sql(f"SELECT count(*) FROM '{path}/july.parquet'").fetchall() == [(JULY,)]
    filesystem(store).rm(f"{bucket_of_flights}/july.parquet")


def test_dask_with_several_workers(store: Store, buckets: dict[str, str], workers: ProcessPoolExecutor, expected: pd.DataFrame) -> None:
    """Partitions are read and written by processes that each make the file system anew from what was pickled."""
    path, options = f"s4://{buckets['gateway']}", storage_options(store)
    with dask.config.set(scheduler="processes", pool=workers, num_workers=2):
        table = dask.dataframe.read_parquet(f"{path}/flights.parquet", storage_options=options, split_row_groups=4)
        assert table.npartitions > 2
        assert table.groupby("carrier").distance.sum().compute().to_dict() == expected.groupby("carrier").distance.sum().to_dict()
        text = dask.dataframe.read_csv(f"{path}/flights.csv", storage_options=options, blocksize=8 << 20, usecols=["distance"])
        assert text.npartitions > 2
        assert text.distance.sum().compute() == expected.distance.sum()
        lines = dask.dataframe.read_json(f"{path}/flights.jsonl", lines=True, blocksize=2 << 20, storage_options=options)
        assert len(lines) == JSON_ROWS
        table[["carrier", "month"]].to_parquet(f"{path}/by-dask", storage_options=options)
    written = pd.read_parquet(f"{path}/by-dask", storage_options=options)
    pd.testing.assert_frame_equal(written.reset_index(drop=True), expected[["carrier", "month"]], check_dtype=False)


def test_zarr(store: Store, bucket: str) -> None:
    """An array of zarr 3, chunk by chunk, through the asynchronous face; a part is read without the rest."""
    values = np.arange(2_000_000, dtype="i4").reshape(2000, 1000) // 100
    target = zarr.storage.FsspecStore.from_url(f"s4://{bucket}/array.zarr", storage_options=storage_options(store))
    array = zarr.create_array(store=target, shape=values.shape, chunks=(250, 500), dtype=values.dtype, compressors=None)
    array[:] = values
    again = zarr.storage.FsspecStore.from_url(f"s4://{bucket}/array.zarr", storage_options=storage_options(store), read_only=True)
    found = zarr.open_array(again, mode="r")
    assert (found[240:260, 490:510] == values[240:260, 490:510]).all()
    assert (found[:] == values).all()
    assert sum(store.behind.size(bucket, key) for key in store.behind.keys(bucket)) < values.nbytes / 2


def test_rsync(store: Store, bucket: str, tmp_path: Path) -> None:
    """A tree goes there and back; what is equal is not sent again, what is gone is removed."""
    tree, back = tmp_path / "tree", tmp_path / "back"
    files = {"a.txt": b"a" * 100_000, "deep/er/b.txt": b"b" * 10, "deep/empty": b""}
    for name, body in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(body)
    kwargs = {"default_method": "options", "storage_options": {"s4": storage_options(store)}}
    there = f"s4://{bucket}/tree"
    assert len(fsspec.generic.rsync(f"file://{tree}", there, inst_kwargs=kwargs)) == len(files)
    assert fsspec.generic.rsync(f"file://{tree}", there, inst_kwargs=kwargs) == {}
    assert len(fsspec.generic.rsync(there, f"file://{back}", inst_kwargs=kwargs)) == len(files)
    assert {name: (back / name).read_bytes() for name in files} == files
    (tree / "a.txt").unlink()
    (tree / "deep/er/b.txt").write_bytes(b"longer than before")
    assert len(fsspec.generic.rsync(f"file://{tree}", there, delete_missing=True, inst_kwargs=kwargs)) == 1
    assert sorted(filesystem(store).find(f"{bucket}/tree")) == [f"{bucket}/tree/deep/empty", f"{bucket}/tree/deep/er/b.txt"]
    assert filesystem(store).cat_file(f"{bucket}/tree/deep/er/b.txt") == b"longer than before"


def test_parquet_back_and_forth_with_the_gateway(store: Store, gateway: Gateway, bucket: str, expected: pd.DataFrame) -> None:
    """What pandas writes on one side it reads on the other, and both tell the same size and ETag."""
    s4_side, s3_side = storage_options(store), gateway_options(gateway)
    expected.to_parquet(f"s4://{bucket}/by-s4fs.parquet", storage_options=s4_side)
    expected.to_parquet(f"s3://{bucket}/by-gateway.parquet", storage_options=s3_side)
    pd.testing.assert_frame_equal(pd.read_parquet(f"s3://{bucket}/by-s4fs.parquet", storage_options=s3_side), expected)
    pd.testing.assert_frame_equal(pd.read_parquet(f"s4://{bucket}/by-gateway.parquet", storage_options=s4_side), expected)
    for key in ("by-s4fs.parquet", "by-gateway.parquet"):
        through, straight = gateway.client().head_object(Bucket=bucket, Key=key), filesystem(store).info(f"{bucket}/{key}")
        assert (key, through["ContentLength"], through["ETag"].strip('"')) == (key, straight["size"], straight["ETag"].strip('"'))


def test_text_mode_and_compression_inference(store: Store, bucket: str, folder: Path) -> None:
    """fsspec.open with text and gzip on top, as pandas.to_csv(".csv.gz") uses it."""
    frame = pd.read_csv(folder / "flights.csv", nrows=1000)
    options = storage_options(store)
    frame.to_csv(f"s4://{bucket}/some.csv.gz", index=False, storage_options=options)
    pd.testing.assert_frame_equal(pd.read_csv(f"s4://{bucket}/some.csv.gz", storage_options=options), frame)
    with fsspec.open(f"s4://{bucket}/some.csv.gz", "rt", compression="gzip", **options) as file:
        assert pd.read_csv(io.StringIO(file.read())).shape == frame.shape


def test_two_tools_share_one_file_system(store: Store, bucket_of_flights: str, expected: pd.DataFrame) -> None:
    """Threads of one process use one instance at once."""
    dataset = pyarrow.dataset.dataset(f"{bucket_of_flights}/flights.parquet", filesystem=filesystem(store))

    @dask.delayed
    def flown(month: int) -> int:
        return int(dataset.count_rows(filter=pyarrow.dataset.field("month") == month))

    with dask.config.set(scheduler="threads", num_workers=4):
        assert list(dask.compute(*map(flown, range(1, 13)))) == expected.month.value_counts().sort_index().to_list()
