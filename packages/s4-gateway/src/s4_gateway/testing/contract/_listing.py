"""Cases: ListObjects."""

import asyncio
from collections.abc import Iterable

import pytest
import pytest_asyncio

from s4_gateway.backend.abc import Backend
from s4_gateway.testing.contract._base import ContractBase, list_all, put, refused

TREE = ("a", "b/1", "b/2", "b/c/3", "b/c/4", "b/d/5", "bb", "e/6", "f")
LAST_SIGN = "\U0010ffff"


async def fill(backend: Backend, bucket: str, keys: Iterable[str]) -> None:
    """Put small objects, several at a time."""
    waiting = list(keys)
    for start in range(0, len(waiting), 32):
        await asyncio.gather(*(put(backend, bucket, key, b"x") for key in waiting[start : start + 32]))


class ListingCases(ContractBase):
    """Order, prefixes, delimiters and pages."""

    @pytest_asyncio.fixture
    async def tree(self, backend: Backend, bucket: str) -> str:
        """The bucket with the keys of TREE."""
        await fill(backend, bucket, TREE)
        return bucket

    async def _names(
        self, backend: Backend, bucket: str, *, prefix: str = "", delimiter: str = "", start_after: str = ""
    ) -> tuple[list[str], list[str]]:
        page = await backend.list_objects(bucket, prefix=prefix, delimiter=delimiter, start_after=start_after)
        assert page.token is None
        return [entry.key for entry in page.entries], list(page.prefixes)

    async def test_empty_bucket(self, backend: Backend, bucket: str) -> None:
        """Nothing lists as nothing."""
        page = await backend.list_objects(bucket)
        assert (list(page.entries), list(page.prefixes), page.token) == ([], [], None)

    async def test_unknown_bucket(self, backend: Backend) -> None:
        """An absent bucket is not an empty one."""
        with refused("NoSuchBucket"):
            await backend.list_objects("contract-no-such-bucket")

    async def test_entries_agree_with_head(self, backend: Backend, bucket: str) -> None:
        """Size, ETag and time are those of HEAD, which a cache depends on."""
        await put(backend, bucket, "key", b"12345", metadata={"s4-codec": "cpu-zstd"})
        (entry,) = (await backend.list_objects(bucket)).entries
        stored = await backend.head_object(bucket, "key")
        assert (entry.key, entry.size, entry.etag, entry.modified) == (stored.key, stored.size, stored.etag, stored.modified)
        assert entry.metadata == ({"s4-codec": "cpu-zstd"} if backend.capabilities.lists_metadata else None)

    async def test_all_keys_in_order(self, backend: Backend, tree: str) -> None:
        """Keys come in order, all of them."""
        assert await self._names(backend, tree) == (sorted(TREE), [])

    @pytest.mark.parametrize(
        ("prefix", "keys"),
        [
            ("b", ["b/1", "b/2", "b/c/3", "b/c/4", "b/d/5", "bb"]),
            ("b/", ["b/1", "b/2", "b/c/3", "b/c/4", "b/d/5"]),
            ("b/c/3", ["b/c/3"]),
            ("b/c/33", []),
            ("zzz", []),
        ],
    )
    async def test_prefix(self, backend: Backend, tree: str, prefix: str, keys: list[str]) -> None:
        """A prefix is a beginning of the name, not a folder."""
        assert await self._names(backend, tree, prefix=prefix) == (keys, [])

    @pytest.mark.parametrize(
        ("prefix", "keys", "prefixes"),
        [
            ("", ["a", "bb", "f"], ["b/", "e/"]),
            ("b", ["bb"], ["b/"]),
            ("b/", ["b/1", "b/2"], ["b/c/", "b/d/"]),
            ("b/c", [], ["b/c/"]),
            ("b/c/", ["b/c/3", "b/c/4"], []),
            ("x/", [], []),
        ],
    )
    async def test_delimiter(self, backend: Backend, tree: str, prefix: str, keys: list[str], prefixes: list[str]) -> None:
        """Names with a delimiter behind the prefix are rolled up, each common prefix once."""
        assert await self._names(backend, tree, prefix=prefix, delimiter="/") == (keys, prefixes)

    @pytest.mark.parametrize(
        ("start_after", "keys"),
        [
            ("", sorted(TREE)),
            ("a", sorted(TREE)[1:]),
            ("b/1", sorted(TREE)[2:]),
            ("b/10", sorted(TREE)[2:]),
            ("b/", sorted(TREE)[1:]),
            ("f", []),
            ("~", []),
        ],
    )
    async def test_start_after(self, backend: Backend, tree: str, start_after: str, keys: list[str]) -> None:
        """A listing starts behind a name, whether that is a key or not."""
        assert await self._names(backend, tree, start_after=start_after) == (keys, [])

    async def test_start_after_within_a_prefix(self, backend: Backend, tree: str) -> None:
        """Prefix and start work together; a start before the prefix is none, one behind it leaves nothing."""
        assert await self._names(backend, tree, prefix="b/", start_after="b/2") == (["b/c/3", "b/c/4", "b/d/5"], [])
        assert await self._names(backend, tree, prefix="b/c/", start_after="a") == (["b/c/3", "b/c/4"], [])
        assert await self._names(backend, tree, prefix="b/c/", start_after="e") == ([], [])

    async def test_start_behind_a_common_prefix(self, backend: Backend, tree: str) -> None:
        """All that is below a common prefix is passed by a start behind its last possible key."""
        keys, prefixes = await self._names(backend, tree, delimiter="/", start_after="b/" + LAST_SIGN)
        assert (keys, [name for name in prefixes if name != "b/"]) == (["bb", "f"], ["e/"])

    @pytest.mark.parametrize("limit", [1, 2, 3, 4, 9, 10])
    @pytest.mark.parametrize("delimiter", ["", "/"])
    async def test_pages(self, backend: Backend, tree: str, limit: int, delimiter: str) -> None:
        """Pages of any size give every key and common prefix exactly once, in order."""
        entries, prefixes = await list_all(backend, tree, delimiter=delimiter, limit=limit)
        expected = (["a", "bb", "f"], ["b/", "e/"]) if delimiter else (sorted(TREE), [])
        assert ([entry.key for entry in entries], prefixes) == expected

    @pytest.mark.parametrize("limit", [1, 2])
    async def test_pages_below_a_prefix(self, backend: Backend, tree: str, limit: int) -> None:
        """Prefix, delimiter and pages work together."""
        entries, prefixes = await list_all(backend, tree, prefix="b/", delimiter="/", limit=limit)
        assert ([entry.key for entry in entries], prefixes) == (["b/1", "b/2"], ["b/c/", "b/d/"])

    async def test_full_last_page(self, backend: Backend, tree: str) -> None:
        """A page that holds just what is left is the last one, or the next is empty."""
        page = await backend.list_objects(tree, limit=len(TREE))
        assert [entry.key for entry in page.entries] == sorted(TREE)
        if page.token is not None:
            rest = await backend.list_objects(tree, token=page.token)
            assert (list(rest.entries), rest.token) == ([], None)

    async def test_token_beats_start_after(self, backend: Backend, tree: str) -> None:
        """Where there is a token, start_after does not count."""
        first = await backend.list_objects(tree, limit=4)
        assert first.token is not None
        page = await backend.list_objects(tree, start_after="a", token=first.token)
        assert [entry.key for entry in page.entries] == sorted(TREE)[4:]

    async def test_more_than_a_page_of_keys(self, backend: Backend, bucket: str) -> None:
        """1,000 keys are a page, and the rest follows."""
        keys = [f"key-{number:05d}" for number in range(1100)]
        await fill(backend, bucket, keys)
        first = await backend.list_objects(bucket)
        assert [entry.key for entry in first.entries] == keys[:1000]
        assert first.token is not None
        second = await backend.list_objects(bucket, token=first.token)
        assert ([entry.key for entry in second.entries], second.token) == (keys[1000:], None)
        outcomes = await backend.delete_objects(bucket, [(key, None) for key in keys[:1000]])
        assert [outcome.key for outcome in outcomes if outcome.error is None] == keys[:1000]

    async def test_many_common_prefixes(self, backend: Backend, bucket: str) -> None:
        """Common prefixes count like keys in a page."""
        await fill(backend, bucket, [f"{number:03d}/{name}" for number in range(60) for name in "ab"])
        page = await backend.list_objects(bucket, delimiter="/", limit=50)
        assert (list(page.entries), list(page.prefixes)) == ([], [f"{number:03d}/" for number in range(50)])
        _, prefixes = await list_all(backend, bucket, delimiter="/", limit=7)
        assert prefixes == [f"{number:03d}/" for number in range(60)]

    async def test_order_is_that_of_utf8_bytes(self, backend: Backend, bucket: str) -> None:
        """Neither UTF-16 units nor a language decide the order."""
        keys = ["Z", "a", "z", "~", "é", "中", "\uff5e", "\U0001f600"]
        await fill(backend, bucket, reversed(keys))
        entries, _ = await list_all(backend, bucket, limit=3)
        assert [entry.key for entry in entries] == keys

    async def test_changes_between_pages(self, backend: Backend, bucket: str) -> None:
        """A listing goes on by name: deleted keys do not break it, and later ones show."""
        await fill(backend, bucket, ["a", "b", "c", "d"])
        page = await backend.list_objects(bucket, limit=2)
        assert page.token is not None
        await backend.delete_objects(bucket, [("b", None), ("c", None)])
        await fill(backend, bucket, ["aa", "e"])
        rest = await backend.list_objects(bucket, token=page.token)
        assert [entry.key for entry in rest.entries] == ["d", "e"]
