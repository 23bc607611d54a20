"""Who may do what: one ordered list of checks that every request passes between authentication and its handler."""

from s4_gateway.policy.authorize import CHECKS, Check, Entry, authorize

__all__ = ["CHECKS", "Check", "Entry", "authorize"]
