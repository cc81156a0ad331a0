"""One peer: its identity, keys, version and paths (vl1 section 6.2)."""

from __future__ import annotations

from typing import Final

from ztstack.base.codec import Reader, Writer
from ztstack.base.endpoint import Endpoint, decode_endpoint, encode_endpoint
from ztstack.base.errors import DecodeError
from ztstack.base.timers import SECOND
from ztstack.crypto.aes_gmac_siv import AesGmacSiv
from ztstack.crypto.identity import Identity
from ztstack.vl1.armor import PeerKeys
from ztstack.vl1.duplicates import Duplicates
from ztstack.vl1.path import NEVER, Path
from ztstack.wire.header import SUITE_AES, SUITE_SALSA2012
from ztstack.wire.verbs import PROTOCOL_AES

MAX_PATHS: Final = 64
PATH_EXPIRY_US: Final = 243 * SECOND
ACTIVITY_US: Final = 500 * SECOND
TRUST_US: Final = 600 * SECOND
RELAY_PENALTY_US: Final = 61 * SECOND
DOUBT_US: Final = SECOND // 4
"""A path that was silent for so long is doubted when the peer speaks by way of a relay: it is not
used until the peer speaks on it again."""
MOVED_US: Final = SECOND * 7 // 10
"""A path that is silent for so much longer than another is not used."""
PROBE_AGAIN_US: Final = 1 * SECOND

_RECORD_VERSION: Final = 2
_NO_QUALITY: Final = (1 << 32) - 1
_UNKNOWN_LATENCY_MS: Final = 65_535
_PUSH_WINDOW_US: Final = 30 * SECOND
_PUSH_LIMIT: Final = 8
_WHOIS_GATE_US: Final = 100_000


class PathEntry:
    """A path as one peer sees it."""

    __slots__ = ("doubted_at", "last_receive", "path", "priority")

    def __init__(self, path: Path, now: int, priority: int = 1) -> None:
        self.path = path
        self.last_receive = now
        self.priority = priority
        self.doubted_at: int | None = None

    def is_expired(self, now: int) -> bool:
        return self.doubted_at is not None or now - self.last_receive >= PATH_EXPIRY_US

    def refresh(self, now: int) -> None:
        """Note that the peer spoke on this path."""
        self.last_receive = now
        self.doubted_at = None

    def doubt(self, now: int) -> bool:
        """Note that the peer spoke by way of a relay; True if this path is to be probed."""
        if self.doubted_at is None:
            quiet_since = self.last_receive
        else:
            quiet_since = self.doubted_at + PROBE_AGAIN_US - DOUBT_US
        if now - quiet_since < DOUBT_US:
            return False
        self.doubted_at = now
        return True


