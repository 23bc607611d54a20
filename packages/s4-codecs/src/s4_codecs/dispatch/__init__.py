"""Which codec an object gets, and its further frames.

`explain` says what would be decided for a sample, why, and what deciding cost. `SamplingDispatcher` has the reference's rules,
`AlwaysDispatcher` none, `TrialDispatcher` compresses a sample with each codec. `DispatchRules` are options by bucket and key prefix.
"""

from s4_codecs.dispatch.abc import Dispatcher
from s4_codecs.dispatch.by_options import dispatcher_for, explain
from s4_codecs.dispatch.decision import Candidate, Decision, Verdict, Why
from s4_codecs.dispatch.pilot import Pilot, SteadyPilot, TrialPilot
from s4_codecs.dispatch.rules import DispatchRule, DispatchRules, RulesError
from s4_codecs.dispatch.sampling import AlwaysDispatcher, SamplingDispatcher
from s4_codecs.dispatch.trial import TrialDispatcher

__all__ = [
    "AlwaysDispatcher",
    "Candidate",
    "Decision",
    "DispatchRule",
    "DispatchRules",
    "Dispatcher",
    "Pilot",
    "RulesError",
    "SamplingDispatcher",
    "SteadyPilot",
    "TrialDispatcher",
    "TrialPilot",
    "Verdict",
    "Why",
    "dispatcher_for",
    "explain",
]
