"""A gateway in front of a gateway is refused: the inner one drops the outer one's `s4-*` metadata, and objects become unreadable."""

import httpx

from s4_gateway.errors import SettingsError

SERVER = "s4-gateway"
"""What we call ourselves in the Server header."""
ASK_SECONDS = 10.0


async def refuse_nesting(endpoint_url: str) -> None:
    """Ask the endpoint who it is, unsigned.

    An endpoint that does not answer is not judged here: the backend's own start says what is wrong with it.

    Raises:
        SettingsError: it is an S4 gateway.
    """
    try:
        async with httpx.AsyncClient(timeout=ASK_SECONDS, follow_redirects=False, trust_env=False) as client:
            answer = await client.get(endpoint_url + "/")
    except httpx.HTTPError:
        return
    if answer.headers.get("server", "").strip().lower() == SERVER:
        raise SettingsError(f"--endpoint-url: {endpoint_url} is an S4 gateway itself; give the address of the store behind it")
