"""All targets, by name."""

from collections.abc import Mapping

from fuzzing.target import Target
from fuzzing.targets import answers, chunks, connections, documents, headers, heads, names, requests, stored

TARGETS: Mapping[str, Target] = {
    target.name: target
    for module in (heads, connections, requests, chunks, headers, documents, answers, names, stored)
    for target in module.TARGETS
}
