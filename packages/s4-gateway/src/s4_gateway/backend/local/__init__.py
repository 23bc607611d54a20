"""The embedded store: `LocalBackend` keeps objects in a directory of this machine, `DirectoryLock` keeps other servers off it."""

from s4_gateway.backend.local.lock import DirectoryLock
from s4_gateway.backend.local.store import LocalBackend

__all__ = ["DirectoryLock", "LocalBackend"]
