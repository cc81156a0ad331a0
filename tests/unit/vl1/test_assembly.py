from __future__ import annotations

import hashlib
import random
from typing import Any

import pytest

from tests.support.vectors import cases
from ztstack.base.errors import DecodeError
from ztstack.base.timers import SECOND
from ztstack.vl1.armor import PeerKeys, open_packet
from ztstack.vl1.assembly import (
    TABLE_LIMIT,
    TIMEOUT_US,
    Assembly,
    cut,
    fragments_needed,
    may_send,
    segment_bytes,
)


@pytest.mark.parametrize("case", cases("fragments.json", "fragment"))
def test_reassembly(case: dict[str, Any]) -> None:
    datagrams = [bytes.fromhex(datagram) for datagram in case["datagrams"]]
    if len(datagrams) == 1:
        packet: bytes | None = datagrams[0]
    elif len(datagrams) > 7:
        with pytest.raises(DecodeError):
            _assembled(datagrams)
        return
    else:
        packet = _assembled(datagrams)
        shuffled = random.Random(1).sample(datagrams, len(datagrams))
        assert _assembled(shuffled) == packet
    assert packet is not None
    assert hashlib.sha512(packet).hexdigest() == case["armored_packet_sha512"]
    body = open_packet(PeerKeys(bytes.fromhex(case["key48"])), packet)
    assert body == bytes((case["verb"],)) + bytes.fromhex(case["payload"])
    if len(datagrams) > 1:
        assert cut(packet, case["mtu"]) == datagrams


def _assembled(datagrams: list[bytes]) -> bytes | None:
    assembly = Assembly()
    results = [assembly.add(0, datagram) for datagram in datagrams]
    assert all(result is None for result in results[:-1])
    assert not len(assembly) or results[-1] is None
    return results[-1]


def _packet(length: int, seed: int = 0) -> bytes:
    data = bytearray(random.Random(seed).randbytes(length))
    data[13] = 0x11
    data[18] = 0x58
    return bytes(data)


@pytest.mark.parametrize("length", [1433, 2838, 2849, 5000, 9927, 9928])
def test_equal_parts_come_together(length: int) -> None:
    packet = _packet(length)
    parts = fragments_needed(length)
    datagrams = cut(packet, segment_bytes(length, parts))
    assert len(datagrams) == parts
    assert len({len(d) for d in datagrams[:-1]}) == 1
    assert len(datagrams[-1]) <= len(datagrams[0]) <= 1432
    assert _assembled(datagrams) == packet


def test_the_longest_packet() -> None:
    assert may_send(9928)
    assert not may_send(9929)


def test_duplicates_are_ignored() -> None:
    packet = _packet(2838)
    head, tail = cut(packet, 1427)
    assembly = Assembly()
    assert assembly.add(0, head) is None
    assert assembly.add(0, head) is None
    assert assembly.add(0, tail) == packet


def test_an_old_part_does_not_meet_a_new_one() -> None:
    head, tail = cut(_packet(2838), 1427)
    assembly = Assembly()
    assert assembly.add(0, head) is None
    assert assembly.add(TIMEOUT_US + SECOND, tail) is None


def test_the_table_is_bounded() -> None:
    assembly = Assembly()
    for seed in range(3 * TABLE_LIMIT):
        assembly.add(seed, cut(_packet(2838, seed), 1427)[0])
    assert len(assembly) == TABLE_LIMIT
