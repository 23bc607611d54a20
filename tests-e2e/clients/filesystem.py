"""s4fs and s3fs of a running store or gateway: nothing but endpoint and keys is given, unless a test says more."""

from typing import Any

import fsspec
from servers.gateways import Gateway
from servers.stores import ACCESS_KEY, SECRET_KEY, Store


def s3_options(place: Store | Gateway, endpoint: str | None = None) -> dict[str, Any]:
    """Options of s3fs; `endpoint` is that of something on the way to the place."""
    if isinstance(place, Gateway):
        return {"endpoint_url": endpoint or place.endpoint, "key": place.access_key, "secret": place.secret_key}
    return {"endpoint_url": endpoint or place.endpoint, "key": ACCESS_KEY, "secret": SECRET_KEY}


def s4_options(place: Store | Gateway, endpoint: str | None = None, **more: Any) -> dict[str, Any]:
    """Options of s4fs over it, for writing too."""
    return {"target_options": s3_options(place, endpoint), "write_enabled": True, **more}


def s4(place: Store | Gateway, endpoint: str | None = None, **more: Any) -> Any:
    """A file system of its own: it remembers nothing of what another one saw."""
    return fsspec.filesystem("s4", **s4_options(place, endpoint, **more), skip_instance_cache=True)


def s3(place: Store | Gateway) -> Any:
    """Plain s3fs, likewise."""
    return fsspec.filesystem("s3", **s3_options(place), skip_instance_cache=True)
