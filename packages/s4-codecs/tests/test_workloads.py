"""The named workloads are what every published figure means by their names."""

import hashlib

import pytest

from s4_codecs.testing.workloads import SHA256_64MIB, WORKLOADS

SHA256_64KIB = {
    "nginx": "7b9de042a0deac1b32be9f9a4f8077f87917a327223e705c2f8df6d80d3421c1",
    "parquet_like": "068b81b5f76b7979dbcbde17df860531151687f9826f51b71d1586228f743647",
    "postings": "999b5382075e99fc59c39652a6d0776f0c73f49866ad762d450569c51a30f5db",
    "timestamps": "758df02c1ee0db9408a2944b474e7a723050ea38e4d2a4c49ad7ec6672a80060",
    "doc_values": "3bf4a1d7d5723d60a8608023d41eeafc9bd37ae672b935812bb2bf7361073c2d",
    "noise": "95aa642d8f5f177eb01b4dee79f76fae1e95eaca67d071dc4890074f1a5a5fe7",
    "log": "2e2ed664ad65bb0649f779e8c1a0ed6915d8bca9f037aec5c949cb0e7b10764e",
    "gaps": "bbb55b7c169becf6b9449dc53463b0fe0d4c82760743eb186c3c5a488f794cb2",
    "jitter": "98519657fd4d8f3b8afc81b8dd1333e44774faac5102bb62614e0741946fa8a1",
    "walk_i64": "0566e6572c8acb3975e5db894568c1aec8655f97d315d18fe1601e4ef878d5c7",
    "walk_f64": "9ef6067223ebd5950b6f6ced66c3156a93f58d86dddd5eee2f0c8c084f8baed3",
    "weights_f32": "759765087a79eed917530f2547f547a50cd57722c6214ddf4b4b2a47faaf342c",
    "records": "688cecbb3662e8e2ad25a232d194a5113a4995b7a6c451f5515c6c5c68a87c86",
}


def test_the_tables_are_complete() -> None:
    """Every workload has a digest at both sizes."""
    assert set(WORKLOADS) == set(SHA256_64MIB) == set(SHA256_64KIB)


@pytest.mark.parametrize("name", WORKLOADS)
def test_small(name: str) -> None:
    """64 KiB of each workload are what they were."""
    assert hashlib.sha256(WORKLOADS[name](1 << 16)).hexdigest() == SHA256_64KIB[name]


@pytest.mark.parametrize("name", ["log", "doc_values", "noise", "postings", "parquet_like"])
def test_large(name: str) -> None:
    """64 MiB are those of the published figures; the costly generators are left to the benchmark."""
    assert hashlib.sha256(WORKLOADS[name](64 << 20)).hexdigest() == SHA256_64MIB[name]
