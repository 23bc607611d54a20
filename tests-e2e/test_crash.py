"""kill -9 of the embedded store under load: what was acknowledged is there, whole, and what was not is whole or absent."""

import hashlib
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from clients.multipart import put_parts
from conftest import StartGateway
from s4_gateway.testing.crash import run_rounds
from servers.stores import Store

pytestmark = pytest.mark.servers("embedded")
PROCESSES, KILLS_A_ROUND = 3, 3
GATEWAY_ROUNDS = 5


@pytest.mark.timeout(3600)
def test_killed_writers(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Kills at random moments, of processes and of whole servers, lose nothing that was acknowledged, tear nothing, and leave no file."""
    rounds = -(-pytestconfig.getoption("--kills") // KILLS_A_ROUND)
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    report = run_rounds(tmp_path / "store", rounds=rounds, seed=seed, processes=PROCESSES, kills=KILLS_A_ROUND - 1, longest_seconds=0.7)
    print(f"{report.kills} kills, {report.acknowledged} acknowledged writes, {report.in_flight} interrupted")
    assert report.faults == []
    assert report.kills == rounds * KILLS_A_ROUND
    assert report.acknowledged > report.kills


class Writer(threading.Thread):
    """Writes objects of all kinds through a gateway until it is gone, and remembers what was acknowledged."""

    def __init__(self, s3: Any, number: int, seed: int, acknowledged: dict[str, set[bytes]]) -> None:
        super().__init__(name=f"writer-{number}", daemon=True)
        self._s3 = s3
        self._number = number
        self._random = random.Random(f"{seed} {number}")
        self._acknowledged = acknowledged
        self.writes = 0

    def run(self) -> None:
        for turn in range(1_000_000):
            key = f"{self._number} {turn % 5}"
            body = self._random.randbytes(100) * self._random.choice((1, 50, 5_000, 100_000))
            digest = hashlib.md5(body).digest()
            before = self._acknowledged.get(key, {b""})
            # Until the answer comes either may be there.
            self._acknowledged[key] = before | {digest}
            try:
                if self._random.random() < 0.3:
                    put_parts(self._s3, "bucket", key, [body])
                else:
                    self._s3.put_object(Bucket="bucket", Key=key, Body=body)
            except (BotoCoreError, ClientError):
                return
            self._acknowledged[key] = {digest}
            self.writes += 1


def test_killed_gateways(fresh_store: Store, start_gateway: StartGateway, tmp_path: Path) -> None:
    """The same through whole gateways: every object reads back as one of the bodies that it may have, and nothing open is left."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    acknowledged: dict[str, set[bytes]] = {}
    gateway = start_gateway(fresh_store, state=tmp_path / "state")
    gateway.client().create_bucket(Bucket="bucket")
    for turn in range(GATEWAY_ROUNDS):
        s3 = gateway.client(retries={"total_max_attempts": 1}, max_pool_connections=8, read_timeout=10)
        writers = [Writer(s3, number, seed + turn, acknowledged) for number in range(4)]
        for writer in writers:
            writer.start()
        time.sleep(random.Random(f"{seed} {turn}").uniform(0.3, 1.5))
        gateway.process.stop(signal.SIGKILL)
        for writer in writers:
            writer.join(30)
        assert sum(writer.writes for writer in writers) > 0
        gateway = start_gateway(fresh_store, state=tmp_path / "state")
        s3 = gateway.client()
        found = {entry["Key"]: entry for entry in s3.list_objects_v2(Bucket="bucket").get("Contents", ())}
        for key, allowed in acknowledged.items():
            if key not in found:
                assert b"" in allowed, f"{key} was acknowledged and is not there"
                continue
            answer = s3.get_object(Bucket="bucket", Key=key)
            body = answer["Body"].read()
            digest = hashlib.md5(body).digest()
            assert digest in allowed, f"{key} holds what nobody wrote, or what was overwritten"
            assert (found[key]["Size"], answer["ETag"]) == (len(body), found[key]["ETag"])
            acknowledged[key] = {digest}
