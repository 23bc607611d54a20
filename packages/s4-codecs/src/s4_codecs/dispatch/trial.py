"""Choosing by trial: a sample is compressed with each codec, and the fewest stored bytes within a time budget win.

What codecs cost is looked up (`s4_codecs.costs`), not measured, so that equal objects are stored as equal bytes everywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import thread_time
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from s4_format import Buffer, CodecId

from s4_codecs._buffer import Pieces, as_bytes_view
from s4_codecs.costs import call_ns, ns_per_byte
from s4_codecs.dispatch.decision import Candidate, Decision, Verdict, Why
from s4_codecs.dispatch.sampling import SamplingDispatcher, looks_incompressible
from s4_codecs.errors import CodecUnavailableError, DeviceMemoryError
from s4_codecs.options import EncodeOptions
from s4_codecs.recipe import codec_of
from s4_codecs.sample import PROFILE_BYTES, SAMPLE_BYTES, profile, profile_is_numeric, profile_is_random

WINDOW_BYTES = 512 << 10
"""What is known of an object when its codec is chosen: as much as one frame of the default size holds."""

_GRAIN = 5040
"""Samples begin and end at multiples of it: of the widths of most records, so that each begins where a record begins."""
_PLACES = 3
_GRAINS = range(2, 9)
"""Of each place: 30 to 121 KB in all. All places are one input to each codec, since finding a layout takes a codec its time for each."""
_SAMPLE_SHARE = 8
"""Of an object of known size, at most an eighth is tried."""
_RECHECK_GRAINS = 4

_CLOSE = 1.01
"""Codecs within a hundredth of the fewest bytes count as equal, and the cheapest of them is taken."""
_ENOUGH = 32
"""A codec that shrinks the sample so much leaves less than 3 % of the bytes for dearer ones to save; they are not tried."""

_Scores: TypeAlias = dict[CodecId, int]
_CPU_CODECS = (CodecId.CPU_ZSTD, CodecId.CPU_COLUMNAR)
_GPU_CODECS = (CodecId.NVCOMP_ZSTD, CodecId.NVCOMP_BITCOMP)
"""Tried beside the configured one. Not gzip: at the default levels zstd is smaller and faster on everything. Of the GPU's those that
sampling promotes to, which are read without one; nobody should need a GPU to read an object because it was tried there."""


@dataclass(frozen=True, slots=True)
class TrialDispatcher:
    """Tries every codec that the options allow."""

    options: EncodeOptions

    @property
    def sample_bytes(self) -> int:
        """What one frame holds."""
        return WINDOW_BYTES

    def pick(self, sample: Buffer, total_size: int | None) -> CodecId:
        """See `Dispatcher.pick`."""
        return self.explain(sample, total_size).codec

    def explain(self, sample: Buffer, total_size: int | None) -> Decision:
        """See `Dispatcher.explain`."""
        pieces = Pieces()
        pieces.add(as_bytes_view(sample))
        return self.decide(pieces, total_size)

    def decide(self, content: Pieces, total_size: int | None, *, again: bool = False) -> Decision:
        """The codec for an object of which `content` is known.

        Args:
            content: its beginning, or one of its frames.
            total_size: bytes of the object, None when unknown.
            again: a short trial will do.
        """
        began = thread_time()
        if content.size < SAMPLE_BYTES:
            rules = SamplingDispatcher(self.options.codec_id, exclude=self.options.excluded)
            codec = rules.pick(content.extract(0, content.size), total_size)
            why = Why.INCOMPRESSIBLE if codec is CodecId.PASSTHROUGH is not self.options.codec_id else Why.TOO_SMALL
            return Decision(codec, why, content.size)
        lanes = profile(profiled(content))
        if self._is_incompressible(content, lanes):
            return Decision(CodecId.PASSTHROUGH, Why.INCOMPRESSIBLE, SAMPLE_BYTES + PROFILE_BYTES, seconds=thread_time() - began)
        decision = self._try(_sample(content, total_size, again=again), total_size, numeric=profile_is_numeric(lanes))
        return replace(decision, seconds=thread_time() - began)

    def trial_ns(self, total_size: int | None, *, numeric: bool) -> float:
        """What a short trial costs by the table of costs, in nanoseconds on one core, with every codec that may be tried.

        Args:
            total_size: bytes of the object, None when unknown.
            numeric: whether the content looks like numbers.
        """
        tried = [codec for codec, verdict in self._entrants(total_size) if verdict is None]
        return sum(self._trial_ns(codec, _RECHECK_GRAINS * _GRAIN * _PLACES, numeric=numeric) for codec in tried)

    def cost(self, codec: CodecId) -> float:
        """Nanoseconds a byte at the configured level."""
        return ns_per_byte(codec, zstd_level=self.options.zstd_level)

    def _trial_ns(self, codec: CodecId, size: int, *, numeric: bool) -> float:
        if codec is CodecId.PASSTHROUGH:
            return 0.0
        return self.cost(codec) * size + (call_ns(codec) if numeric else 0.0)

    def _is_incompressible(self, content: Pieces, lanes: npt.NDArray[np.float64]) -> bool:
        """Spares what is compressed already the trial: it is stored in less time than a trial takes."""
        if CodecId.PASSTHROUGH in self.options.excluded or not looks_incompressible(content.extract(0, SAMPLE_BYTES)):
            return False
        return profile_is_random(lanes)

    def _entrants(self, total_size: int | None) -> Iterator[tuple[CodecId, Verdict | None]]:
        """The codecs in question, the cheapest first, and what speaks against trying them."""
        options = self.options
        gpu = options.gpu is not None and total_size is not None and total_size >= options.gpu.min_bytes
        codecs = {CodecId.PASSTHROUGH, options.codec_id, *_CPU_CODECS, *(_GPU_CODECS if gpu else ())}
        for codec in sorted(codecs, key=lambda codec: (self.cost(codec), codec)):
            if codec in options.excluded:
                yield codec, Verdict.EXCLUDED
            elif codec is not options.codec_id and self.cost(codec) > options.trial_ns_per_byte:
                yield codec, Verdict.OVER_BUDGET
            else:
                yield codec, None

    def _try(self, sample: bytes, total_size: int | None, *, numeric: bool) -> Decision:
        size, spent = len(sample), 0.0
        scores, verdicts = _Scores(), dict[CodecId, Verdict]()
        for codec, verdict in self._entrants(total_size):
            if verdict is None and scores and min(scores.values()) * _ENOUGH <= size:
                verdict = Verdict.NO_ROOM
            if verdict is None:
                stored = self._stored(codec, sample)
                if stored is None:
                    verdict = Verdict.UNAVAILABLE
                else:
                    scores[codec] = stored
                    spent += self._trial_ns(codec, size, numeric=numeric)
            verdicts[codec] = verdict or Verdict.CHOSEN
        if not scores:  # everything is excluded or missing: a body can always be stored as it is
            scores[CodecId.PASSTHROUGH] = size
        return self._judge(scores, verdicts, size, spent)

    def _stored(self, codec: CodecId, sample: bytes) -> int | None:
        """Bytes that the sample takes under `codec`; None when it cannot work here."""
        if codec is CodecId.PASSTHROUGH:
            return len(sample)
        try:
            return min(len(codec_of(self.options, codec).compress(sample)), len(sample))
        except (CodecUnavailableError, DeviceMemoryError):
            return None

    def _judge(self, scores: _Scores, verdicts: dict[CodecId, Verdict], size: int, spent: float) -> Decision:
        fewest = min(scores.values())
        chosen = next(codec for codec, stored in scores.items() if stored <= fewest * _CLOSE)  # in the order of their costs
        for codec, stored in scores.items():
            if codec is not chosen:
                verdicts[codec] = Verdict.LARGER if stored > scores[chosen] else Verdict.DEARER
        verdicts[chosen] = Verdict.CHOSEN
        candidates = tuple(Candidate(codec, verdict, self.cost(codec), scores.get(codec)) for codec, verdict in verdicts.items())
        why = Why.SMALLEST if scores[chosen] == fewest else Why.CHEAPEST
        return Decision(chosen, why, size, candidates, spent)


def profiled(content: Pieces) -> bytes:
    """The bytes of `content`, at least `PROFILE_BYTES`, that a profile is made of: of start, middle and end of its first 512 KiB.

    Of frames of any size alike: in numbers that grow, high bytes differ the more the farther apart the places are.
    """
    step, size = PROFILE_BYTES // _PLACES, min(content.size, WINDOW_BYTES)
    starts = (0, (size - step) // 2 & ~7, size - step & ~7)
    return b"".join(content.extract(start, start + step) for start in starts)


def _sample(content: Pieces, total_size: int | None, *, again: bool) -> bytes:
    """Start, middle and end of `content`, joined where records begin, or all of it if it is short."""
    share = WINDOW_BYTES if total_size is None else total_size // _SAMPLE_SHARE
    grains = min(max(share // (_GRAIN * _PLACES), _GRAINS[0]), _RECHECK_GRAINS if again else _GRAINS[-1])
    step = grains * _GRAIN
    if content.size <= step * _PLACES:
        return content.extract(0, content.size)
    known = content.size // _GRAIN * _GRAIN
    middle = (known - step) // 2 // _GRAIN * _GRAIN
    return b"".join(content.extract(start, start + step) for start in (0, middle, known - step))
