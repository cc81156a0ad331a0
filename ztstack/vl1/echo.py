"""Answers to our echoes: how long they took, and which way they came."""

from __future__ import annotations

from ztstack.vl1.events import EchoReply, Inbound
from ztstack.vl1.outbox import Outbox
from ztstack.vl1.topology import Topology
from ztstack.wire.replies import Ok


def echo_reply(
    now: int, topology: Topology, outbox: Outbox, message: Inbound, ok: Ok
) -> EchoReply | None:
    """Return the news of an answer; None if it answers a probe of ours, which has no data."""
    sent_at = outbox.sent_at(ok.in_re_packet_id)
    if not ok.body or sent_at is None:
        return None
    relay = None
    if message.hops:
        path = topology.path(*message.path)
        for root in topology.roots:
            peer = topology.peers.get(root)
            if peer is not None and peer.find(path) is not None:
                relay = root
    rtt_us = now - sent_at
    return EchoReply(message.source, rtt_us, message.path, message.hops, relay, ok.body)
