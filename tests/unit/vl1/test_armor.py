from __future__ import annotations

from typing import Any

import pytest

from tests.support.pcap import udp_datagrams
from tests.support.vectors import FOLDER, cases, load
from ztstack.base.address import Address
from ztstack.base.errors import DecodeError
from ztstack.crypto.identity import Identity
from ztstack.vl1.armor import PeerKeys, open_packet, seal
from ztstack.vl1.assembly import Assembly
from ztstack.wire.compression import decompress
from ztstack.wire.header import (
    COMPRESSED,
    ENVELOPE_OFFSET,
    SUITE_TRUSTED,
    decode_header,
    is_fragment,
)
from ztstack.wire.hello import encrypted_offset
from ztstack.wire.verbs import VERB_MASK, Verb


@pytest.mark.parametrize("case", cases("packet_armor.json", "armor"))
def test_seal(case: dict[str, Any]) -> None:
    keys = PeerKeys(bytes.fromhex(case["key48"]))
    addresses = Address.parse(case["dest"]).packed + Address.parse(case["source"]).packed
    body = bytes((case["verb"],)) + bytes.fromhex(case["payload"])
    packet = seal(
        keys,
        case["cipher"],
        bytes.fromhex(case["packet_id"]),
        addresses,
        body,
        fragmented=case["fragmented"],
    )
    assert packet.hex() == case["armored"]
    assert packet[18] == case["wire_flags"]
    assert open_packet(keys, packet) == body


@pytest.mark.parametrize("case", cases("packet_armor.json", "dearmor"))
def test_open(case: dict[str, Any]) -> None:
    keys = PeerKeys(bytes.fromhex(case["key48"]))
    wire = bytes.fromhex(case["wire"])
    if not case["ok"] and not case["have_aes_keys"]:
        # The original has no AES keys for old peers; this node derives them for every peer.
        assert open_packet(keys, wire)
        return
    if not case["ok"]:
        with pytest.raises(DecodeError):
            open_packet(keys, wire)
        return
    body = open_packet(keys, wire)
    header = decode_header(wire)
    assert body[0] & VERB_MASK == case["verb"] & VERB_MASK
    assert bool(body[0] & COMPRESSED) is case["compressed"]
    assert body[1:].hex() == case["payload"]
    assert (header.hops, header.suite) == (case["hops"], case["cipher"])
    assert f"{header.packet_id:016x}" == case["packet_id_after"]


@pytest.mark.parametrize("case", cases("packet_armor.json", "trusted_path"))
def test_trusted_path_is_not_opened(case: dict[str, Any]) -> None:
    wire = bytes.fromhex(case["wire"])
    header = decode_header(wire)
    assert header.suite == SUITE_TRUSTED
    assert header.trusted_path_id == int(case["trusted_path_id"], 16)
    with pytest.raises(DecodeError):
        open_packet(PeerKeys(bytes(48)), wire)


@pytest.mark.parametrize("case", cases("packet_compress.json", "compress_then_armor"))
def test_compressed_then_sealed(case: dict[str, Any]) -> None:
    keys = PeerKeys(bytes.fromhex(case["key48"]))
    body = open_packet(keys, bytes.fromhex(case["armored"]))
    before = bytes.fromhex(case["before"])
    verb, payload = body[0], body[1:]
    assert (verb & VERB_MASK) == before[ENVELOPE_OFFSET] & VERB_MASK
    plain = decompress(payload) if verb & COMPRESSED else payload
    assert plain == before[ENVELOPE_OFFSET + 1 :]


SESSIONS = (
    "session_online.json",
    "session_network.json",
    "session_misc.json",
    "session_trusted_path.json",
)


def _session_identities(data: dict[str, Any]) -> dict[Address, Identity]:
    nodes = data["nodes"]
    items = nodes.values() if isinstance(nodes, dict) else nodes
    found = [Identity.parse(node["secret"]) for node in items]
    return {identity.address: identity for identity in found}


def _opened(packet: bytes, identities: dict[Address, Identity]) -> tuple[bytes, PeerKeys]:
    """Return verb byte and payload as they were sealed, and the keys of the two nodes."""
    header = decode_header(packet)
    source, destination = identities[header.source], identities[header.destination]
    keys = PeerKeys(destination.agree(source))
    if header.suite == SUITE_TRUSTED:
        return packet[ENVELOPE_OFFSET:], keys
    return open_packet(keys, packet), keys


def _clear_payload(packet: bytes, body: bytes, keys: PeerKeys) -> bytes:
    verb, payload = body[0], body[1:]
    if verb & COMPRESSED and payload:
        payload = decompress(payload)
    if verb & VERB_MASK == Verb.HELLO:
        secret = encrypted_offset(payload)
        payload = payload[:secret] + keys.crypt_field(packet[:8], payload[secret:])
    return payload


@pytest.mark.parametrize("file", SESSIONS)
def test_every_datagram_of_a_session_decrypts(file: str) -> None:
    data = load(file)
    identities = _session_identities(data)
    # One assembly for each direction, since every receiver has its own.
    assemblies: dict[tuple[str, str], Assembly] = {}
    compared = fragments = 0
    for case in data["cases"]:
        if case["kind"] != "datagram" or case["role"] == "junk":
            continue
        packet: bytes | None = bytes.fromhex(case["hex"])
        assert packet is not None
        if case["role"] != "packet":
            fragments += 1
            ends = (case["from"], case["to"])
            packet = assemblies.setdefault(ends, Assembly()).add(0, packet)
        else:
            assert not is_fragment(packet)
        recorded = case.get("packet")
        if packet is None or recorded is None:
            continue
        header = decode_header(packet)
        assert header.source == Address.parse(recorded["source"])
        assert header.destination == Address.parse(recorded["dest"])
        if not {header.source, header.destination} <= identities.keys():
            continue
        body, keys = _opened(packet, identities)
        payload = _clear_payload(packet, body, keys)
        assert (body[0] & VERB_MASK, payload.hex()) == (recorded["verb"], recorded["payload"])
        compared += 1
    assert compared >= 40
    assert fragments or file != "session_misc.json"


CAPTURES = ("live_capture.pcap", "live_capture_root.pcap")


@pytest.mark.parametrize("file", CAPTURES)
def test_every_datagram_of_a_live_capture_decrypts(file: str) -> None:
    data = load("live_capture.json")
    identities = _session_identities(data)
    frames = udp_datagrams((FOLDER / file).read_bytes())
    assembly = Assembly()
    compared = 0
    for case in data["cases"]:
        if case["file"] != file:
            continue
        datagram = frames[case["index"]]
        packet = datagram if case["role"] == "packet" else assembly.add(0, datagram)
        if packet is None:
            continue
        recorded = case["packet"]
        body, keys = _opened(packet, identities)
        payload = _clear_payload(packet, body, keys)
        assert (body[0] & VERB_MASK, payload.hex()) == (recorded["verb"], recorded["payload"])
        compared += 1
    assert compared == len(
        [c for c in data["cases"] if c["file"] == file and c["role"] != "fragment"]
    )
