"""The pipeline of this process: made when it is first asked for, closed when the interpreter ends."""

import atexit
import os
import threading
from typing import TYPE_CHECKING, Final

from s4_codecs.gpu import probe

if TYPE_CHECKING:
    from s4_codecs.gpu.pipeline import Pipeline, PipelineSettings

_lock: Final = threading.Lock()
_pipelines: Final[dict[int, "Pipeline"]] = {}
"""By process: a child cannot use what its parent made."""
_settings: "list[PipelineSettings]" = []


def configure(settings: "PipelineSettings") -> None:
    """Use these settings for the pipeline of this process.

    Raises:
        ValueError: it was made already.
    """
    with _lock:
        if os.getpid() in _pipelines:
            raise ValueError("the GPU pipeline of this process is in use already")
        _settings[:] = [settings]


def pipeline() -> "Pipeline | None":
    """The pipeline, None when there is no device, or it has failed (`missing` says what).

    Nothing of CUDA is imported before the first call.
    """
    device = probe.device()
    if device is None:
        return None
    made = _pipelines.get(os.getpid())
    if made is None:
        from s4_codecs.gpu.pipeline import Pipeline  # noqa: PLC0415 -- it imports CUDA

        with _lock:
            made = _pipelines.get(os.getpid())
            if made is None:
                made = _pipelines[os.getpid()] = Pipeline(device.library, *_settings)
    return None if made.failure else made


def missing() -> str | None:
    """Why there is no pipeline, None when there is one."""
    made = _pipelines.get(os.getpid())
    return probe.missing() or (made.failure if made else None)


@atexit.register
def _close() -> None:
    """A forked child leaves its parent's pipeline alone."""
    made = _pipelines.pop(os.getpid(), None)
    if made is not None:
        made.close()
