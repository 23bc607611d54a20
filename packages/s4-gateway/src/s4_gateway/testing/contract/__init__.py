"""`BackendContract`: what every `Backend` does, as one pytest class.

Subclass it with an async fixture `backend` (a started `Backend`) and a fixture `behind` (a `Behind`: another way into the same store).
Nothing in it assumes that the store is in this process; each test makes its own buckets. Cases follow `backend.capabilities`; the class
attributes `odd_keys`, `odd_values`, `conditional_copy` and `lists_all_uploads` leave out what a foreign server cannot do.

    class TestMyBackend(BackendContract):
        @pytest_asyncio.fixture
        async def backend(self): ...

        @pytest.fixture
        def behind(self): ...
"""

import pytest

from s4_gateway.testing.contract._base import ODD_KEYS, ODD_VALUES, Behind, Seen
from s4_gateway.testing.contract._buckets import BucketCases
from s4_gateway.testing.contract._conditions import ConditionCases
from s4_gateway.testing.contract._copy import CopyCases
from s4_gateway.testing.contract._listing import ListingCases
from s4_gateway.testing.contract._multipart import MultipartCases
from s4_gateway.testing.contract._objects import ObjectCases
from s4_gateway.testing.contract._ranges import RangeCases

__all__ = ["ODD_KEYS", "ODD_VALUES", "BackendContract", "Behind", "Seen"]


@pytest.mark.asyncio
class BackendContract(ObjectCases, RangeCases, ConditionCases, CopyCases, MultipartCases, ListingCases, BucketCases):
    """All cases."""
