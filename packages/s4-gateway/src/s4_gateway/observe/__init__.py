"""What the gateway tells about itself: metrics, the access log and the process's own log."""

from s4_gateway.observe.access_log import AccessLog
from s4_gateway.observe.metrics import Metrics
from s4_gateway.observe.record import Record

__all__ = ["AccessLog", "Metrics", "Record"]
