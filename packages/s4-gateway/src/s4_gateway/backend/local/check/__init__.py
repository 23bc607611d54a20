"""Examining a store that no server uses: `examine` returns a `Report` of `Finding`s, and mends what is provable if it is told to."""

from s4_gateway.backend.local.check.examination import examine
from s4_gateway.backend.local.check.report import Finding, Kind, Report, Weight

__all__ = ["Finding", "Kind", "Report", "Weight", "examine"]
