"""What was sent and is not acknowledged: when each part went, and what is known of it (RFC 8985).

Parts are ranges of the stream, not segments: a train of segments that left together is one of them
until the peer reports a part of it.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

FLYING, SACKED, LOST = range(3)
MAX_PIECES: Final = 4096
"""Beyond, reports of the peer are not noted; what they say comes again."""
_NEVER: Final = -1


class Piece:
    """A range that was sent at one time and is in one state; `times` counts its repetitions."""

    __slots__ = ("end", "sent_at", "start", "state", "times")

    def __init__(self, start: int, end: int, sent_at: int, state: int, times: int) -> None:
        self.start = start
        self.end = end
        self.sent_at = sent_at
        self.state = state
        self.times = times


class Flight:
    """The ranges in order, without holes between them; and RACK's variables."""

    __slots__ = (
        "_is_mixed",
        "_pieces",
        "_sample_us",
        "_starts",
        "delivered",
        "duplicated_total",
        "first_resent_at",
        "highest",
        "is_disturbed",
        "is_reordered",
        "least_us",
        "lost",
        "needless_total",
        "newest_at",
        "newest_end",
        "patience_keep",
        "patience_round",
        "patience_steps",
        "repeated",
        "resent_total",
        "rtt_us",
        "sacked",
    )

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self._starts: list[int] = []
        # Bytes in these two states, and bytes under way that were sent more than once.
        self.sacked = 0
        self.lost = 0
        self.repeated = 0
        # Whether anything but a cumulative acknowledgement of first transmissions can be next.
        self.is_disturbed = False
        # RACK: the latest sent of what was delivered, and its round trip (section 6.2 step 2).
        self.newest_at = _NEVER
        self.newest_end = 0
        self.rtt_us = 0
        self.highest = 0
        self.is_reordered = False
        # How much reordering is borne with, in quarters of a round trip (step 4): duplicates add to
        # it, at most once for each round, and some recoveries without them bring it back.
        self.patience_steps = 1
        self.patience_keep = 0
        self.patience_round: int | None = None
        # Of the last acknowledgement: bytes that it newly reports, and the longest and shortest
        # round trip of what was sent once; 0 if none, or if it may answer a repetition.
        self.delivered = 0
        self._sample_us = 0
        self.least_us = 0
        self._is_mixed = False
        # Since the last reduction of the window: bytes sent again, and how many of these were
        # needless as time stamps and as reports of duplicates have it.
        self.resent_total = 0
        self.needless_total = 0
        self.duplicated_total = 0
        # When the first of them left.
        self.first_resent_at: int | None = None

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def pieces(self) -> list[tuple[int, int, int, int]]:
        """Start, end, state and repetitions of each range."""
        return [(p.start, p.end, p.state, p.times) for p in self._pieces]

    # Sending.

    def sent(self, now: int, start: int, end: int) -> None:
        """Note new data."""
        if self._pieces:
            last = self._pieces[-1]
            if last.sent_at == now and last.state == FLYING and not last.times:
                last.end = end
                return
        self._pieces.append(Piece(start, end, now, FLYING, 0))
        self._starts.append(start)

    def resend(self, now: int, mss: int, count: int, allowed: int) -> list[tuple[int, int]]:
        """Choose at most `count` lost segments of `allowed` bytes together; they go now."""
        pieces, chosen = self._pieces, list[tuple[int, int]]()
        i = 0
        while self.lost and i < len(pieces) and len(chosen) < count:
            piece = pieces[i]
            if piece.state != LOST:
                i += 1
                continue
            while (
                piece.end - piece.start < mss
                and i + 1 < len(pieces)
                and pieces[i + 1].state == LOST
            ):
                # Small segments are sent again as larger ones.
                piece.times = max(piece.times, pieces[i + 1].times)
                piece.end = pieces[i + 1].end
                self._remove(i + 1)
            size = min(mss, piece.end - piece.start)
            if size > allowed:
                break
            allowed -= size
            chosen.append((piece.start, piece.start + size))
            self._mark_resent(now, i, size)
        return chosen

    def repeat_tail(self, now: int, size: int) -> tuple[int, int] | None:
        """Send the end again, as the probe of a tail; None if the peer has it."""
        if not self._pieces or self._pieces[-1].state == SACKED:
            return None
        last = self._pieces[-1]
        if last.end - last.start > size:
            self._split(len(self._pieces) - 1, last.end - size)
            last = self._pieces[-1]
        if last.state == FLYING:
            if last.times:
                self.repeated -= last.end - last.start
            self.lost += last.end - last.start
            last.state = LOST
        start, end = last.start, last.end
        self._mark_resent(now, len(self._pieces) - 1, end - start)
        return start, end

    def _mark_resent(self, now: int, i: int, size: int) -> None:
        """Take the first `size` bytes of a lost piece as sent anew."""
        piece = self._pieces[i]
        self.is_disturbed = True
        self.lost -= size
        self.repeated += size
        self.resent_total += size
        if self.first_resent_at is None:
            self.first_resent_at = now
        times = piece.times + 1
        before = self._pieces[i - 1] if i else None
        if (
            before is not None
            and before.state == FLYING
            and before.sent_at == now
            and before.times == times
        ):
            before.end += size
            if before.end == piece.end:
                self._remove(i)
            else:
                piece.start = self._starts[i] = before.end
            return
        if piece.start + size < piece.end:
            self._split(i, piece.start + size)
        piece.sent_at = now
        piece.state = FLYING
        piece.times = times

    # Reports.

    def acknowledge(self, now: int, offset: int, echoed_ms: int | None, least_us: int) -> None:
        """Forget what is before `offset`; what it says of delivery is in the attributes.

        `echoed_ms` is when that was sent which the peer answers, if it told, and `least_us` the
        shortest round trip: both tell an answer to a first transmission from one to the second.
        """
        self.delivered = self._sample_us = self.least_us = 0
        self._is_mixed = False
        pieces = self._pieces
        done = 0
        for piece in pieces:
            if piece.start >= offset:
                break
            end = min(piece.end, offset)
            # The echo is that of the segment which moved the edge (RFC 7323 section 4.3).
            self._leave(now, piece, piece.start, end, None if done else echoed_ms, least_us)
            if end < piece.end:
                piece.start = self._starts[done] = offset
                break
            done += 1
        if done:
            del pieces[:done], self._starts[:done]

    @property
    def sample(self) -> int:
        return 0 if self._is_mixed else self._sample_us

    def settle(self) -> None:
        """Forget a disturbance that is over; nothing but first transmissions is under way."""
        if not self.sacked and not self.lost and not self.repeated:
            self.is_disturbed = False

    def report(self, now: int, left: int, right: int, least_us: int) -> None:
        """Note that the peer has what is from `left` to `right`, beyond a gap."""
        pieces = self._pieces
        i = max(0, bisect_right(self._starts, left) - 1)
        self.is_disturbed = True
        while i < len(pieces) and pieces[i].start < right:
            piece = pieces[i]
            if piece.state == SACKED or piece.end <= left:
                i += 1
                continue
            if len(pieces) > MAX_PIECES:
                return
            if piece.start < left:
                self._split(i, left)
                i += 1
                continue
            if piece.end > right:
                self._split(i, right)
            self._leave(now, piece, piece.start, piece.end, None, least_us)
            piece.state = SACKED
            self.sacked += piece.end - piece.start
            i = self._merge(i)

    def _merge(self, i: int) -> int:
        """Join a reported piece to reported neighbours; return the index behind it."""
        pieces = self._pieces
        if i + 1 < len(pieces) and pieces[i + 1].state == SACKED:
            pieces[i].end = pieces[i + 1].end
            self._remove(i + 1)
        if i and pieces[i - 1].state == SACKED:
            pieces[i - 1].end = pieces[i].end
            self._remove(i)
            return i
        return i + 1

    def _leave(
        self, now: int, piece: Piece, start: int, end: int, echoed_ms: int | None, least_us: int
    ) -> None:
        """Count bytes out of their state, and learn from their delivery."""
        size = end - start
        if piece.state == SACKED:
            self.sacked -= size
            return
        self.delivered += size
        rtt_us = now - piece.sent_at
        if piece.state == LOST:
            self.lost -= size
        elif piece.times:
            self.repeated -= size
        if piece.times:
            self._is_mixed = True
            if echoed_ms is not None and echoed_ms < piece.sent_at // 1000:
                # What the peer answers was sent before: the first transmission has arrived.
                self.needless_total += size
                return
            if rtt_us < least_us:
                return
        else:
            self._sample_us = max(self._sample_us, rtt_us)
            self.least_us = min(self.least_us or rtt_us, rtt_us)
            if end < self.highest:
                self.is_reordered = True
        self.highest = max(self.highest, end)
        if piece.sent_at > self.newest_at or (
            piece.sent_at == self.newest_at and end > self.newest_end
        ):
            self.newest_at, self.newest_end = piece.sent_at, end
            self.rtt_us = rtt_us

    # Losses.

    def begin_episode(self) -> None:
        """Begin to count what is sent again: the window was reduced."""
        self.resent_total = self.needless_total = self.duplicated_total = 0
        self.first_resent_at = None

    @property
    def was_needless(self) -> bool:
        """Whether all that was sent again had arrived before."""
        needless = max(self.needless_total, self.duplicated_total)
        return 0 < self.resent_total <= needless

    def repeat_head(self, now: int, size: int) -> tuple[int, int] | None:
        """Send the first segment again; None if it is not under way."""
        if not self._pieces or self._pieces[0].state == SACKED:
            return None
        if self._pieces[0].state == FLYING:
            self.lose_first(size)
        first = self._pieces[0]
        size = min(size, first.end - first.start)
        start = first.start
        self._mark_resent(now, 0, size)
        return start, start + size

    def find_lost(self, now: int, window_us: int) -> int | None:
        """Mark as lost what left so long before something that has arrived.

        Returns when what is still in doubt will be lost (RFC 8985 section 6.2 step 5).
        """
        newest, newest_end = self.newest_at, self.newest_end
        patience = self.rtt_us + window_us
        due = None
        for piece in self._pieces:
            if piece.state != FLYING:
                continue
            at = piece.sent_at
            if at > newest or (at == newest and piece.end > newest_end):
                continue
            if at + patience <= now:
                self._lose(piece)
            elif due is None or at + patience > due:
                due = at + patience
        return due

    def _lose(self, piece: Piece) -> None:
        size = piece.end - piece.start
        if piece.times:
            self.repeated -= size
        piece.state = LOST
        self.lost += size
        self.is_disturbed = True

    def lose_first(self, size: int) -> None:
        """Take the first segment for lost, as three duplicates say; once for each transmission."""
        if not self._pieces or self._pieces[0].state != FLYING:
            return
        first = self._pieces[0]
        if first.end - first.start > size:
            self._split(0, first.start + size)
        self._lose(first)

    def lose_until(self, sent_at: int) -> None:
        """Take for lost what left before a time, and the first piece in any case."""
        for i, piece in enumerate(self._pieces):
            if piece.state == FLYING and (not i or piece.sent_at <= sent_at):
                self._lose(piece)

    def distrust(self) -> None:
        """Take reports back: the peer may have thrown away what it had (RFC 2018 section 8)."""
        for piece in self._pieces:
            if piece.state == SACKED:
                self.sacked -= piece.end - piece.start
                piece.state = FLYING
                self._lose(piece)

    @property
    def is_first_reported(self) -> bool:
        """Whether the peer claims to have the very first byte: it threw something away."""
        return bool(self._pieces) and self._pieces[0].state == SACKED

    def pardon(self) -> None:
        """Take what is marked lost for under way: the losses were none."""
        for piece in self._pieces:
            if piece.state == LOST:
                piece.state = FLYING
                self.lost -= piece.end - piece.start
                if piece.times:
                    self.repeated += piece.end - piece.start

    # Lists.

    def _split(self, i: int, at: int) -> None:
        piece = self._pieces[i]
        self._pieces.insert(i + 1, Piece(at, piece.end, piece.sent_at, piece.state, piece.times))
        self._starts.insert(i + 1, at)
        piece.end = at

    def _remove(self, i: int) -> None:
        del self._pieces[i], self._starts[i]

    def clear(self) -> None:
        self._pieces.clear()
        self._starts.clear()
        self.sacked = self.lost = self.repeated = 0
        self.is_disturbed = False
