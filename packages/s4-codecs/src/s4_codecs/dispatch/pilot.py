"""Choosing the codecs of one object, frame after frame, as its bytes arrive.

A choice holds until the content changes. Whether it did is told from the plaintext alone (a profile of 3 KiB), not from how well frames
were compressed: those are made by threads that finish in any order, and equal objects are to be stored as equal bytes.
"""

from dataclasses import replace
from typing import Protocol

from s4_format import CodecId

from s4_codecs._buffer import Pieces
from s4_codecs.dispatch.abc import Dispatcher
from s4_codecs.dispatch.decision import Decision
from s4_codecs.dispatch.trial import TrialDispatcher, profiled
from s4_codecs.sample import GLANCE_BYTES, PROFILE_BYTES, SAMPLE_BYTES, looks_random, profile, profile_is_numeric, profile_is_random

SHARE = 0.045
"""Of the time that encoding takes by the table of costs, what trials and looks at the content may take."""
PREPAID_BYTES = 64 << 20
"""The share of so many bytes may be spent at once, so that objects whose content changes early are not stuck with their beginning."""

_PROFILE_NS = 100_000.0
_GLANCE_NS = 15_000.0
"""What a look at a frame takes between other work, when its code and tables are not in the caches; five times as long as in a loop."""
_LOOKS_SHARE = 1 / 3
"""Of `SHARE`, what looks take; the rest is for trials."""
_LOOK_GROWTH = 4
"""The first looks are at 0.5, 2 and 8 MiB, until their share pays for more."""
_CHANGED_BITS = 2.0
"""Of the entropy of any byte position, by which a profile differs from the one at the last choice: steps within one kind of content stay
below (numbers whose range grows: up to 1.8), from text to numbers or to compressed data it is 3 and more."""
_TRIAL_EVERY = 64 << 20
_TRIAL_GROWTH = 4
"""What profiles do not show (repetitions that begin or end) is found by a trial after 64 MiB, 256 MiB, 1 GiB, ..."""
_FAST_RATIO = 32
_FAST_PACE = 0.08
"""Content that zstd shrinks so much is encoded about twelve times as fast as the table says."""


