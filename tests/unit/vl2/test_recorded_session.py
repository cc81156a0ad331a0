from __future__ import annotations

from typing import Any

import pytest

from tests.support.vectors import load
from tests.support.vl2 import CountingEntropy, Phonebook
from ztstack.base.address import Address
from ztstack.base.codec import Reader, Writer
from ztstack.base.frame import Frame, FrameBatch
from ztstack.base.mac import BROADCAST, Mac, MulticastGroup
from ztstack.base.network_id import NetworkId
from ztstack.base.trace import ListTracer
from ztstack.crypto.identity import Identity
from ztstack.vl2.events import FrameIn, NetworkStatus, Output, SendFrames, SendMessage
from ztstack.vl2.network import Network
from ztstack.wire.network_config import ConfigRequest, default_metadata
from ztstack.wire.replies import Error, Ok
from ztstack.wire.verbs import Verb

SESSION = load("session_network.json")
NETWORK = NetworkId.parse(SESSION["network"])
IDENTITIES = {node["name"]: Identity.parse(node["secret"]) for node in SESSION["nodes"]}
DATAGRAMS = {case["n"]: case for case in SESSION["cases"] if case["kind"] == "datagram"}
NO_SUCH_PACKET = {"verb": Verb.NOP, "dest": "", "source": "", "payload": "", "packet_id": "0"}


def packet_of(case: dict[str, Any]) -> dict[str, Any]:
    """Return the packet that a datagram completes, also where it is a relayed copy."""
    packet = case.get("packet")
    while packet is None and "same_packet_as" in case:
        case = DATAGRAMS[case["same_packet_as"]]
        packet = case.get("packet")
    return packet or NO_SUCH_PACKET


class Replay:
    """One node of a recorded run of original nodes, played by ours."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.identity = IDENTITIES[name]
        self.groups: set[MulticastGroup] = set()
        self.network: Network | None = None
        self.frames: list[Frame] = []
        self.outputs: list[Output] = []
        self.seen: set[str] = set()

    def play(self, case: dict[str, Any]) -> None:
        now = (SESSION["time_base"] + case["t"]) * 1000
        network = self.network
        if network is not None:
            network.handle_timer(now)
        match case["kind"]:
            case "action" if case["node"] == self.name:
                self._act(now, case)
            case "frame_in" if case["node"] == self.name and network is not None:
                payload = bytes.fromhex(case["frame"])
                mac = Mac.parse(case["mac_dest"])
                network.send(now, FrameBatch(mac, case["ethertype"], [(b"", payload)]))
            case "datagram" if case["to"] == self.name and case["delivered"]:
                self._receive(now, packet_of(case))
            case _:
                pass
        if self.network is not None:
            for output in self.network.take_output():
                self.outputs.append(output)
                if isinstance(output, FrameIn):
                    self.frames.append(output.frame)

    def _act(self, now: int, case: dict[str, Any]) -> None:
        match case["action"]:
            case "join":
                book = Phonebook(*IDENTITIES.values())
                self.network = Network(
                    now, NETWORK, self.identity, book, CountingEntropy(), ListTracer()
                )
            case "multicast_subscribe" | "multicast_unsubscribe":
                group = MulticastGroup(Mac.parse(case["mac"]), case["adi"])
                if case["action"] == "multicast_subscribe":
                    self.groups.add(group)
                else:
                    self.groups.discard(group)
                if self.network is not None:
                    self.network.set_groups(now, frozenset(self.groups))
            case "leave":
                assert self.network is not None
                assert self.network.status is NetworkStatus.OK
                self.network.leave()
                self.network = None
            case _:
                pass

    def _receive(self, now: int, packet: dict[str, Any]) -> None:
        network = self.network
        if network is None or packet["dest"] != str(self.identity.address):
            return
        source = Address.parse(packet["source"])
        payload = bytes.fromhex(packet["payload"])
        match packet["verb"]:
            case Verb.OK:
                ok = Ok.decode(Reader(payload))
                if ok.body[:8] == NETWORK.packed:
                    network.receive_ok(now, source, ok)
            case Verb.ERROR:
                error = Error.decode(Reader(payload))
                if error.body[:8] == NETWORK.packed:
                    network.receive_error(now, source, error)
            case (
                Verb.FRAME
                | Verb.EXT_FRAME
                | Verb.MULTICAST_LIKE
                | Verb.MULTICAST_GATHER
                | Verb.MULTICAST_FRAME
                | Verb.NETWORK_CREDENTIALS
                | Verb.NETWORK_CONFIG
            ):
                packet_id = int(packet["packet_id"], 16)
                network.receive(now, source, packet["verb"], packet_id, payload)
            case _:
                pass


def replayed(name: str) -> Replay:
    replay = Replay(name)
    for case in SESSION["cases"]:
        replay.play(case)
    return replay


def sent_by_original(name: str, verb: int) -> list[bytes]:
    """Return the payloads that the original sent with this verb, each once, in order."""
    return [
        bytes.fromhex(case["packet"]["payload"])
        for case in DATAGRAMS.values()
        if case["from"] == name
        and case.get("packet", NO_SUCH_PACKET)["verb"] == verb
        and case["packet"]["source"] == str(IDENTITIES[name].address)
    ]


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_the_host_sees_what_it_saw(name: str) -> None:
    expected = [
        Frame(
            Mac.parse(case["mac_dest"]),
            Mac.parse(case["mac_source"]),
            case["ethertype"],
            bytes.fromhex(case["frame"]),
        )
        for case in SESSION["cases"]
        if case["kind"] == "frame_out" and case["node"] == name
    ]
    assert expected
    assert replayed(name).frames == expected


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_the_network_sees_the_same_frames(name: str) -> None:
    sent = [
        output.prefix[1:] + head + bytes(body)
        for output in replayed(name).outputs
        if isinstance(output, SendFrames)
        for head, body in output.packets
    ]
    assert sent
    assert sent == sent_by_original(name, Verb.FRAME)


@pytest.mark.parametrize("name", ["alice", "bob"])
@pytest.mark.parametrize(
    "verb", [Verb.MULTICAST_FRAME, Verb.MULTICAST_GATHER, Verb.NETWORK_CREDENTIALS]
)
def test_the_network_sees_the_same_messages(name: str, verb: int) -> None:
    sent = [
        output.payload
        for output in replayed(name).outputs
        if isinstance(output, SendMessage) and output.verb == verb
    ]
    # Ours keeps an announcement that overtook its certificate, which the original loses; so it
    # knows who listens to the plain broadcast, and the original does not.
    plain = MulticastGroup(BROADCAST)
    w = Writer()
    plain.encode(w)
    original = {data for data in sent_by_original(name, verb) if w.getvalue() not in data}
    assert original == {data for data in sent if w.getvalue() not in data}


def test_the_request_is_the_same() -> None:
    w = Writer()
    ConfigRequest(NETWORK, default_metadata()).encode(w)
    assert w.getvalue() in sent_by_original("alice", Verb.NETWORK_CONFIG_REQUEST)
