"""What fuzzing starts from: the messages of the recorded sessions, made fit for another world."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.support.vectors import load
from ztstack.base.address import Address
from ztstack.base.network_id import NetworkId
from ztstack.ip.packets.checksum import checksum, pseudo_header
from ztstack.wire.verbs import Verb

SESSIONS = ("session_online", "session_network", "session_misc", "session_trusted_path")
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)
MAX_BODY = 9_000


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a recording: who sent it to whom, and what it said."""

    source: Address
    destination: Address
    verb: int
    payload: bytes


def recorded() -> list[Message]:
    """Return every message that the recordings hold in clear."""
    found = []
    for file in (*SESSIONS, "live_capture"):
        for case in load(f"{file}.json")["cases"]:
            packet = case.get("packet") if case["kind"] == "datagram" else None
            if packet is None or not packet.get("decrypted") or "payload" not in packet:
                continue
            found.append(
                Message(
                    Address.parse(packet["source"]),
                    Address.parse(packet["dest"]),
                    packet["verb"],
                    bytes.fromhex(packet["payload"]),
                )
            )
    return found


def recorded_networks() -> list[NetworkId]:
    names = {load("session_network.json")["network"], load("live_capture.json")["network"]}
    names.update(load("session_misc.json")["networks"])
    return [NetworkId(int(name, 16)) for name in sorted(names)]


def recorded_datagrams() -> list[bytes]:
    """Return the datagrams of the sessions as they were on the wire."""
    return [
        bytes.fromhex(case["hex"])
        for file in SESSIONS
        for case in load(f"{file}.json")["cases"]
        if case["kind"] == "datagram"
    ]


def transplanted(
    messages: Sequence[Message], network: NetworkId, source: Address, destination: Address
) -> list[Message]:
    """Put our own network and addresses where the recordings have theirs."""
    networks = [old.packed for old in recorded_networks()]
    found = []
    for message in messages:
        payload = message.payload
        for old in networks:
            payload = payload.replace(old, network.packed)
        payload = payload.replace(message.source.packed, source.packed)
        payload = payload.replace(message.destination.packed, destination.packed)
        found.append(Message(source, destination, message.verb, payload))
    return found


class Mutator:
    """Changes bytes in the ways that break parsers; everything follows from the chance given."""

    def __init__(self, chance: random.Random, others: Sequence[bytes]) -> None:
        self._chance = chance
        self._others = others
        self._ways: tuple[Callable[[bytearray], None], ...] = (
            self._flip_bits,
            self._flip_bits,
            self._set_number,
            self._set_number,
            self._set_byte,
            self._truncate,
            self._extend,
            self._delete,
            self._repeat,
            self._splice,
        )

    def mutate(self, data: bytes) -> bytes:
        """Return the bytes with one to three changes."""
        result = bytearray(data)
        for _ in range(1 + (self._chance.random() < 0.3) + (self._chance.random() < 0.1)):
            self._ways[int(self._chance.random() * len(self._ways))](result)
        return bytes(result[:MAX_BODY])

    def _place(self, data: bytearray) -> int:
        return int(self._chance.random() * len(data))

    def _flip_bits(self, data: bytearray) -> None:
        if data:
            for _ in range(1 + int(self._chance.random() * 4)):
                data[self._place(data)] ^= 1 << int(self._chance.random() * 8)

    def _set_byte(self, data: bytearray) -> None:
        if data:
            data[self._place(data)] = int(self._chance.random() * 256)

    def _set_number(self, data: bytearray) -> None:
        """Write a number at a limit, or off by one, where a length or a count may be."""
        size = self._chance.choice((1, 2, 4, 8))
        value = self._chance.choice(INTERESTING) + self._chance.choice((-1, 0, 0, 1))
        at = self._place(data) if data else 0
        data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, "big")

    def _truncate(self, data: bytearray) -> None:
        del data[self._place(data) :]

    def _extend(self, data: bytearray) -> None:
        data += self._chance.randbytes(int(self._chance.random() * 64))

    def _delete(self, data: bytearray) -> None:
        at = self._place(data)
        del data[at : at + 1 + int(self._chance.random() * 8)]

    def _repeat(self, data: bytearray) -> None:
        at = self._place(data)
        piece = data[at : at + 1 + int(self._chance.random() * 32)]
        data[at:at] = piece * int(1 + self._chance.random() * 4)

    def _splice(self, data: bytearray) -> None:
        other = self._chance.choice(self._others)
        at = self._place(data)
        data[at:] = other[int(self._chance.random() * (len(other) + 1)) :]


def with_checksums(verb: int, payload: bytes) -> bytes:
    """Return a frame message whose IP, TCP, UDP and ICMP checksums are right again."""
    match verb:
        case Verb.FRAME:
            type_at, ip_at = 8, 10
        case Verb.EXT_FRAME:
            type_at, ip_at = 21, 23
        case _:
            return payload
    ethertype, packet = payload[type_at:ip_at], bytearray(payload[ip_at:])
    if ethertype == b"\x08\x00" and len(packet) >= 20:
        _repair_ipv4(packet)
    elif ethertype == b"\x86\xdd" and len(packet) >= 40:
        _repair_upper(packet, 40, packet[6], packet[8:24], packet[24:40])
    return payload[:ip_at] + packet


def _repair_ipv4(packet: bytearray) -> None:
    header = (packet[0] & 0x0F) * 4
    if 20 <= header <= len(packet):
        packet[10:12] = bytes(2)
        packet[10:12] = checksum(bytes(packet[:header])).to_bytes(2, "big")
        _repair_upper(packet, header, packet[9], packet[12:16], packet[16:20])


_CHECKSUM_AT = {6: 16, 17: 6, 1: 2, 58: 2}


def _repair_upper(
    packet: bytearray, start: int, protocol: int, source: bytearray, destination: bytearray
) -> None:
    at = start + _CHECKSUM_AT.get(protocol, 1 << 16)
    if at + 2 > len(packet):
        return
    packet[at : at + 2] = bytes(2)
    message = bytes(packet[start:])
    head = b""
    if protocol != 1:
        head = pseudo_header(bytes(source), bytes(destination), protocol, len(message))
    packet[at : at + 2] = checksum(head + message).to_bytes(2, "big")
