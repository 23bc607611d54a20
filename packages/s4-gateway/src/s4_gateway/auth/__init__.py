"""Who sent a request: `Authenticator` verifies AWS signatures against the secrets of a `KeyStore`."""

from s4_gateway.auth.authenticate import Authenticator
from s4_gateway.auth.credentials import KeyStore

__all__ = ["Authenticator", "KeyStore"]
