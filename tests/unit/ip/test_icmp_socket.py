"""Ping both ways, and how often it is answered."""

from __future__ import annotations

import pytest

from tests.support.events import taken
from ztstack.base.codec import Reader
from ztstack.base.errors import Drop
from ztstack.base.timers import SECOND
from ztstack.base.trace import ListTracer
from ztstack.ip.events import Pong
from ztstack.ip.icmp_socket import REPLIES_AT_ONCE, WAIT_US, EchoSocket, TokenBucket
from ztstack.ip.packets.icmpv4 import Icmpv4Message
from ztstack.ip.packets.icmpv6 import Icmpv6Message

A4, B4 = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
A6, B6 = b"\xfd" + bytes(15), b"\xfd" + bytes(14) + b"\x01"


def test_request_and_reply_over_ipv4() -> None:
    tracer = ListTracer()
    asker, answerer = EchoSocket(tracer, []), EchoSocket(tracer, [])
    request = Icmpv4Message.decode(Reader(asker.request(0, A4, B4, (5, 6), b"data")))
    assert request == Icmpv4Message(8, 0, 5 << 16 | 6, b"data")
    answer = answerer.reply(0, B4, A4, request)
    assert answer is not None
    reply = Icmpv4Message.decode(Reader(answer))
    assert reply == Icmpv4Message(0, 0, 5 << 16 | 6, b"data")
    asker.receive_reply(9, B4, reply.word, reply.body)
    assert taken(asker.events) == [Pong(B4, 5, 6, b"data")]
    asker.receive_reply(9, B4, reply.word, reply.body)
    assert taken(asker.events) == []
    assert tracer.drops == [Drop.UNEXPECTED_REPLY]


def test_request_and_reply_over_ipv6() -> None:
    asker = EchoSocket(ListTracer(), [])
    data = asker.request(0, A6, B6, (5, 6), b"data")
    request = Icmpv6Message.decode(Reader(data), A6, B6)
    assert request == Icmpv6Message(128, 0, 5 << 16 | 6, b"data")
    answer = asker.reply(0, B6, A6, request)
    assert answer is not None
    assert Icmpv6Message.decode(Reader(answer), B6, A6).type == 129


@pytest.mark.parametrize(
    ("now", "ip", "word"), [(0, A4, 5 << 16 | 6), (0, B4, 5 << 16 | 7), (WAIT_US + 1, B4, 0x50006)]
)
def test_replies_that_nobody_waits_for(now: int, ip: bytes, word: int) -> None:
    tracer = ListTracer()
    asker = EchoSocket(tracer, [])
    asker.request(0, A4, B4, (5, 6), b"")
    asker.receive_reply(now, ip, word, b"")
    assert taken(asker.events) == []
    assert tracer.drops == [Drop.UNEXPECTED_REPLY]


def test_replies_are_bounded() -> None:
    tracer = ListTracer()
    answerer = EchoSocket(tracer, [])
    request = Icmpv4Message(8, 0, 1, b"")
    answers = [answerer.reply(0, B4, A4, request) for _ in range(REPLIES_AT_ONCE + 3)]
    assert answers[REPLIES_AT_ONCE:] == [None] * 3
    assert None not in answers[:REPLIES_AT_ONCE]
    assert tracer.drops == [Drop.RATE_LIMITED] * 3
    assert answerer.reply(SECOND, B4, A4, request) is not None


def test_token_bucket() -> None:
    bucket = TokenBucket(rate=10, burst=2)
    assert [bucket.allow(0) for _ in range(3)] == [True, True, False]
    assert not bucket.allow(99_999)
    assert bucket.allow(100_000)
    assert not bucket.allow(100_000)
    assert [bucket.allow(SECOND) for _ in range(3)] == [True, True, False]
