"""Hypothesis strategies for the values that travel."""

from __future__ import annotations

from hypothesis import strategies as st

from ztstack.base.address import Address
from ztstack.base.endpoint import Endpoint
from ztstack.base.mac import Mac, MulticastGroup
from ztstack.base.network_id import NetworkId
from ztstack.crypto.identity import Identity
from ztstack.vl2.network_config import NetworkConfig, Route, SingleSignOn
from ztstack.wire.credentials import (
    UNSIGNED,
    Capability,
    Com,
    Custody,
    NetworkCredentials,
    Ownership,
    Qualifier,
    Revocation,
    Tag,
    Thing,
)
from ztstack.wire.dictionary import Dictionary
from ztstack.wire.frames import ExtFrame, FrameMessage
from ztstack.wire.hello import Hello, HelloOk
from ztstack.wire.multicast import (
    GatherOk,
    MulticastFrame,
    MulticastFrameOk,
    MulticastGather,
    MulticastLike,
)
from ztstack.wire.network_config import ConfigChunk, ConfigRequest
from ztstack.wire.rendezvous import PushDirectPaths, PushedPath, Rendezvous
from ztstack.wire.replies import Error, Ok
from ztstack.wire.rules import LAYOUTS, Rule
from ztstack.wire.user_message import UserMessage
from ztstack.wire.whois import Whois, WhoisOk
from ztstack.wire.world import Root, World, WorldType


def uints(size: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << 8 * size) - 1)


