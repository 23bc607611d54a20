"""Text and compression over a file that is written: they end with it, and an exception ends them without an object."""

import contextlib
import io
from types import TracebackType
from typing import Any, Protocol


class Writable(Protocol):
    """A binary file of which nothing is kept unless it is closed."""

    closed: bool

    def give_up(self) -> None:
        """End the write; nothing is kept."""
        ...

    def forget(self) -> None:
        """As `give_up`, without waiting for it."""
        ...


class TextFile(io.TextIOWrapper):
    """Text over a `Writable`."""

    buffer: Any

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the file; after an exception nothing of what was written is kept."""
        if kind is not None and not self.closed:
            self.buffer.give_up()
        self.close()

    def __del__(self) -> None:
        """A file that nobody closed is not complete."""
        if not self.closed:
            self.buffer.forget()


class CompressedFile(io.BufferedIOBase):
    """Compression over a `Writable`, closed with it: the compressors of the standard library leave open what they write to.

    Args:
        compressor: what is written to, and writes to `file`.
        file: of the compressed bytes.
    """

    def __init__(self, compressor: Any, file: Any) -> None:
        self._compressor = compressor
        self._file = file

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Compress bytes."""
        written: int = self._compressor.write(data)
        return written

    def flush(self) -> None:
        """Nothing: what was compressed is sent on in blocks."""

    def close(self) -> None:
        """Make the object.

        Raises:
            OSError: see `s4fs.errors`; nothing is visible then.
        """
        if self.closed:
            return
        try:
            self._compressor.close()
        except BaseException:
            self.give_up()
            raise
        super().close()
        self._file.close()

    def give_up(self) -> None:
        """End the write; nothing is kept."""
        self._file.give_up()
        self._end()

    def forget(self) -> None:
        """As `give_up`, without waiting for it."""
        self._file.forget()
        self._end()

    def _end(self) -> None:
        # It has nowhere to write its last bytes to any more.
        with contextlib.suppress(Exception):
            self._compressor.close()
        super().close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the file; after an exception nothing of what was written is kept."""
        if kind is not None and not self.closed:
            self.give_up()
        self.close()

    def __del__(self) -> None:
        """A file that nobody closed is not complete."""
        if not self.closed:
            self.forget()
