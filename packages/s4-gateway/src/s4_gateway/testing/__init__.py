"""What the tests of a gateway or of a backend need: `BackendContract`, the suite that every backend passes, and its `Behind` and `Seen`."""

import pytest

# Before the import: only then do failing assertions of the suite show their values.
pytest.register_assert_rewrite("s4_gateway.testing.contract")

from s4_gateway.testing.contract import BackendContract, Behind, Seen  # noqa: E402

__all__ = ["BackendContract", "Behind", "Seen"]
