"""s4fs straight over a store, past any gateway, and s3fs over a gateway."""

from typing import Any

from s4fs import S4FileSystem
from servers.gateways import Gateway
from servers.stores import ACCESS_KEY, SECRET_KEY, Store


def target_options(store: Store, *, port: int | None = None) -> dict[str, Any]:
    """Options of s3fs for the store itself, or for a proxy in front of it."""
    endpoint = store.endpoint if port is None else f"http://127.0.0.1:{port}"
    return {"endpoint_url": endpoint, "key": ACCESS_KEY, "secret": SECRET_KEY, "client_kwargs": {"region_name": "us-east-1"}}


def storage_options(store: Store, **options: Any) -> dict[str, Any]:
    """What tools are given as `storage_options` for `s4://`, to read and write."""
    return {"target_options": target_options(store), "write_enabled": True, **options}


def filesystem(store: Store, *, port: int | None = None, **options: Any) -> S4FileSystem:
    """A writable file system of its own."""
    return S4FileSystem(
        **{"target_options": target_options(store, port=port), "write_enabled": True, "skip_instance_cache": True, **options}
    )


def gateway_options(gateway: Gateway) -> dict[str, Any]:
    """What tools are given as `storage_options` for `s3://` through a gateway."""
    return {"endpoint_url": gateway.endpoint, "key": gateway.access_key, "secret": gateway.secret_key}
