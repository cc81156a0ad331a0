"""Asking a controller for a configuration, and the signed chunks it comes in (vl2 2.5, 2.6)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError
from ztstack.base.network_id import NetworkId
from ztstack.crypto.identity import Identity
from ztstack.wire.dictionary import Dictionary
from ztstack.wire.verbs import (
    PROTOCOL_VERSION,
    VERSION_MAJOR,
    VERSION_MINOR,
    VERSION_REVISION,
)

CONFIG_FORMAT: Final = 7
MAX_METADATA_BYTES: Final = 1023
MAX_CONFIG_BYTES: Final = 484_520
"""The length of a whole configuration is below this."""
MAX_CHUNK_BYTES: Final = 9740
"""What stock controllers put in one chunk."""
MAX_CHUNKS: Final = 474
FLAG_PROPAGATE_FAST: Final = 0x01

_SIGNATURE_BYTES: Final = 96
_MAX_SIGN_IN_BYTES: Final = 8191


def default_metadata(platform: str = "linux/x86_64") -> Dictionary:
    """Return what a stock node of our version tells a controller about itself."""
    metadata = Dictionary()
    for key, value in (
        ("v", CONFIG_FORMAT),
        ("vend", 1),
        ("pv", PROTOCOL_VERSION),
        ("majv", VERSION_MAJOR),
        ("minv", VERSION_MINOR),
        ("revv", VERSION_REVISION),
        ("mr", 1024),  # rules
        ("mc", 128),  # capabilities
        ("mcr", 64),  # rules per capability
        ("mt", 128),  # tags
        ("f", 0),
        ("revr", 1),  # version of the rules engine
    ):
        metadata.set_uint(key, value)
    metadata.set_text("o", platform)
    return metadata


@dataclass(frozen=True, slots=True)
class ConfigRequest:
    """NETWORK_CONFIG_REQUEST: ask for the configuration of this network."""

    network: NetworkId
    metadata: Dictionary
    revision: int = 0
    timestamp: int = 0

    @classmethod
    def decode(cls, r: Reader) -> Self:
        network = NetworkId.decode(r)
        length = r.uint(2)
        if length > MAX_METADATA_BYTES:
            raise DecodeError(f"metadata of {length} bytes")
        metadata = Dictionary.parse(r.take(length))
        # Nobody reads what follows, and some senders leave it out.
        revision, timestamp = (r.uint(8), r.uint(8)) if r.remaining >= 16 else (0, 0)
        return cls(network=network, metadata=metadata, revision=revision, timestamp=timestamp)

    def encode(self, w: Writer) -> None:
        metadata = self.metadata.encode()
        self.network.encode(w)
        w.uint(len(metadata), 2)
        w.put(metadata)
        w.uint(self.revision, 8)
        w.uint(self.timestamp, 8)


@dataclass(frozen=True, slots=True)
class ConfigChunk:
    """NETWORK_CONFIG, or the body of OK(NETWORK_CONFIG_REQUEST): a part of a configuration.

    `update_id` is None in the legacy form, which is unsigned, whole, and ends after the data.
    """

    network: NetworkId
    data: bytes
    flags: int = 0
    update_id: int | None = None
    total: int = 0
    offset: int = 0
    signature: bytes = bytes(_SIGNATURE_BYTES)

    @classmethod
    def decode(cls, r: Reader) -> Self:
        network = NetworkId.decode(r)
        data = r.take(r.uint(2))
        if not r.remaining:
            return cls(network=network, data=data, total=len(data))
        flags, update_id, total, offset = r.uint(1), r.uint(8), r.uint(4), r.uint(4)
        if offset + len(data) > total or total >= MAX_CONFIG_BYTES:
            raise DecodeError(f"{len(data)} bytes at {offset} of a configuration of {total}")
        if r.uint(1) != 1 or r.uint(2) != _SIGNATURE_BYTES:
            raise DecodeError("a configuration with a signature of another kind")
        return cls(
            network=network,
            data=data,
            flags=flags,
            update_id=update_id,
            total=total,
            offset=offset,
            signature=r.take(_SIGNATURE_BYTES),
        )

    def encode(self, w: Writer) -> None:
        if self.update_id is None:
            self.network.encode(w)
            w.uint(len(self.data), 2)
            w.put(self.data)
            return
        w.put(self.signed_message())
        w.uint(1, 1)
        w.uint(_SIGNATURE_BYTES, 2)
        w.put(self.signature)

    @classmethod
    def split(
        cls, network: NetworkId, data: bytes, update_id: int, chunk_bytes: int = MAX_CHUNK_BYTES
    ) -> list[Self]:
        """Cut a configuration into chunks, in order and not signed yet."""
        return [
            cls(
                network=network,
                data=data[offset : offset + chunk_bytes],
                update_id=update_id,
                total=len(data),
                offset=offset,
            )
            for offset in range(0, len(data), chunk_bytes)
        ]

    @property
    def chunk_id(self) -> int:
        """What tells this chunk from others of its update."""
        first, second = self.signature[:8], self.signature[8:16]
        return int.from_bytes(first, "big") ^ int.from_bytes(second, "big")

    @property
    def is_fast(self) -> bool:
        """Whether members pass it on at once."""
        return bool(self.flags & FLAG_PROPAGATE_FAST)

    def signed_message(self) -> bytes:
        """Return everything from the network to the offset; the legacy form has no such thing."""
        w = Writer()
        self.network.encode(w)
        w.uint(len(self.data), 2)
        w.put(self.data)
        w.uint(self.flags, 1)
        w.uint(self.update_id or 0, 8)
        w.uint(self.total, 4)
        w.uint(self.offset, 4)
        return w.getvalue()

    def signed_by(self, identity: Identity) -> Self:
        return replace(self, signature=identity.sign(self.signed_message()))

    def verify(self, controller: Identity) -> None:
        """Raise DecodeError unless the network's controller, who is given, signed this."""
        if self.update_id is None or controller.address != self.network.controller:
            raise DecodeError(f"a configuration of {self.network} that its controller did not sign")
        controller.verify(self.signed_message(), self.signature)


