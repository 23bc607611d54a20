"""S4 gateway: an S3 endpoint that stores every object compressed and gives it back byte for byte.

The command `s4-gateway` is the public face of this package; the modules below it are the gateway's own.
"""

from s4_gateway._version import __version__

__all__ = ["__version__"]
