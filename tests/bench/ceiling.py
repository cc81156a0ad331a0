"""The raw ceiling of a pure-Python ZeroTier data path on this machine.

Two processes move TCP-sized payloads over loopback UDP and do only what no design can avoid: make
IPv4 and TCP headers, checksum them, seal packets as in cipher suite 3 (GMAC, ECB, CTR, reused
contexts), cut each into two equal datagrams, send 22 packets with one call (UDP_SEGMENT), receive
them with UDP_GRO, decrypt both fragments straight into an arena, verify tag and checksum. No TCP
state, no acknowledgements, no recovery, no application. Credit of 4 MiB comes back over the second
socket, so nothing is lost to a full buffer. A real transfer is divided by this figure, measured in
the same run: `python -m tests.bench.stream` does that.

Usage: python -m tests.bench.ceiling [PACKETS]     (Linux)
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

PACKETS: Final = 200_000
SOL_UDP: Final = 17
UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104
SO_RCVBUFFORCE: Final = 33
MSS: Final = 2760
CUT: Final = 1427  # bytes of each of the two datagrams of a packet
TRAIN: Final = 22  # packets of one system call
WINDOW: Final = 1400
PLAIN: Final = 11 + 40 + MSS  # verb, network, ethertype; IP and TCP headers; payload
STRIDE: Final = 17 + PLAIN + (-(17 + PLAIN)) % 4  # pad, AAD, plaintext, so that IP is 4-aligned

_KEY: Final = algorithms.AES(bytes(range(32)))
_GMAC: Final = AESGCM(bytes(32)).encrypt
_SEAL_TAG: Final = Cipher(_KEY, modes.ECB()).encryptor().update
_OPEN_TAG: Final = Cipher(_KEY, modes.ECB()).decryptor().update
_CTR: Final = Cipher(_KEY, modes.CTR(bytes(16))).encryptor()
_AAD: Final = b"\x01" * 11 + bytes(5)
_ZERO4: Final = bytes(4)
_HALVES: Final = struct.Struct(">QQ")
_HEAD: Final = struct.Struct(">8s11s8s")
_FRAGMENT: Final = b"\x01" * 5 + b"\xff" + b"\x21\x00"  # the end of a fragment's header


def _counter(tag: bytes) -> bytes:
    return tag if not tag[12] & 0x80 else tag[:12] + bytes([tag[12] & 0x7F]) + tag[13:]


def _row_sums(block: NDArray[np.uint32]) -> list[int]:
    return [int(value) for value in (block.sum(axis=1, dtype=np.uint64) % 65535).tolist()]


class _Receiver:
    """Opens trains of packets and counts what does not fit."""

    def __init__(self) -> None:
        self.packets = 0
        self.bad = 0

    def open_train(self, buffer: bytearray, size: int, step: int) -> None:
        """Verify the packets of one receive call; benchmark: tests/bench/ceiling.py."""
        view = memoryview(buffer)
        reset, into = _CTR.reset_nonce, _CTR.update_into
        count = size // (2 * step)
        arena = bytearray(STRIDE * count)
        target = memoryview(arena)
        at = 0
        for first in range(0, count * 2 * step, 2 * step):
            packet_id, _, rest = _HEAD.unpack_from(buffer, first)
            second = first + step
            if view[second : second + 8] != packet_id:
                self.bad += 1
            tag = packet_id + rest
            reset(_counter(tag))
            target[at + 1 : at + 17] = _AAD
            into(view[first + 27 : second], target[at + 17 :])
            into(view[second + 16 : second + step], target[at + 17 + step - 27 :])
            iv = _OPEN_TAG(tag)
            x, y = _HALVES.unpack(_GMAC(iv[:8] + _ZERO4, b"", target[at + 1 : at + 17 + PLAIN]))
            if (x ^ y).to_bytes(8, "big") != iv[8:]:
                self.bad += 1
            at += STRIDE
        words = np.frombuffer(arena, np.uint32).reshape(count, STRIDE // 4)
        self.bad += sum(1 for value in _row_sums(words[:, 7:]) if value)
        self.packets += count


def _receive() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setsockopt(SOL_UDP, UDP_GRO, 1)
        for option in (SO_RCVBUFFORCE, socket.SO_RCVBUF):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, option, 16 << 20)
                break
        sock.settimeout(2)
        sys.stdout.write(f"{sock.getsockname()[1]}\n")
        sys.stdout.flush()
        receiver, buffer, calls = _Receiver(), bytearray(65536), 0
        first = last = 0.0
        with contextlib.suppress(TimeoutError):
            while True:
                size, ancillary, _, peer = sock.recvmsg_into([buffer], 64)
                calls += 1
                first = first or time.perf_counter()
                step = struct.unpack("i", ancillary[0][2])[0] if ancillary else size
                receiver.open_train(buffer, size, step)
                sock.sendto(struct.pack(">I", receiver.packets), peer)
                last = time.perf_counter()
    megabytes = receiver.packets * MSS / 1e6
    result = {
        "ceiling_mb_s": round(megabytes / (last - first), 1) if last > first else 0.0,
        "megabytes": round(megabytes),
        "receive_calls": calls,
        "bad": receiver.bad,
    }
    sys.stdout.write(json.dumps(result) + "\n")


def _send(port: int, packets: int) -> None:
    payload = memoryview(os.urandom(MSS * TRAIN))
    words = np.frombuffer(payload, np.uint32).reshape(TRAIN, MSS // 4)
    segment = [(SOL_UDP, UDP_SEGMENT, struct.pack("H", CUT))]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        sock.settimeout(2)
        sock.connect(("127.0.0.1", port))
        sealer = _Sealer()
        sent = acknowledged = 0
        while sent < packets:
            while sent - acknowledged > WINDOW:
                acknowledged = struct.unpack(">I", sock.recv(4))[0]
            train = sealer.seal_train(payload, _row_sums(words))
            sock.sendmsg([train], segment)
            sent += TRAIN


class _Sealer:
    """Makes trains of packets from one header template."""

    def __init__(self) -> None:
        fixed = (0x45, 0, 2800, 0, 0, 64, 6, 0, 1, 2, 1, 2, 7, 9, 0x5010, 65535, 0, 0)
        head = struct.pack(">BBHHHBBHIIHHIIHHHH", *fixed)
        self._front, self._back = head[:36], head[38:]
        self._base = sum(struct.unpack("<20H", head))
        # The checksum that makes a sum vanish, for each sum.
        self._checksums = [struct.pack("<H", -value % 65535) for value in range(65535)]

    def seal_train(self, payload: memoryview, sums: list[int]) -> bytes:
        """Seal the packets of one send call; benchmark: tests/bench/ceiling.py."""
        prefix = b"\x06" + bytes(8) + b"\x08\x00"
        reset, update, addresses = _CTR.reset_nonce, _CTR.update, b"\x01" * 11
        noise = os.urandom(8 * TRAIN)
        out: list[bytes] = []
        for i in range(TRAIN):
            checksum = self._checksums[(self._base + sums[i]) % 65535]
            header = self._front + checksum + self._back
            iv = noise[8 * i : 8 * i + 8]
            sealed = b"".join((_AAD, prefix, header, payload[MSS * i : MSS * i + MSS]))
            x, y = _HALVES.unpack(_GMAC(iv + _ZERO4, b"", sealed))
            tag = _SEAL_TAG(iv + (x ^ y).to_bytes(8, "big"))
            reset(_counter(tag))
            body = update(memoryview(sealed)[16:])
            packet_id = tag[:8]
            out += (packet_id, addresses, tag[8:], body[: CUT - 27])
            out += (packet_id, _FRAGMENT, body[CUT - 27 :])
        return b"".join(out)


def measure(packets: int = PACKETS) -> dict[str, float]:
    """Run both ends and return what the receiver says."""
    command = [sys.executable, str(Path(__file__).resolve()), "--receive"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        _send(int(child.stdout.readline()), packets)
        result: dict[str, float] = json.loads(child.stdout.readline())
        return result


if __name__ == "__main__":
    if sys.argv[1:] == ["--receive"]:
        _receive()
    else:
        count = int(sys.argv[1]) if len(sys.argv) > 1 else PACKETS
        sys.stdout.write(json.dumps(measure(count)) + "\n")
