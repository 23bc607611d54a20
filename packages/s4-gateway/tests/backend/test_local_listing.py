"""Listings of the embedded store, by seeks, against the plain ones of the memory store."""

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from s4_gateway.backend.abc import BackendError, Capabilities
from s4_gateway.backend.local.listing import Question, list_page
from s4_gateway.backend.local.schema import open_writer
from s4_gateway.backend.memory_store import MemoryStore

SIGNS = "ab/-é\U0001f600\x00"


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[sqlite3.Connection, MemoryStore]]:
    """The same few hundred keys in both."""
    choice = random.Random(5)
    keys = {"".join(choice.choices(SIGNS, k=choice.randint(1, 7))) for _ in range(400)}
    directory: Path = tmp_path_factory.mktemp("listing")
    connection = open_writer(directory)
    connection.execute("INSERT INTO buckets (id, name, created) VALUES (1, 'bucket', 0), (2, 'other', 0)")
    memory = MemoryStore(Capabilities(lists_metadata=True), clock=lambda: 0.0, opaque_etags=False)
    memory.create_bucket("bucket", None)
    for key in keys:
        etag = memory.put("bucket", key, key.encode(), headers={}, metadata={"a": "b"}).etag
        row = (key.encode(), 0, len(key.encode()), etag, 0, "{}", '{"a": "b"}')
        for bucket in (1, 2):
            connection.execute("INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (bucket, *row))
    yield connection, memory
    connection.close()


texts = st.text(SIGNS, max_size=4)


@given(prefix=texts, delimiter=st.one_of(st.sampled_from(["", "/", "a", "//", "-é"]), texts), start_after=texts, limit=st.integers(0, 30))
@example(prefix="a", delimiter="a", start_after="aa", limit=5)
@example(prefix="", delimiter="/", start_after="a/", limit=1)
def test_pages_are_those_of_the_reference(
    stores: tuple[sqlite3.Connection, MemoryStore], prefix: str, delimiter: str, start_after: str, limit: int
) -> None:
    """Every page and every following page is the same, whatever the prefix, delimiter, start and size."""
    connection, memory = stores
    token: str | None = None
    for _ in range(8):
        page = list_page(connection, "bucket", Question(prefix, delimiter, start_after, token, limit))
        expected = memory.page("bucket", prefix=prefix, delimiter=delimiter, start_after=start_after, token=token, limit=limit)
        assert list(page.entries) == list(expected.entries)
        assert list(page.prefixes) == list(expected.prefixes)
        assert page.token == expected.token
        token = page.token
        if token is None:
            break


def test_common_prefixes_are_jumped_over(tmp_path: Path) -> None:
    """What is below a common prefix is not read: the cost is that of the names shown."""
    connection = open_writer(tmp_path)
    connection.execute("INSERT INTO buckets (id, name, created) VALUES (1, 'bucket', 0)")
    rows = ((b"%02d/%05d" % (top, below),) for top in range(20) for below in range(2000))
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO objects VALUES (1, ?, 0, 0, '', 0, '{}', '{}')", rows)
    connection.execute("COMMIT")
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection.set_progress_handler(count, 100)
    page = list_page(connection, "bucket", Question("", "/", "", None, 1000))
    assert list(page.prefixes) == [f"{top:02d}/" for top in range(20)]
    assert steps < 200, "40,000 rows would take thousands of such steps"
    connection.close()


@pytest.mark.parametrize("token", ["é", "%%%", "a", "/w=="])
def test_foreign_token(stores: tuple[sqlite3.Connection, MemoryStore], token: str) -> None:
    """A token that no listing gave is InvalidArgument."""
    with pytest.raises(BackendError, match="InvalidArgument"):
        list_page(stores[0], "bucket", Question("", "", "", token, 10))
