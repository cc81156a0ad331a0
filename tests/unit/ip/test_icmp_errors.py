"""What ICMP errors are about, and the errors that we make."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tests.support.ethernet import ip
from ztstack.base.codec import Reader, Writer
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import ConnectRefused, DecodeError, NetworkUnreachable, Unreachable
from ztstack.ip.icmp_errors import (
    Flow,
    port_unreachable,
    protocol_unreachable,
    read_error4,
    read_error6,
    read_flow,
    unanswered,
)
from ztstack.ip.packets.icmpv4 import Icmpv4Message
from ztstack.ip.packets.icmpv6 import Icmpv6Message
from ztstack.ip.packets.ipv4 import TCP, UDP, Ipv4Packet
from ztstack.ip.packets.ipv6 import FRAGMENT, FragmentHeader, Ipv6Packet

A4, B4 = ip("10.0.0.1"), ip("10.0.0.2")
A6, B6 = ip("fd00::1"), ip("fd00::2")
# Ports 50000 and 80, sequence number 0x01020304, then flags: SYN.
SYN = bytes.fromhex("c3500050010203040000000050 02ffff00000000".replace(" ", ""))
ACK = SYN[:13] + b"\x10" + SYN[14:]


def packet4(protocol: int = TCP, payload: bytes = SYN) -> bytes:
    w = Writer()
    Ipv4Packet(A4, B4, protocol, payload).encode(w)
    return w.getvalue()


def packet6(protocol: int = TCP, payload: bytes = SYN) -> bytes:
    w = Writer()
    Ipv6Packet(A6, B6, protocol, payload).encode(w)
    return w.getvalue()


FLOW4 = Flow(TCP, Endpoint(A4, 50000), Endpoint(B4, 80), 0x01020304, is_syn=True)
FLOW6 = Flow(TCP, Endpoint(A6, 50000), Endpoint(B6, 80), 0x01020304, is_syn=True)


def test_flows() -> None:
    assert read_flow(packet4()) == FLOW4
    assert read_flow(packet6()) == FLOW6
    # Eight bytes of payload are what old routers quote.
    assert read_flow(packet4()[:28]) == FLOW4._replace(is_syn=False)
    assert read_flow(packet4(payload=ACK)) == FLOW4._replace(is_syn=False)
    assert read_flow(packet4(UDP)) == FLOW4._replace(protocol=UDP, sequence=0, is_syn=False)
    nothing = Flow(99, Endpoint(A4, 0), Endpoint(B4, 0), 0, is_syn=False)
    assert read_flow(packet4(99)) == nothing


def test_flows_of_fragments() -> None:
    w = Writer()
    FragmentHeader(UDP, 0, more_fragments=True, identification=1).encode(w)
    first = packet6(FRAGMENT, w.getvalue() + SYN[:8])
    assert read_flow(first).remote == Endpoint(B6, 80)
    w = Writer()
    FragmentHeader(UDP, 8, more_fragments=False, identification=1).encode(w)
    assert read_flow(packet6(FRAGMENT, w.getvalue() + SYN[:8])).remote == Endpoint(B6, 0)


@pytest.mark.parametrize(
    ("kind", "code", "error", "hard", "mtu"),
    [
        (3, 0, NetworkUnreachable, False, 0),
        (3, 1, Unreachable, False, 0),
        (3, 6, NetworkUnreachable, False, 0),
        (3, 7, Unreachable, False, 0),
        (3, 9, NetworkUnreachable, True, 0),
        (3, 11, NetworkUnreachable, False, 0),
        (3, 2, Unreachable, True, 0),
        (3, 3, ConnectRefused, True, 0),
        (3, 4, Unreachable, False, 1400),
        (3, 13, Unreachable, True, 0),
        (11, 0, Unreachable, False, 0),
        (12, 0, Unreachable, True, 0),
    ],
)
def test_errors_of_ipv4(kind: int, code: int, error: type, hard: bool, mtu: int) -> None:
    word = 1400 if code == 4 else 0
    reported = read_error4(Icmpv4Message(kind, code, word, packet4()))
    assert reported is not None
    assert type(reported.error) is error
    assert (reported.flow, reported.hard, reported.mtu) == (FLOW4, hard, mtu)
    assert "10.0.0.2" in str(reported.error)


@pytest.mark.parametrize(
    ("kind", "code", "error", "hard", "mtu"),
    [
        (1, 0, NetworkUnreachable, False, 0),
        (1, 1, Unreachable, True, 0),
        (1, 3, Unreachable, False, 0),
        (1, 4, ConnectRefused, True, 0),
        (2, 0, Unreachable, False, 1400),
        (3, 0, Unreachable, False, 0),
        (4, 1, Unreachable, True, 0),
    ],
)
def test_errors_of_ipv6(kind: int, code: int, error: type, hard: bool, mtu: int) -> None:
    word = 1400 if kind == 2 else 0
    reported = read_error6(Icmpv6Message(kind, code, word, packet6()))
    assert reported is not None
    assert type(reported.error) is error
    assert (reported.flow, reported.hard, reported.mtu) == (FLOW6, hard, mtu)


def test_sizes_that_are_too_small_to_believe() -> None:
    old_router = read_error4(Icmpv4Message(3, 4, 0, packet4()))
    tiny = read_error6(Icmpv6Message(2, 0, 68, packet6()))
    assert old_router is not None
    assert tiny is not None
    assert (old_router.mtu, tiny.mtu) == (576, 1280)


def test_messages_that_are_no_errors() -> None:
    assert read_error4(Icmpv4Message(13, 0, 0, b"")) is None
    assert read_error6(Icmpv6Message(133, 0, 0, b"")) is None


def test_unanswered_is_hard_for_a_handshake_only() -> None:
    for payload, hard in ((SYN, True), (ACK, False)):
        reported = unanswered(packet4(payload=payload))
        assert reported is not None
        assert reported.hard is hard
        assert isinstance(reported.error, Unreachable)
    assert unanswered(b"\x45") is None


def test_what_we_complain_about_can_be_read_back() -> None:
    # What B sent to A's closed port; A answers, and B reads the answer.
    cause4 = Ipv4Packet(A4, B4, UDP, SYN + bytes(2000))
    cause6 = Ipv6Packet(A6, B6, UDP, SYN + bytes(2000))
    message4 = Icmpv4Message.decode(Reader(port_unreachable(cause4)))
    assert 20 + 8 + len(message4.body) == 576
    reported = read_error4(message4)
    assert reported is not None
    assert isinstance(reported.error, ConnectRefused)
    assert reported.flow.remote == Endpoint(B4, 80)

    data = port_unreachable(cause6)
    assert 40 + len(data) == 1280
    reported = read_error6(Icmpv6Message.decode(Reader(data), B6, A6))
    assert reported is not None
    assert isinstance(reported.error, ConnectRefused)

    data = protocol_unreachable(Ipv6Packet(A6, B6, 99, b""))
    reported = read_error6(Icmpv6Message.decode(Reader(data), B6, A6))
    assert reported is not None
    assert reported.hard


@given(st.binary(max_size=80), st.integers(0, 15), st.integers(0, 15))
def test_noise_fails_in_one_way_only(noise: bytes, kind: int, code: int) -> None:
    for data in (noise, b"\x45" + noise, b"\x60" + noise):
        try:
            read_error4(Icmpv4Message(kind, code, 0, data))
            read_error6(Icmpv6Message(kind, code, 0, data))
        except DecodeError:
            continue
