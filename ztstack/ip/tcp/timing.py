"""What happens when nothing does: retransmission, probes, and the end of waiting."""

from __future__ import annotations

from typing import Final

from ztstack.base.errors import Unreachable
from ztstack.ip.tcp.control_block import (
    LINGER,
    PERSIST,
    PROBE_TAIL,
    REPAIR,
    RETRANSMIT,
    ControlBlock,
)
from ztstack.ip.tcp.state import OPENING

SYN_RETRIES: Final = 5
"""With the first timeout of a second, this gives up after 63 s (RFC 9293 section 3.8.3)."""
SYN_ACK_RETRIES: Final = 4
RETRIES: Final = 12


def handle_timer(block: ControlBlock, now: int) -> None:
    """Do what is due."""
    for timer in block.timers.take_expired(now):
        if timer == RETRANSMIT:
            _retransmit(block, now)
        elif timer == PROBE_TAIL:
            # One probe of the tail before the timeout (RFC 8985 section 7.3).
            if block.in_flight and not block.is_repairing:
                block.tail_probed = True
                block.probe_due = True
                block.want_output()
        elif timer == PERSIST:
            block.rtt.back_off()
            block.probe_due = True
            block.want_output()
        elif timer == REPAIR:
            block.want_output()
        elif timer == LINGER:
            block.finish()


def _retransmit(block: ControlBlock, now: int) -> None:
    if block.state in OPENING:
        _retransmit_syn(block)
        return
    if not block.in_flight:
        return
    block.retries += 1
    if block.retries > RETRIES:
        block.fail(TimeoutError(f"{block.remote.host} port {block.remote.port}: no answer"))
        return
    block.rtt.back_off()
    # The byte that probes a closed window being refused is no congestion.
    probing = block.peer_window == 0 and block.in_flight <= 1
    if not probing and (block.recovery_point is None or block.retries == 1):
        block.congestion.timed_out(block.in_flight - block.board.total)
    if block.retries > 1:
        # The peer may have thrown away what it had reported (RFC 2018 section 8).
        block.board.clear()
    block.resent.clear()
    block.recovery_point = block.send_next
    block.lost_edge = block.send_next
    block.timed_offset = None
    block.duplicates = 0
    block.tail_probed = True
    block.arm(RETRANSMIT, now + block.rtt.timeout_us)
    block.want_output()


def _retransmit_syn(block: ControlBlock) -> None:
    block.retries += 1
    if block.retries > (SYN_ACK_RETRIES if block.is_passive else SYN_RETRIES):
        block.fail(Unreachable(f"{block.remote.host} port {block.remote.port}: no answer"))
        return
    block.rtt.back_off()
    block.timed_offset = None
    block.syn_due = True
    block.want_output()