def blobs(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


addresses = st.builds(Address, uints(5))
node_addresses = st.builds(Address, st.integers(1, 0xFEFFFFFFFF))
network_ids = st.builds(NetworkId, uints(8))
macs = st.builds(Mac, uints(6))
groups = st.builds(MulticastGroup, macs, uints(4))
ips = blobs(4) | blobs(16)
endpoints = st.builds(Endpoint, ips, uints(2))
identities = st.builds(Identity, node_addresses, blobs(64))
payloads = st.binary(max_size=64)
signatures = blobs(96)


def tuples_of(
    values: st.SearchStrategy[object], most: int, least: int = 0
) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(values, min_size=least, max_size=most).map(tuple)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    kind = draw(st.sampled_from(sorted(LAYOUTS)) | st.integers(0, 63))
    layout = LAYOUTS.get(kind)
    fields = {
        name: draw(uints(min(size, 5) if name == "address" else size))
        for name, size in layout or ()
    }
    raw = None if layout is not None else draw(st.binary(max_size=20))
    negate, alternative = draw(st.booleans()), draw(st.booleans())
    return Rule(kind, negate=negate, alternative=alternative, raw=raw, **fields)


@st.composite
def coms(draw: st.DrawFn) -> Com:
    numbers = sorted(draw(st.lists(st.integers(0, 9) | uints(8), max_size=8)))
    qualifiers = tuple(Qualifier(n, draw(uints(8)), draw(uints(8))) for n in numbers)
    signer = draw(addresses)
    return Com(qualifiers, signer, draw(signatures) if signer else UNSIGNED)


tags = st.builds(
    Tag,
    network=network_ids,
    timestamp=uints(8),
    id=uints(4),
    value=uints(4),
    issued_to=addresses,
    signer=addresses,
    signature=signatures,
)


@st.composite
def capabilities(draw: st.DrawFn) -> Capability:
    most = draw(st.integers(1, 7))
    custody = draw(tuples_of(st.builds(Custody, node_addresses, addresses, signatures), most))
    return Capability(
        network=draw(network_ids),
        timestamp=draw(uints(8)),
        id=draw(uints(4)),
        rules=tuple(draw(st.lists(rules(), max_size=8))),
        custody=custody,  # type: ignore[arg-type]
        max_custody=most,
    )


ownerships = st.builds(
    Ownership,
    network=network_ids,
    timestamp=uints(8),
    id=uints(4),
    things=tuples_of(st.builds(Thing, uints(1), blobs(16)), 16),
    issued_to=addresses,
    signer=addresses,
    signature=signatures,
    flags=uints(8),
)
revocations = st.builds(
    Revocation,
    network=network_ids,
    id=uints(4),
    credential_type=uints(1),
    credential_id=uints(4),
    threshold=uints(8),
    target=addresses,
    flags=uints(8),
    signer=addresses,
    signature=signatures,
)
network_credentials = st.builds(
    NetworkCredentials,
    coms=tuples_of(coms(), 2),
    capabilities=tuples_of(capabilities(), 2),
    tags=tuples_of(tags, 2),
    revocations=tuples_of(revocations, 2),
    ownerships=tuples_of(ownerships, 2),
)

worlds = st.builds(
    World,
    type=st.sampled_from(WorldType),
    id=uints(8),
    timestamp=uints(8),
    signer_key=blobs(64),
    roots=tuples_of(st.builds(Root, identities, tuples_of(endpoints, 4)), 4),
    signature=signatures,
)
hellos = st.builds(
    Hello,
    protocol=uints(1),
    major=uints(1),
    minor=uints(1),
    revision=uints(2),
    timestamp_ms=uints(8),
    identity=identities,
    destination=st.none() | endpoints,
    planet_id=uints(8),
    planet_timestamp=uints(8),
    moons=tuples_of(st.tuples(uints(8), uints(8)), 4),
)
hello_oks = st.builds(
    HelloOk,
    timestamp_ms=uints(8),
    protocol=uints(1),
    major=uints(1),
    minor=uints(1),
    revision=uints(2),
    endpoint=st.none() | endpoints,
    worlds=tuples_of(worlds, 2),
)

oks = st.builds(Ok, uints(1), uints(8), payloads)
errors = st.builds(Error, uints(1), uints(8), uints(1), payloads)
whois = st.builds(Whois, tuples_of(addresses, 4))
whois_oks = st.builds(WhoisOk, tuples_of(identities, 3, least=1))
rendezvous = st.builds(Rendezvous, peer=addresses, port=uints(2), ip=ips)
pushes = st.builds(PushDirectPaths, tuples_of(st.builds(PushedPath, uints(1), endpoints), 5))
user_messages = st.builds(UserMessage, uints(8), payloads)

frames = st.builds(FrameMessage, network=network_ids, ethertype=uints(2), payload=payloads)
ext_frames = st.builds(
    ExtFrame,
    network=network_ids,
    flags=uints(1).map(lambda flags: flags & 0xFE),
    com=st.none() | coms(),
    destination=macs,
    source=macs,
    ethertype=uints(2),
    payload=payloads,
)
likes = st.builds(MulticastLike, tuples_of(st.tuples(network_ids, groups), 5))
gathers = st.builds(
    MulticastGather, network=network_ids, group=groups, limit=uints(4), com=st.none() | coms()
)
gather_oks = st.builds(
    GatherOk,
    network=network_ids,
    group=groups,
    total=uints(4),
    members=tuples_of(addresses, 5),
)
multicast_frames = st.builds(
    MulticastFrame,
    network=network_ids,
    gather_limit=uints(4),
    source=st.none() | macs,
    group=groups,
    ethertype=uints(2),
    payload=payloads,
    com=st.none() | coms(),
    flags_replicate=st.booleans(),
)


@st.composite
def multicast_frame_oks(draw: st.DrawFn) -> MulticastFrameOk:
    gathered = draw(st.none() | gather_oks)
    network = gathered.network if gathered else draw(network_ids)
    group = gathered.group if gathered else draw(groups)
    return MulticastFrameOk(network, group, draw(st.none() | coms()), gathered)


dictionary_keys = st.text(
    st.characters(min_codepoint=1, max_codepoint=126, exclude_characters="\r\n="), max_size=8
)
dictionary_pairs = st.lists(st.tuples(dictionary_keys, st.binary(max_size=32)), max_size=8)
config_requests = st.builds(
    ConfigRequest,
    network=network_ids,
    metadata=st.builds(Dictionary, dictionary_pairs),
    revision=uints(8),
    timestamp=uints(8),
)


@st.composite
def config_chunks(draw: st.DrawFn) -> ConfigChunk:
    data = draw(st.binary(max_size=64))
    if draw(st.booleans()):
        return ConfigChunk(draw(network_ids), data, total=len(data))
    offset = draw(st.integers(0, 400_000))
    return ConfigChunk(
        network=draw(network_ids),
        data=data,
        flags=draw(uints(1)),
        update_id=draw(uints(8)),
        total=draw(st.integers(offset + len(data), 484_519)),
        offset=offset,
        signature=draw(signatures),
    )


texts = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=20)
prefixes = st.tuples(blobs(4), st.integers(0, 32)) | st.tuples(blobs(16), st.integers(0, 128))
single_sign_on = (
    st.just(SingleSignOn())
    | st.builds(
        SingleSignOn,
        version=st.just(0),
        enabled=st.just(True),
        authentication_url=texts,
        authentication_expiry_ms=st.integers(0, (1 << 63) - 1),
    )
    | st.builds(
        SingleSignOn,
        version=st.just(1),
        enabled=st.just(True),
        issuer_url=texts,
        central_url=texts,
        nonce=texts,
        state=texts,
        client_id=texts,
    )
)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    ip, bits = draw(prefixes)
    via = draw(st.none() | blobs(len(ip)))
    return Route(ip, bits, via, draw(uints(2)), draw(uints(2)))


network_configs = st.builds(
    NetworkConfig,
    network=st.builds(NetworkId, st.integers(1, (1 << 64) - 1)),
    issued_to=node_addresses,
    timestamp=uints(8),
    credential_delta_ms=uints(8),
    revision=uints(8),
    remote_trace_target=addresses,
    remote_trace_level=uints(8),
    flags=uints(8),
    multicast_limit=uints(8),
    is_public=st.booleans(),
    name=texts,
    mtu=st.integers(1280, 10_000),
    com=st.none() | coms(),
    capabilities=st.lists(capabilities(), max_size=2).map(
        lambda items: tuple(sorted(items, key=lambda item: item.id))
    ),
    tags=st.lists(tags, max_size=3).map(
        lambda items: tuple(sorted(items, key=lambda item: item.id))
    ),
    ownerships=tuples_of(ownerships, 2),
    specialists=tuples_of(uints(8), 4),
    routes=tuples_of(routes(), 4),
    addresses=tuples_of(prefixes, 4),
    rules=tuples_of(rules(), 4),
    dns_domain=texts,
    dns_servers=tuples_of(endpoints, 4),
    sso=single_sign_on,
)
