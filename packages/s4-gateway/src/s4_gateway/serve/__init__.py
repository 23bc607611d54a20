"""The web server: uvicorn's server around a protocol of our own, with limits, back-pressure and an orderly end."""

from s4_gateway.serve.limits import Limits
from s4_gateway.serve.server import GatewayServer, bind, serve
from s4_gateway.serve.supervisor import Supervisor, WorkersFailed
from s4_gateway.serve.worker import Station

__all__ = ["GatewayServer", "Limits", "Station", "Supervisor", "WorkersFailed", "bind", "serve"]
