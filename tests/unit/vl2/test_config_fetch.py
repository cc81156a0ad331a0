from __future__ import annotations

from typing import Any

import pytest

from tests.support.vectors import load
from ztstack.base.address import Address
from ztstack.base.codec import Reader
from ztstack.base.errors import DecodeError
from ztstack.base.network_id import NetworkId
from ztstack.crypto.identity import Identity
from ztstack.vl2.config_fetch import (
    ASSEMBLIES,
    DOUBT_US,
    EAGER_US,
    REFUSED_RETRY_US,
    RENEW_US,
    RETRY_US,
    ConfigAssembler,
    ConfigFetch,
)
from ztstack.vl2.events import NetworkStatus, Output, SendMessage, StatusChanged
from ztstack.wire.network_config import ConfigChunk, ConfigRequest
from ztstack.wire.verbs import Verb

SECOND = 1_000_000
NODES: list[dict[str, Any]] = load("session_network.json")["nodes"]
CONTROLLER, OTHER = (Identity.parse(node["secret"]) for node in NODES[:2])
NETWORK = NetworkId(CONTROLLER.address << 24 | 7)


def is_request(outputs: list[Output]) -> bool:
    """Tell whether this is one request and nothing else."""
    if not outputs:
        return False
    (output,) = outputs
    assert isinstance(output, SendMessage)
    assert output.destination == CONTROLLER.address
    assert output.verb == Verb.NETWORK_CONFIG_REQUEST
    assert output.compress
    return True


def request_times(fetch: ConfigFetch, until: int) -> list[int]:
    """Run the timers up to a time, and return when it asked."""
    times = []
    while (at := fetch.next_timer()) is not None and at < until:
        fetch.handle_timer(at - 1)
        assert not fetch.out
        fetch.handle_timer(at)
        if is_request(fetch.take_output()):
            times.append(at)
    return times


def test_silence() -> None:
    fetch = ConfigFetch(0, NETWORK, is_cached=False)
    assert fetch.status is NetworkStatus.REQUESTING
    times = request_times(fetch, 21 * SECOND)
    assert times == [second * SECOND for second in (0, 1, 3, 5, 10, 15, 20)]


def requested(fetch: ConfigFetch, now: int) -> ConfigRequest:
    fetch.handle_timer(now)
    (output,) = fetch.take_output()
    assert isinstance(output, SendMessage)
    return ConfigRequest.decode(Reader(output.payload))


def test_the_request_names_what_came_in_this_life() -> None:
    fetch = ConfigFetch(0, NETWORK, is_cached=True)
    assert fetch.status is NetworkStatus.OK
    request = requested(fetch, 0)
    assert (request.network, request.revision, request.timestamp) == (NETWORK, 0, 0)
    assert request.metadata.get_uint("v") == 7
    fetch.receive_config(SECOND, 3, 1234)
    request = requested(fetch, SECOND + RENEW_US)
    assert (request.revision, request.timestamp) == (3, 1234)


