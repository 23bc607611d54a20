"""Fields: one column of numbers, written as streams by a plan and read back in runs of rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from s4_format.columnar import MAX_DICTIONARY, Arrangement, Coder, Field, NumberType, Predictor, Stream, Transform

from s4_codecs.columnar import pco
from s4_codecs.columnar.filters import UNSIGNED, Bytes, Restorer, Words, choose_base, from_decimals, predict, to_decimals
from s4_codecs.columnar.streams import decode_plane, decode_whole, encode_plane, encode_whole
from s4_codecs.errors import CorruptPayloadError
from s4_codecs.zstd import ZstdCodec

_MAX_EXCEPTIONS = 8
"""At most one number in so many may be no decimal."""
_FEW_PLANES = 2
"""Up to so many planes are joined faster by shifts of whole numbers than by scattering their bytes."""
_POSITION = np.dtype("<u4")


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """How a field is to be written; the members are those of `s4_format.columnar.Field`."""

    width: int
    transform: Transform = Transform.NONE
    parameter: int = 0
    predictor: Predictor = Predictor.NONE
    arrangement: Arrangement = Arrangement.BYTES

    @property
    def plain(self) -> "FieldPlan":
        """The same field as integers as they are, for columns that turn out not to be what a sample promised."""
        return FieldPlan(self.width)


# ------------------------------------------------------------------------------------------------------------------ writing


def encode_field(numbers: Words, plan: FieldPlan, zstd: ZstdCodec) -> Field:
    """A field of `numbers` (contiguous, at least one) as `plan` says, or by a plainer plan where that is not possible."""
    if plan.arrangement is Arrangement.PCODEC:
        stream = Stream(Coder.RAW, 0, pco.compress(numbers, NumberType(plan.parameter)))
        return _field(plan, (stream,))
    match plan.transform:
        case Transform.NONE:
            return _predicted(numbers, plan, zstd)
        case Transform.DECIMAL:
            integers, exceptions = to_decimals(numbers, plan.parameter)
            if exceptions.size * _MAX_EXCEPTIONS > numbers.size:
                return encode_field(numbers, plan.plain, zstd)
            extras = exceptions.astype(_POSITION).tobytes() + numbers[exceptions].tobytes()
            return _with_extras(_predicted(integers, plan, zstd), exceptions.size, extras, zstd)
        case Transform.DICTIONARY:
            table = np.unique(numbers)
            if table.size > MAX_DICTIONARY:
                return encode_field(numbers, plan.plain, zstd)
            entries = np.searchsorted(table, numbers).astype(np.uint8)
            return _with_extras(_field(plan, (encode_plane(entries, zstd),)), table.size, table.tobytes(), zstd)


def _predicted(numbers: Words, plan: FieldPlan, zstd: ZstdCodec) -> Field:
    residuals = predict(numbers, plan.predictor)
    base = 0 if plan.predictor is Predictor.XOR else choose_base(residuals)
    if base:
        residuals = residuals - residuals.dtype.type(base)
    start = 0 if plan.predictor is Predictor.NONE else int(numbers[0])
    slope = 0
    if plan.predictor is Predictor.DELTA2 and numbers.size > 1:
        slope = (int(numbers[1]) - start) & ((1 << 8 * plan.width) - 1)
    octets = residuals.view(np.uint8)
    if plan.arrangement is Arrangement.INTERLEAVED:
        streams: tuple[Stream, ...] = (encode_whole(octets, zstd),)
    else:
        planes = octets.reshape(-1, plan.width)
        streams = tuple(encode_plane(np.ascontiguousarray(planes[:, at]), zstd) for at in range(plan.width))
    return _field(plan, streams, base=base, start=start, slope=slope)


def _field(plan: FieldPlan, streams: tuple[Stream, ...], *, base: int = 0, start: int = 0, slope: int = 0) -> Field:
    return Field(plan.width, plan.transform, plan.parameter, plan.predictor, plan.arrangement, base, start, slope, 0, streams)


def _with_extras(field: Field, count: int, extras: bytes, zstd: ZstdCodec) -> Field:
    if not count:
        return field
    stream = encode_whole(np.frombuffer(extras, np.uint8), zstd)
    return replace(field, extra_count=count, streams=(*field.streams, stream))


# ------------------------------------------------------------------------------------------------------------------ reading


class FieldReader:
    """The numbers of a field, in runs of rows.

    Args:
        field: as parsed.
        rows: how many numbers it has.

    Raises:
        CorruptPayloadError, SizeMismatchError, DictionaryError: a stream is damaged.
        CodecUnavailableError: pcodec wrote it and is not installed.
    """

    def __init__(self, field: Field, rows: int) -> None:
        self._field = field
        self._residuals = _residuals(field, rows)
        self._restorer = Restorer(field.predictor, field.residual_width, base=field.base, start=field.start, slope=field.slope)
        self._extras = _extras(field, rows)
        self._dtype = UNSIGNED[field.residual_width]
        self._in_place = field.residual_width == field.width

    def read(self, start: int, stop: int, target: Words) -> None:
        """Write the numbers of rows [start, stop) to `target`, which may be a view with gaps. Runs follow each other from row 0."""
        in_place = self._in_place and target.flags.c_contiguous and target.flags.aligned
        run = target if in_place else np.empty(stop - start, self._dtype)
        self._residuals.fill(run, start, stop)
        self._restorer.restore(run)
        match self._field.transform:
            case Transform.NONE:
                if not in_place:
                    target[:] = run
            case Transform.DECIMAL:
                target[:] = from_decimals(run, self._field.parameter)
                self._put_exceptions(start, stop, target)
            case Transform.DICTIONARY:
                target[:] = self._extras.values.take(run)

    def _put_exceptions(self, start: int, stop: int, target: Words) -> None:
        places = self._extras.places
        if places.size:
            low, high = np.searchsorted(places, np.array((start, stop), places.dtype))
            target[places[low:high] - start] = self._extras.values[low:high]


@dataclass(frozen=True, slots=True)
class _Extras:
    """The numbers that a transform keeps apart, and of exceptions the rows where they belong."""

    values: Words
    places: "np.ndarray[tuple[int], np.dtype[np.uint32]]"


def _extras(field: Field, rows: int) -> _Extras:
    count = field.extra_count
    data = decode_whole(field.streams[-1], field.extra_bytes) if count else np.empty(0, np.uint8)
    split = count * _POSITION.itemsize if field.transform is Transform.DECIMAL else 0
    places, values = data[:split].view(_POSITION), data[split:].view(UNSIGNED[field.width])
    if field.transform is Transform.DICTIONARY:
        # Table entries that a damaged plane may name beyond the table are zeros, never a read outside of it.
        values = np.concatenate([values, np.zeros(MAX_DICTIONARY - count, values.dtype)])
    if places.size and (int(places[-1]) >= rows or np.any(places[1:] <= places[:-1])):
        raise CorruptPayloadError("exceptions of a columnar field are out of order")
    return _Extras(values, places)


class _Numbers:
    """Residuals that are there as numbers."""

    def __init__(self, numbers: Words) -> None:
        self._numbers = numbers

    def fill(self, run: Words, start: int, stop: int) -> None:
        """Set `run` to the residuals of rows [start, stop)."""
        run[:] = self._numbers[start:stop]


class _Planes:
    """Residuals in planes of bytes, lowest first, some of which are one byte for all rows."""

    def __init__(self, planes: "Sequence[Bytes | int]") -> None:
        self._constant = sum(plane << 8 * at for at, plane in enumerate(planes) if isinstance(plane, int))
        self._varying = [(at, plane) for at, plane in enumerate(planes) if not isinstance(plane, int)]

    def fill(self, run: Words, start: int, stop: int) -> None:
        """Set `run` to the residuals of rows [start, stop)."""
        if 1 <= len(self._varying) <= _FEW_PLANES:
            self._join(run, start, stop)
        else:
            self._scatter(run, start, stop)

    def _join(self, run: Words, start: int, stop: int) -> None:
        """By shifts of whole numbers, from the highest plane down."""
        place, plane = self._varying[-1]
        np.copyto(run, plane[start:stop])
        for lower, plane in self._varying[-2::-1]:
            np.left_shift(run, 8 * (place - lower), out=run)
            np.bitwise_or(run, plane[start:stop], out=run)
            place = lower
        if place:
            np.left_shift(run, 8 * place, out=run)
        if self._constant:
            np.bitwise_or(run, run.dtype.type(self._constant), out=run)

    def _scatter(self, run: Words, start: int, stop: int) -> None:
        """Byte by byte, each plane to its place."""
        run.fill(self._constant)
        octets = run.view(np.uint8).reshape(len(run), run.dtype.itemsize)
        for at, plane in self._varying:
            octets[:, at] = plane[start:stop]


def _residuals(field: Field, rows: int) -> "_Numbers | _Planes":
    streams = field.residual_streams
    match field.arrangement:
        case Arrangement.BYTES:
            return _Planes([decode_plane(stream, rows) for stream in streams])
        case Arrangement.INTERLEAVED:
            width = field.residual_width
            return _Numbers(decode_whole(streams[0], rows * width).view(UNSIGNED[width]))
        case Arrangement.PCODEC:
            return _Numbers(pco.decompress(streams[0].data, rows, width=field.width, number_type=NumberType(field.parameter)))