class Pilot(Protocol):
    """Chooses for one object."""

    @property
    def window(self) -> int:
        """Bytes to be collected before `first` is called, if the object has as many."""
        ...

    @property
    def heavy(self) -> bool:
        """Whether choosing takes so long (milliseconds) that it does not belong on an event loop's thread."""
        ...

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What was decided so far, where decisions have reasons: the first, and those that chose another codec."""
        ...

    def first(self, window: Pieces) -> CodecId:
        """The codec of the object and its first frame."""
        ...

    def following(self, frame: Pieces) -> CodecId:
        """The codec of a further frame, all of whose bytes are there."""
        ...


class SteadyPilot:
    """One choice for the whole object, by a dispatcher that is quick."""

    heavy = False
    decisions: tuple[Decision, ...] = ()

    def __init__(self, dispatcher: Dispatcher, size: int | None) -> None:
        self._dispatcher = dispatcher
        self._size = size
        self._pick = CodecId.PASSTHROUGH
        self.window = dispatcher.sample_bytes

    def first(self, window: Pieces) -> CodecId:
        """See `Pilot.first`."""
        self._pick = self._dispatcher.pick(window.extract(0, self.window), self._size)
        return self._pick

    def following(self, frame: Pieces) -> CodecId:
        """The same."""
        return self._pick


class TrialPilot:
    """A trial at the start, and again where the content changes, within a share of the time that encoding takes."""

    heavy = True

    def __init__(self, dispatcher: TrialDispatcher, size: int | None) -> None:
        self._dispatcher = dispatcher
        self._size = size
        self._short_trial_ns = {numeric: dispatcher.trial_ns(size, numeric=numeric) for numeric in (False, True)}
        self._decisions: list[Decision] = []
        self._profile = profile(bytes(PROFILE_BYTES))
        self._is_random = False
        self._is_numeric = False
        self._changed = False
        self._position = 0
        self._pick = CodecId.PASSTHROUGH
        self._pace_ns = 0.0
        self._encoding_ns = 0.0
        self._trials_ns = 0.0
        self._looks_ns = 0.0
        self._next_look = 0
        self._next_trial = _TRIAL_EVERY

    @property
    def window(self) -> int:
        """See `Pilot.window`."""
        return self._dispatcher.sample_bytes

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """See `Pilot.decisions`."""
        return tuple(self._decisions)

    @property
    def spent_ns(self) -> float:
        """What was spent on trials and looks so far, by the table of costs."""
        return self._trials_ns + self._looks_ns

    @property
    def encoding_ns(self) -> float:
        """What encoding the frames so far takes, by the table of costs."""
        return self._encoding_ns

    def first(self, window: Pieces) -> CodecId:
        """See `Pilot.first`."""
        self._decide(window, again=False)
        return self._pick

    def following(self, frame: Pieces) -> CodecId:
        """See `Pilot.following`."""
        if self._position and frame.size >= SAMPLE_BYTES:
            self._look(frame)
        self._position += frame.size
        self._encoding_ns += frame.size * self._pace_ns
        return self._pick

    def _look(self, frame: Pieces) -> None:
        """Decide anew where the content changed, or where it is time to, if there is time for it."""
        if not self._changed and self._position >= self._next_look:
            self._looks_ns += self._look_ns
            self._changed = self._differs(frame)
            self._plan_look()
        if (self._changed or self._position >= self._next_trial) and self._affords_trial():
            self._decide(frame, again=True)

    @property
    def _look_ns(self) -> float:
        return _GLANCE_NS if self._is_random else _PROFILE_NS

    def _differs(self, frame: Pieces) -> bool:
        """Whether the content of `frame` is of another kind than at the last choice."""
        if self._is_random and looks_random(frame.extract(frame.size // 2, frame.size // 2 + GLANCE_BYTES)):
            return False
        lanes = profile(profiled(frame))
        self._is_numeric = profile_is_numeric(lanes)
        return self._is_random or bool(abs(lanes - self._profile).max() > _CHANGED_BITS)

    def _decide(self, content: Pieces, *, again: bool) -> None:
        decision = replace(self._dispatcher.decide(content, self._size, again=again), offset=self._position)
        factor = _FAST_PACE if _is_fast(decision) else 1.0
        self._pace_ns = self._dispatcher.cost(decision.codec) * factor
        self._trials_ns += decision.cost_ns * factor
        self._looks_ns += _PROFILE_NS
        if not self._decisions or decision.codec is not self._pick:
            self._decisions.append(decision)
        self._pick = decision.codec
        self._changed = False
        if content.size >= PROFILE_BYTES:
            self._profile = profile(profiled(content))
        self._is_random = self._pick is CodecId.PASSTHROUGH and profile_is_random(self._profile)
        self._is_numeric = profile_is_numeric(self._profile)
        while again and self._position >= self._next_trial:
            self._next_trial *= _TRIAL_GROWTH
        self._plan_look()

    def _plan_look(self) -> None:
        """The next look: soon at first, then as often as its part of the share pays for."""
        pace = max(self._pace_ns, self._encoding_ns / max(self._position, 1))
        interval = self._look_ns / (SHARE * _LOOKS_SHARE * pace)
        self._next_look = self._position + int(min(interval, (_LOOK_GROWTH - 1) * self._position))

    def _affords_trial(self) -> bool:
        pace = self._pace_ns
        if self._changed and self._pick is CodecId.PASSTHROUGH:
            # What has begun is probably worth compressing.
            pace = self._dispatcher.cost(self._dispatcher.options.codec_id)
        prepaid = max(0, PREPAID_BYTES - self._position) * pace
        return self._trials_ns + self._short_trial_ns[self._is_numeric] <= SHARE * (1 - _LOOKS_SHARE) * (self._encoding_ns + prepaid)


def _is_fast(decision: Decision) -> bool:
    """Whether the codec chosen finds so many repetitions that it skips most bytes. Filters look at all of them."""
    stored = next((entry.stored for entry in decision.candidates if entry.codec is decision.codec), None)
    return stored is not None and stored * _FAST_RATIO <= decision.sample_bytes and decision.codec is not CodecId.CPU_COLUMNAR
