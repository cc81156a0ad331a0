"""Packets of recorded sessions: opened, decoded by the codec of their verb, and encoded again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.codec import Message, encoded
from tests.support.vectors import cases
from ztstack.base.address import Address
from ztstack.base.codec import Reader
from ztstack.crypto.identity import Identity
from ztstack.vl1.armor import PeerKeys, open_packet
from ztstack.wire.compression import decompress
from ztstack.wire.credentials import NetworkCredentials
from ztstack.wire.frames import ExtFrame, FrameMessage
from ztstack.wire.header import COMPRESSED, ENVELOPE_OFFSET, SUITE_TRUSTED, decode_header
from ztstack.wire.hello import Hello, HelloOk, encrypted_offset
from ztstack.wire.multicast import (
    GatherOk,
    MulticastFrame,
    MulticastFrameOk,
    MulticastGather,
    MulticastLike,
)
from ztstack.wire.network_config import ConfigAck, ConfigChunk, ConfigRequest
from ztstack.wire.rendezvous import PushDirectPaths, Rendezvous
from ztstack.wire.replies import Error, Ok
from ztstack.wire.user_message import UserMessage
from ztstack.wire.verbs import VERB_MASK, Verb
from ztstack.wire.whois import Whois, WhoisOk

CODECS: dict[int, type[Message]] = {
    Verb.HELLO: Hello,
    Verb.ERROR: Error,
    Verb.OK: Ok,
    Verb.WHOIS: Whois,
    Verb.RENDEZVOUS: Rendezvous,
    Verb.FRAME: FrameMessage,
    Verb.EXT_FRAME: ExtFrame,
    Verb.MULTICAST_LIKE: MulticastLike,
    Verb.NETWORK_CREDENTIALS: NetworkCredentials,
    Verb.NETWORK_CONFIG_REQUEST: ConfigRequest,
    Verb.NETWORK_CONFIG: ConfigChunk,
    Verb.MULTICAST_GATHER: MulticastGather,
    Verb.MULTICAST_FRAME: MulticastFrame,
    Verb.PUSH_DIRECT_PATHS: PushDirectPaths,
    Verb.USER_MESSAGE: UserMessage,
}
ANSWERS: dict[int, type[Message]] = {
    Verb.HELLO: HelloOk,
    Verb.WHOIS: WhoisOk,
    Verb.NETWORK_CONFIG_REQUEST: ConfigChunk,
    Verb.MULTICAST_GATHER: GatherOk,
    Verb.MULTICAST_FRAME: MulticastFrameOk,
}


@pytest.mark.parametrize("case", cases("verbs.json", "packet"))
def test_packet(case: dict[str, Any]) -> None:
    wire = bytes.fromhex(case["wire"])
    header = decode_header(wire)
    assert header.source == Address.parse(case["source"])
    assert header.destination == Address.parse(case["dest"])
    assert header.packet_id == int(case["packet_id"], 16)
    assert (header.suite, header.hops) == (case["cipher"], case["hops"])
    source, destination = (Identity.parse(case[key]) for key in ("source_secret", "dest_secret"))
    keys = PeerKeys(destination.agree(source.public))
    # Suite 2 has no cryptography at all.
    body = wire[ENVELOPE_OFFSET:] if header.suite == SUITE_TRUSTED else open_packet(keys, wire)
    verb, payload = body[0], body[1:]
    assert bool(verb & COMPRESSED) is case["compressed"]
    if verb & COMPRESSED:
        payload = decompress(payload)
    if verb & VERB_MASK == Verb.HELLO:
        secret = encrypted_offset(payload)
        payload = payload[:secret] + keys.crypt_field(wire[:8], payload[secret:])
    assert verb & VERB_MASK == case["verb"]
    assert payload.hex() == case["payload"]
    if verb & VERB_MASK == Verb.ECHO:
        return
    message = CODECS[verb & VERB_MASK].decode(Reader(payload))
    assert encoded(message) == payload
    if isinstance(message, Ok):
        _check_answer(message)


def _check_answer(ok: Ok) -> None:
    kind = ANSWERS.get(ok.in_re_verb)
    if ok.in_re_verb == Verb.ECHO and len(ok.body) == 16:
        kind = ConfigAck  # NETWORK_CONFIG is acknowledged as if it were ECHO
    if kind is not None:
        assert encoded(kind.decode(Reader(ok.body))) == ok.body
