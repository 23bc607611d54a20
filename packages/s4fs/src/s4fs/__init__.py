"""s4fs: the fsspec file system for S4 objects, read and written straight in the bucket, without the gateway.

This release reserves the distribution and its dependencies; it registers no file system yet.
"""

from s4fs._version import __version__

__all__ = ["__version__"]
