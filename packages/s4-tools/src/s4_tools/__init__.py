"""s4-tools: the command line of S4.

The command `s4` is the public face of this package.
"""

from s4_tools._version import __version__

__all__ = ["__version__"]