class Peer:
    """A node with which we share a key."""

    __slots__ = (
        "_keys",
        "_me",
        "_push_count",
        "_push_last",
        "_whois_last",
        "address",
        "addresses_out",
        "aes",
        "cached",
        "clock_ahead_ms",
        "created",
        "duplicates",
        "entries",
        "identity",
        "is_bonded",
        "is_suspect",
        "last_direct_push",
        "last_full_hello",
        "last_nontrivial",
        "last_probe",
        "last_receive",
        "last_trust",
        "major",
        "minor",
        "protocol",
        "revision",
    )

    def __init__(self, now: int, me: Identity, identity: Identity) -> None:
        self._me = me
        self._keys: PeerKeys | None = None
        # Those for suite 3, for who has them already.
        self.aes: AesGmacSiv | None = None
        self.identity = identity
        self.address = identity.address
        self.addresses_out = identity.address.packed + me.address.packed
        self.entries: list[PathEntry] = []
        self.cached: list[Endpoint] = []
        self.created = now
        self.clock_ahead_ms: int | None = None
        self.last_receive = NEVER
        self.last_nontrivial = NEVER
        self.last_trust = NEVER
        self.last_full_hello = NEVER
        self.last_direct_push = NEVER
        self.last_probe = NEVER
        self.is_suspect = False
        self.is_bonded = False
        self.duplicates: Duplicates | None = None
        self.protocol = self.major = self.minor = self.revision = 0
        self._push_last = NEVER
        self._push_count = 0
        self._whois_last = NEVER

    @property
    def keys(self) -> PeerKeys:
        """Agree on the key when it is first wanted; DecodeError for a public key of low order."""
        if self._keys is None:
            self._keys = PeerKeys(self._me.agree(self.identity))
        return self._keys

    @property
    def suite(self) -> int:
        return SUITE_AES if self.protocol >= PROTOCOL_AES else SUITE_SALSA2012

    def set_version(self, protocol: int, major: int, minor: int, revision: int) -> None:
        self.protocol, self.major, self.minor, self.revision = protocol, major, minor, revision

    def is_alive(self, now: int) -> bool:
        return now - self.last_receive < ACTIVITY_US

    def is_active(self, now: int) -> bool:
        return now - self.last_nontrivial < ACTIVITY_US

    def is_trusted(self, now: int) -> bool:
        return now - self.last_trust < TRUST_US

    def allow_push(self, now: int) -> bool:
        """Gate for inbound PUSH_DIRECT_PATHS: eight in a row, then a pause of 30 s."""
        self._push_count = self._push_count + 1 if now - self._push_last <= _PUSH_WINDOW_US else 0
        self._push_last = now
        return self._push_count < _PUSH_LIMIT

    def allow_whois(self, now: int) -> bool:
        if now - self._whois_last < _WHOIS_GATE_US:
            return False
        self._whois_last = now
        return True

    # Paths.

    def best_path(self, now: int, *, expired_too: bool = False) -> Path | None:
        entries = self.entries
        if len(entries) == 1:
            entry = entries[0]
            return entry.path if expired_too or not entry.is_expired(now) else None
        if not expired_too:
            entries = [entry for entry in entries if not entry.is_expired(now)]
        if not entries:
            return None
        # Where the peer is heard now counts more than where it was: it may have moved.
        recent = max(entry.last_receive for entry in entries) - MOVED_US
        best, best_quality = None, 0
        for entry in entries:
            if entry.last_receive < recent:
                continue
            quality = entry.path.quality(now) // entry.priority
            if best is None or quality <= best_quality:
                best, best_quality = entry.path, quality
        return best

    def find(self, path: Path) -> PathEntry | None:
        for entry in self.entries:
            if entry.path is path or entry.path.key == path.key:
                return entry
        return None

    def learn(self, now: int, path: Path, priority: int = 1) -> bool:
        """Adopt a path on which the peer answered; False if there was no need to.

        The same host on the same socket with another port is one place, which was restarted or
        speaks from several ports: the last that answered counts (stock nodes keep the old one
        until it was silent for 19 s). Several paths used as one may be of several ports.
        """
        entry = self.find(path)
        if entry is not None:
            entry.refresh(now)
            return False
        key = path.key
        for entry in self.entries if not self.is_bonded else ():
            other = entry.path.key
            if other.remote.ip == key.remote.ip and other.socket == key.socket:
                entry.path, entry.priority = path, priority
                entry.refresh(now)
                return True
        if len(self.entries) >= MAX_PATHS:
            self.entries.remove(min(self.entries, key=lambda e: e.path.last_in))
        self.expect_copies()
        self.entries.append(PathEntry(path, now, priority))
        return True

    def expect_copies(self) -> None:
        """Look for what comes twice: it speaks by another path than those that are known.

        It may send the same by both, and asks on a path before it sends anything else there.
        """
        if self.entries and self.duplicates is None:
            self.duplicates = Duplicates()

    def prune(self, now: int) -> None:
        """Forget expired paths, and those of less than the highest priority."""
        highest = max((entry.priority for entry in self.entries), default=1)
        self.entries = [
            entry
            for entry in self.entries
            if entry.priority == highest and not entry.is_expired(now)
        ]

    def relay_quality(self, now: int) -> int:
        """Return how good a relay this upstream is; the lower, the better."""
        silence = now - self.last_receive
        if silence >= ACTIVITY_US:
            return _NO_QUALITY
        path = self.best_path(now)
        latency = _UNKNOWN_LATENCY_MS
        if path is not None and path.latency_ms:
            latency = path.latency_ms
        elif path is not None and path.latency_ms == 0:
            latency = 1
        return latency * (silence // RELAY_PENALTY_US + 1)

    # The peer cache (vl1 section 9).

    def encode_record(self) -> bytes:
        w = Writer()
        w.uint(_RECORD_VERSION, 1)
        self.identity.encode(w)
        for value in (self.protocol, self.major, self.minor, self.revision):
            w.uint(value, 2)
        endpoints = [entry.path.key.remote for entry in self.entries] or self.cached
        w.uint(len(endpoints), 2)
        for endpoint in endpoints:
            encode_endpoint(w, endpoint)
        return w.getvalue()

    @classmethod
    def decode_record(cls, now: int, me: Identity, data: bytes) -> Peer:
        r = Reader(data)
        if r.uint(1) != _RECORD_VERSION:
            raise DecodeError("a peer record of another version")
        peer = cls(now, me, Identity.decode(r).public)
        peer.set_version(r.uint(2), r.uint(2), r.uint(2), r.uint(2))
        for _ in range(min(r.uint(2), MAX_PATHS)):
            endpoint = decode_endpoint(r)
            if endpoint is not None:
                peer.cached.append(endpoint)
        return peer
