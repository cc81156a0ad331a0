"""Capture files: the UDP payloads in them (libpcap format, Ethernet)."""

from __future__ import annotations

import struct

_FILE_BYTES = 24
_RECORD = struct.Struct("<IIII")
_ETHERNET_BYTES = 14
_UDP = 17


def udp_datagrams(data: bytes) -> dict[int, bytes]:
    """Return the payload of each frame that is a whole UDP datagram over IPv4, by frame number."""
    assert data[:4] == bytes.fromhex("d4c3b2a1"), "a little-endian capture with microseconds"
    found = {}
    at, number = _FILE_BYTES, 0
    while at < len(data):
        length = _RECORD.unpack_from(data, at)[2]
        frame = data[at + _RECORD.size : at + _RECORD.size + length]
        packet = frame[_ETHERNET_BYTES:]
        if frame[12:14] == b"\x08\x00" and packet[9] == _UDP:
            header = (packet[0] & 15) * 4
            size = int.from_bytes(packet[header + 4 : header + 6], "big")
            found[number] = packet[header + 8 : header + size]
        at += _RECORD.size + length
        number += 1
    return found


def pcapng_packets(data: bytes) -> list[tuple[tuple[str, int], int, int, bytes]]:
    """Return what a pcapng file holds: interface and its link type, time, direction, packet."""
    interfaces: list[tuple[str, int]] = []
    found = []
    at = 0
    while at < len(data):
        kind, total = struct.unpack_from("<II", data, at)
        body = data[at + 8 : at + total - 4]
        assert struct.unpack_from("<I", data, at + total - 4) == (total,)
        assert total % 4 == 0
        if kind == 1:
            name = body[12 : 12 + int.from_bytes(body[10:12], "little")].decode()
            interfaces.append((name, int.from_bytes(body[:2], "little")))
        elif kind == 6:
            number, high, low, kept, size = struct.unpack_from("<IIIII", body)
            assert kept == size
            flags = body[20 + size + -size % 4 :]
            direction = int.from_bytes(flags[4:8], "little")
            found.append((interfaces[number], high << 32 | low, direction, body[20 : 20 + size]))
        at += total
    return found
