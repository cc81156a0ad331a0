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
