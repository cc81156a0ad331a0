"""What happens when nothing does: retransmission, probes, and the end of waiting."""

from __future__ import annotations

from typing import Final

from ztstack.base.errors import NoAnswer, Unreachable
from ztstack.ip.tcp.control_block import KEEPALIVE, ControlBlock
from ztstack.ip.tcp.recovery import find_losses, time_out
from ztstack.ip.tcp.state import KEPT, OPENING

SYN_RETRIES: Final = 5
"""With the first timeout of a second, this gives up after 63 s (RFC 9293 section 3.8.3)."""
SYN_ACK_RETRIES: Final = 4
RETRIES: Final = 12
SIZE_RETRIES: Final = 3
SAFE_SIZES: Final = (1220, 536)
"""Segments that nearly every path, and every path, carries."""


def handle_timer(block: ControlBlock, now: int) -> None:
    """Do what is due."""
    for timer in block.timers.take_expired(now):
        match timer:
            case "retransmit":
                _retransmit(block, now)
            case "probe tail":
                # One probe of the tail before the timeout (RFC 8985 section 7.3).
                block.probe_due = True
                block.want_output()
            case "reorder":
                find_losses(block, now)
                if block.flight.lost:
                    block.want_output()
            case "delay":
                block.ack_now = True
                block.want_output()
            case "persist":
                block.rtt.back_off()
                block.probe_due = True
                block.want_output()
            case "pace":
                block.want_output()
            case "idle":
                block.buffer.trim()
            case "keepalive":
                _keep_alive(block, now)
            case _:
                block.finish()


def _retransmit(block: ControlBlock, now: int) -> None:
    if block.state in OPENING:
        _retransmit_syn(block, now)
        return
    if not block.in_flight:
        return
    block.retries += 1
    limit_us = block.user_timeout_us
    if now - block.progress_at >= limit_us if limit_us else block.retries > RETRIES:
        _give_up(block)
        return
    block.rtt.back_off()
    if block.peer_window == 0 and block.in_flight <= 1:
        # The byte that probes a closed window being refused is no congestion.
        block.flight.lose_until(now)
        block.must_resend = True
    else:
        time_out(block, now)
        _suspect_size(block)
    block.arm_retransmit(now)
    block.want_output()


def _give_up(block: ControlBlock) -> None:
    # A peer that answers, but does not open its window, is told.
    block.reset_due = block.closed_by_user and not block.peer_window
    words, why = f"{block.remote.host} port {block.remote.port}: no answer", block.complaint
    error = NoAnswer(words if why is None else f"{words}, {why}")
    error.__cause__ = why
    block.fail(error)


def _suspect_size(block: ControlBlock) -> None:
    """Try smaller segments when full ones are never answered (RFC 4821 section 7.7).

    If those are not answered either, the size was not the reason.
    """
    if block.retries < SIZE_RETRIES or not block.retries % 2 or block.in_flight < block.mss:
        return
    size = next((size for size in SAFE_SIZES if size < block.full_mss), 0)
    if size:
        block.mss_before = block.mss_before or block.full_mss
        block.set_mss(size)
        block.congestion.window = block.mss
    elif block.mss_before:
        block.set_mss(block.mss_before)
        block.mss_before = 0
    block.mss_trial = None


def _keep_alive(block: ControlBlock, now: int) -> None:
    """Ask a peer that has been silent; data under way asks by itself."""
    if block.keepalive is None or block.state not in KEPT:
        return
    idle_us, interval_us, probes = block.keepalive
    if block.in_flight:
        block.arm(KEEPALIVE, now + idle_us)
    elif not block.keepalive_probes and now - block.heard_at < idle_us:
        block.arm(KEEPALIVE, block.heard_at + idle_us)
    elif block.keepalive_probes >= probes:
        _give_up(block)
    else:
        block.keepalive_probes += 1
        block.ping_due = True
        block.want_output()
        block.arm(KEEPALIVE, now + interval_us)


def _retransmit_syn(block: ControlBlock, now: int) -> None:
    block.retries += 1
    limit_us = block.user_timeout_us
    most = SYN_ACK_RETRIES if block.is_passive else SYN_RETRIES
    if block.retries > most or (limit_us and now - block.progress_at >= limit_us):
        block.fail(Unreachable(f"{block.remote.host} port {block.remote.port}: no answer"))
        return
    block.rtt.back_off()
    block.syn_at = None
    block.syn_due = True
    block.want_output()
