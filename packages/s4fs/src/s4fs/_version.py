"""The version of this distribution, read by the build."""

__version__ = "2.0.0"
