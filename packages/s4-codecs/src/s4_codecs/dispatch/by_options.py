"""The dispatcher that options name."""

from functools import lru_cache

from s4_format import Buffer

from s4_codecs.dispatch.abc import Dispatcher
from s4_codecs.dispatch.decision import Decision
from s4_codecs.dispatch.pilot import Pilot, SteadyPilot, TrialPilot
from s4_codecs.dispatch.sampling import AlwaysDispatcher, SamplingDispatcher
from s4_codecs.dispatch.trial import TrialDispatcher
from s4_codecs.options import EncodeOptions

_TRIAL = EncodeOptions(dispatcher="trial")


@lru_cache(maxsize=64)
def dispatcher_for(options: EncodeOptions) -> Dispatcher:
    """The dispatcher of `options`."""
    match options.dispatcher:
        case "always":
            return AlwaysDispatcher(options.codec_id)
        case "sampling":
            return SamplingDispatcher(options.codec_id, gpu=options.gpu, exclude=options.excluded)
        case "trial":
            return TrialDispatcher(options)


def pilot_for(options: EncodeOptions, size: int | None) -> Pilot:
    """What chooses the codecs of one object of `size` bytes (None: unknown)."""
    dispatcher = dispatcher_for(options)
    return TrialPilot(dispatcher, size) if isinstance(dispatcher, TrialDispatcher) else SteadyPilot(dispatcher, size)


def explain(sample: Buffer, options: EncodeOptions = _TRIAL, *, total_size: int | None = None) -> Decision:
    """What `options` decide for an object that begins with `sample`, or is it; printed, it is a table.

    Args:
        sample: any contiguous buffer. A trial looks at its start, middle and end.
        options: those of a trial by default.
        total_size: bytes of the object; None: as many as the sample has.
    """
    size = len(memoryview(sample).cast("B"))
    return dispatcher_for(options).explain(sample, size if total_size is None else total_size)