def test_renewal() -> None:
    fetch = ConfigFetch(0, NETWORK, is_cached=False)
    assert request_times(fetch, 1) == [0]
    fetch.receive_config(SECOND // 2, 1, 1)
    assert fetch.take_output() == [StatusChanged(NetworkStatus.OK, "")]
    renewed = SECOND // 2 + RENEW_US
    assert fetch.next_timer() == renewed
    assert request_times(fetch, renewed + 1) == [renewed]
    fetch.receive_config(renewed + 1, 2, 2)
    assert fetch.take_output() == []
    assert fetch.next_timer() == renewed + 1 + RENEW_US


def test_refusal_and_change_of_mind() -> None:
    fetch = ConfigFetch(0, NETWORK, is_cached=False)
    request_times(fetch, 6 * SECOND)
    fetch.receive_refusal(6 * SECOND, NetworkStatus.ACCESS_DENIED)
    assert fetch.take_output() == [StatusChanged(NetworkStatus.ACCESS_DENIED, "")]
    assert fetch.next_timer() == 6 * SECOND + REFUSED_RETRY_US

    fetch.receive_refusal(7 * SECOND, NetworkStatus.ACCESS_DENIED)
    assert fetch.take_output() == []
    assert fetch.next_timer() == 6 * SECOND + REFUSED_RETRY_US

    fetch.receive_config(8 * SECOND, 1, 1)
    assert fetch.take_output() == [StatusChanged(NetworkStatus.OK, "")]


def test_later_refusals_are_not_hurried() -> None:
    fetch = ConfigFetch(0, NETWORK, is_cached=False)
    request_times(fetch, EAGER_US + 1)
    fetch.receive_refusal(EAGER_US + 1, NetworkStatus.NOT_FOUND)
    fetch.take_output()
    assert fetch.next_timer() == EAGER_US + RETRY_US


def test_a_sign_in_address_is_news() -> None:
    fetch = ConfigFetch(0, NETWORK, is_cached=False)
    status = NetworkStatus.AUTHENTICATION_REQUIRED
    fetch.receive_refusal(0, status, "https://a")
    fetch.receive_refusal(0, status, "https://a")
    fetch.receive_refusal(0, status, "https://b")
    assert fetch.take_output() == [
        StatusChanged(status, "https://a"),
        StatusChanged(status, "https://b"),
    ]


def test_doubts_of_members_make_it_ask_soon_but_not_all_the_time() -> None:
    fetch = ConfigFetch(0, NETWORK, is_cached=False)
    fetch.doubt(0)
    assert request_times(fetch, 1) == [0]
    fetch.receive_config(SECOND // 2, 1, 1)
    fetch.take_output()
    for at in (SECOND, 2 * SECOND, DOUBT_US - 1):
        fetch.doubt(at)
    assert request_times(fetch, DOUBT_US + 1) == [DOUBT_US]
    fetch.receive_config(RENEW_US, 2, 2)
    fetch.take_output()
    fetch.doubt(RENEW_US + 7 * SECOND)
    assert fetch.next_timer() == RENEW_US + 7 * SECOND


def test_stop() -> None:
    fetch = ConfigFetch(0, NETWORK, is_cached=False)
    fetch.stop()
    fetch.doubt(0)
    fetch.handle_timer(0)
    assert not fetch.out
    assert fetch.next_timer() is None


def chunks(data: bytes, update_id: int, size: int) -> list[ConfigChunk]:
    return [
        chunk.signed_by(CONTROLLER) for chunk in ConfigChunk.split(NETWORK, data, update_id, size)
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_chunks_in_any_order(order: tuple[int, ...]) -> None:
    parts = chunks(b"0123456789", 5, 4)
    assembler = ConfigAssembler()
    results = []
    for number in order:
        assert not assembler.is_known(parts[number])
        results.append(assembler.add(parts[number], CONTROLLER))
        assert assembler.is_known(parts[number])
    assert results == [None, None, b"0123456789"]


def test_a_foreign_signature() -> None:
    (part,) = ConfigChunk.split(NETWORK, b"0123", 5)
    assembler = ConfigAssembler()
    for forged in (part, part.signed_by(OTHER)):
        with pytest.raises(DecodeError):
            assembler.add(forged, CONTROLLER)
        assert not assembler.is_known(forged)
    assert OTHER.address != Address(0)


def test_updates_push_each_other_out() -> None:
    assembler = ConfigAssembler()
    first = chunks(b"01234567", 1, 4)
    assert assembler.add(first[0], CONTROLLER) is None
    for update_id in range(2, 2 + ASSEMBLIES):
        assert assembler.add(chunks(b"01234567", update_id, 4)[0], CONTROLLER) is None
    assert not assembler.is_known(first[0])
    assert assembler.add(first[1], CONTROLLER) is None
    assert assembler.add(first[0], CONTROLLER) == b"01234567"