@dataclass(frozen=True, slots=True)
class ConfigAck:
    """The body of the OK that answers NETWORK_CONFIG; its in-re verb is ECHO."""

    network: NetworkId
    update_id: int

    @classmethod
    def decode(cls, r: Reader) -> Self:
        return cls(network=NetworkId.decode(r), update_id=r.uint(8))

    def encode(self, w: Writer) -> None:
        self.network.encode(w)
        w.uint(self.update_id, 8)


@dataclass(frozen=True, slots=True)
class SignIn:
    """The body of ERROR with NETWORK_AUTHENTICATION_REQUIRED: where to sign in (vl2 2.9.1).

    Version 0 has a URL to open; version 1 has what an OpenID Connect client needs.
    """

    network: NetworkId
    version: int = 0
    url: str = ""
    issuer_url: str = ""
    central_url: str = ""
    nonce: str = ""
    state: str = ""
    client_id: str = ""
    provider: str = ""

    @classmethod
    def decode(cls, r: Reader) -> Self:
        network = NetworkId.decode(r)
        if r.remaining <= 2:
            return cls(network)
        length = r.uint(2)
        if length > _MAX_SIGN_IN_BYTES:
            raise DecodeError(f"sign-in information of {length} bytes")
        info = Dictionary.parse(r.take(length))
        version = info.get_uint("aV")
        if version == 0:
            if "aU" not in info:
                raise DecodeError("sign-in information without a URL")
            return cls(network, url=info.get_text("aU", 2047))
        if version != 1:
            raise DecodeError(f"sign-in information of version {version}")
        return cls(
            network=network,
            version=version,
            issuer_url=info.get_text("iU", 2047),
            central_url=info.get_text("aCU", 2047),
            nonce=info.get_text("aN", 63),
            state=info.get_text("aS", 127),
            client_id=info.get_text("aCID", 255),
            provider=info.get_text("aSSOp", 63, "default"),
        )

    def encode(self, w: Writer) -> None:
        self.network.encode(w)
        info = Dictionary()
        if self.version == 0:
            if not self.url:
                return
            info.set_uint("aV", 0)
            info.set_text("aU", self.url)
        else:
            info.set_uint("aV", self.version)
            for key, value in (
                ("iU", self.issuer_url),
                ("aCU", self.central_url),
                ("aN", self.nonce),
                ("aS", self.state),
                ("aCID", self.client_id),
                ("aSSOp", self.provider),
            ):
                info.set_text(key, value)
        data = info.encode()
        w.uint(len(data), 2)
        w.put(data)
