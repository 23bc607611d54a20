"""pcodec, where it is installed (extra `columnar`): integers and floats of one distribution, close to their entropy."""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from s4_format import Buffer, CodecId
from s4_format.columnar import NumberType

from s4_codecs.columnar.filters import FLOAT, SIGNED, UNSIGNED, Words
from s4_codecs.errors import CodecUnavailableError, CorruptPayloadError

LEVEL = 4
"""Of 0 to 12: above, writing is slower for a percent at most."""

_DTYPES: dict[NumberType, Mapping[int, np.dtype[Any]]] = {NumberType.INTEGER: SIGNED, NumberType.FLOAT: FLOAT}


class Pcodec(NamedTuple):
    """The parts of the package that are used here."""

    config: Callable[..., Any]
    standalone: ModuleType


@cache
def _module() -> Pcodec | None:
    try:
        # Not every release makes the submodule an attribute of the package.
        return Pcodec(import_module("pcodec").ChunkConfig, import_module("pcodec.standalone"))
    except ImportError:
        return None


def available() -> bool:
    """Whether pcodec is installed."""
    return _module() is not None


def compress(numbers: Words, number_type: NumberType) -> bytes:
    """One standalone file of `numbers`, taken as of `number_type`.

    Raises:
        CodecUnavailableError: pcodec is not installed.
    """
    pcodec = require()
    typed = numbers.view(_DTYPES[number_type][numbers.dtype.itemsize])
    return bytes(pcodec.standalone.simple_compress(typed, pcodec.config(compression_level=LEVEL)))


def decompress(data: Buffer, count: int, *, width: int, number_type: NumberType) -> Words:
    """The `count` numbers of a standalone file.

    Raises:
        CodecUnavailableError: pcodec is not installed.
        CorruptPayloadError: the file is damaged, of another type, or holds another count.
    """
    pcodec = require()
    numbers = np.empty(count, _DTYPES[number_type][width])
    try:
        progress = pcodec.standalone.simple_decompress_into(bytes(data), numbers)
    except (RuntimeError, TypeError, ValueError) as error:
        raise CorruptPayloadError(f"pcodec: {error}") from error
    if progress.n_processed != count or not progress.finished:
        raise CorruptPayloadError(f"the pcodec file does not hold {count} numbers")
    return numbers.view(UNSIGNED[width])


def require() -> Pcodec:
    """The package.

    Raises:
        CodecUnavailableError: it is not installed.
    """
    module = _module()
    if module is None:
        text = "pcodec, which columns of numbers may be written by, is not installed: pip install 's4-codecs[columnar]' provides it"
        raise CodecUnavailableError(text, codec=CodecId.CPU_COLUMNAR, extra="columnar")
    return module
