"""The embedded store: `LocalBackend` keeps objects in a directory of this machine."""

from s4_gateway.backend.local.store import LocalBackend

__all__ = ["LocalBackend"]
