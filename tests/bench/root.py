"""How much one root relays and remembers, as JSON.

    python -m tests.bench.root [--peers N] [--packets N]

A root that knows many peers passes packets on between two thousand of them, without sockets: what
is measured is the root's own work on one core. `single_s` are packets one by one, as strangers
send; `train_s` come and go in trains, as a stream does. `rss_mb` is what the peers weigh.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from typing import Final

from tests.support.switches import SeededEntropy, known_identities, planet_of
from ztstack.base.address import Address
from ztstack.base.datagram import Datagram
from ztstack.base.endpoint import Endpoint
from ztstack.base.trace import CountingTracer
from ztstack.crypto.identity import Identity
from ztstack.vl1.path import PathKey
from ztstack.vl1.switch import Switch

START_US: Final = 1_700_000_000_000_000
FIRST: Final = 0x1000000000
SENDERS: Final = 2000
TRAIN: Final = 44
WAKEUP: Final = 64


def endpoint_of(number: int) -> Endpoint:
    return Endpoint((0x0A000000 + number).to_bytes(4, "big"), 9993)


def root_with(peers: int) -> Switch:
    """Return a root that has a path to each of so many peers."""
    identity = known_identities()[0]
    planet = planet_of([(identity, Endpoint(bytes((10, 255, 0, 1)), 9993))])
    switch = Switch(START_US, identity, planet, SeededEntropy(1), CountingTracer())
    topology = switch._topology
    for number in range(peers):
        key = known_identities()[number % 20].public_key
        peer = topology.add(START_US, Identity(Address(FIRST + number), key))
        peer.protocol = 12
        peer.last_receive = START_US
        path = topology.path(*PathKey(0, endpoint_of(number)))
        path.last_in = START_US
        peer.learn(START_US, path)
    return switch


def packet(source: int, destination: int, size: int) -> bytes:
    head = destination.to_bytes(5, "big") + source.to_bytes(5, "big")
    return bytes(8) + head + b"\x18" + bytes(size - 19)


def relay_single(switch: Switch, peers: int, count: int) -> float:
    """Return packets a second, each from another sender to another receiver."""
    packets = [
        Datagram(0, endpoint_of(n), packet(FIRST + n, FIRST + (n * 7 + 1) % peers, 1000))
        for n in range(min(SENDERS, peers))
    ]
    began = time.perf_counter()
    done = relayed = 0
    while done < count:
        for first in range(0, len(packets), WAKEUP):
            for datagram in packets[first : first + WAKEUP]:
                switch.receive(START_US + done, datagram)
            relayed += sum(len(sent.data) for sent in switch.take_datagrams())
            switch.take_events()
        done += len(packets)
    rate = done / (time.perf_counter() - began)
    if relayed < done * 1000:
        raise SystemExit(f"only {relayed} bytes of {done} packets were relayed")
    return rate


def relay_trains(switch: Switch, count: int) -> float:
    """Return packets a second of one stream between two peers."""
    train = packet(FIRST, FIRST + 1, 1427) * TRAIN
    began = time.perf_counter()
    done = 0
    while done < count:
        switch.receive_train(START_US + done, 0, endpoint_of(0), memoryview(train), 1427)
        done += TRAIN
        switch.take_datagrams()
    return done / (time.perf_counter() - began)


def main() -> int:
    parser = argparse.ArgumentParser(description="How much one root relays and remembers.")
    parser.add_argument("--peers", type=int, default=10_000)
    parser.add_argument("--packets", type=int, default=100_000)
    options = parser.parse_args()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    switch = root_with(options.peers)
    made = time.perf_counter() - began
    weight = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    result = {
        "benchmark": "root",
        "peers": options.peers,
        "made_s": round(made, 2),
        "rss_mb": round(weight / 1024, 1),
        "single_s": round(relay_single(switch, options.peers, options.packets)),
        "train_s": round(relay_trains(switch, options.packets)),
    }
    began = time.perf_counter()
    switch.handle_timer(START_US + 60_000_000)
    result["tick_ms"] = round((time.perf_counter() - began) * 1000, 1)
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
