"""The version of this distribution; the only place that spells it."""

__version__ = "2.0.0"
