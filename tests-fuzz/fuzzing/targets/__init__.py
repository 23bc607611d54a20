"""All targets, by name."""

from collections.abc import Mapping

from fuzzing.target import Target
from fuzzing.targets import answers, chunks, documents, headers, heads, names, requests, stored

TARGETS: Mapping[str, Target] = {
    target.name: target for module in (heads, requests, chunks, headers, documents, answers, names, stored) for target in module.TARGETS
}
