"""The policies: which paths get which packets, and what is done when paths fail."""

from __future__ import annotations

import itertools
import struct
from collections import Counter
from collections.abc import Sequence

import pytest

from tests.support.switches import START_US as NOW, known_identities
from ztstack.base.endpoint import Endpoint
from ztstack.base.timers import SECOND
from ztstack.bonding.bond import BETTER_US, STAY_US, Bond
from ztstack.bonding.lane import Lane, LaneState
from ztstack.bonding.settings import (
    BondPolicy,
    BondSettings,
    LinkSettings,
    PolicySettings,
    QualitySettings,
    Reselect,
)
from ztstack.vl1.chooser import Share
from ztstack.vl1.path import Path, PathKey
from ztstack.vl1.peer import Peer

RTT = 10_000
STRIPED = (BondPolicy.BALANCE_RR, BondPolicy.BALANCE_XOR, BondPolicy.BALANCE_AWARE)


class Cables:
    """An interface for each address; `ethN` leads to 10.0.N.x."""

    def __init__(self) -> None:
        self.missing: set[str] = set()
        self.asked = 0

    def interface_to(self, socket: int, remote: Endpoint) -> str:
        del socket
        self.asked += 1
        name = f"eth{remote.ip[2]}"
        return "" if name in self.missing else name


def bond_of(
    settings: PolicySettings | BondPolicy,
    *,
    links: int = 2,
    hosts: int = 1,
    cables: Cables | None = None,
    warmup: bool = True,
    unused: tuple[str, ...] = (),
) -> Bond:
    """Return a bond whose paths are confirmed."""
    me, other = known_identities()[:2]
    peer = Peer(NOW, me, other.public)
    peer.is_bonded = True
    for link in range(links):
        for host in range(hosts):
            remote = Endpoint(bytes((10, 0, link, host + 1)), 9993)
            peer.learn(NOW, Path(PathKey(0, remote)))
    if isinstance(settings, BondPolicy):
        settings = PolicySettings(settings)
    bond = Bond(NOW, peer, settings, cables or Cables(), warmup=warmup, unused=unused)
    bond.sync(NOW)
    for lane in bond.lanes:
        answer(lane, RTT)
    bond.review()
    return bond


def answer(lane: Lane, rtt: int, now: int = NOW) -> None:
    lane.due = now
    lane.next_probe(now, active=True)
    lane.answered(now + rtt, now)


def silence(lane: Lane, now: int) -> None:
    """Let a path not answer until it is suspect."""
    lane.due = now
    while lane.state is LaneState.UP:
        now = max(now, lane.due)
        lane.next_probe(now, active=True)
    assert lane.state is LaneState.SUSPECT


def fail(bond: Bond, *indices: int) -> None:
    for index in indices:
        bond.lanes[index].fail(NOW + SECOND)
    bond.review()


def packets(count: int, flow: int = 1) -> list[tuple[bytes, bytes]]:
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 1500, 0, 0, 64, 6, 0, b"\n\0\0\1", b"\n\0\0\2")
    header = ip + struct.pack(">HH", flow, 80) + bytes(16)
    return [(header, number.to_bytes(4, "big") + bytes(1400)) for number in range(count)]


def counts(bond: Bond, shares: Sequence[Share]) -> list[int]:
    """Return how many packets each path gets."""
    found: Counter[PathKey] = Counter()
    for share in shares:
        for path in share.paths:
            found[path.key] += len(share.packets)
    return [found[lane.path.key] for lane in bond.lanes]


@pytest.mark.parametrize("policy", list(BondPolicy))
def test_nothing_is_lost_or_changes_places_on_a_path(policy: BondPolicy) -> None:
    bond = bond_of(policy, links=3)
    for count in (1, 2, 7, 64):
        sent = packets(count)
        shares = bond.shares(NOW + 1, sent)
        for share in shares:
            numbers = [bytes(body[:4]) for _, body in share.packets]
            assert numbers == sorted(numbers)
        copies = 3 if policy is BondPolicy.BROADCAST else 1
        assert sum(counts(bond, shares)) == count * copies


@pytest.mark.parametrize("policy", [BondPolicy.OFF, BondPolicy.ACTIVE_BACKUP])
def test_one_path_is_used(policy: BondPolicy) -> None:
    bond = bond_of(policy)
    used = counts(bond, bond.shares(NOW + 1, packets(64)))
    assert sorted(used) == [0, 64]
    fail(bond, used.index(64))
    assert counts(bond, bond.shares(NOW + 2, packets(64))) == used[::-1]


def test_the_quickest_path_is_taken_but_not_for_a_little() -> None:
    bond = bond_of(BondPolicy.ACTIVE_BACKUP)
    first = bond.route(NOW)
    other = next(lane for lane in bond.lanes if lane.path is not first)
    current = next(lane for lane in bond.lanes if lane.path is first)
    assert current.rtt_us is not None
    current.rtt_us = RTT + BETTER_US - 1
    assert bond.route(NOW + 2 * STAY_US) is first
    current.rtt_us = RTT + BETTER_US + 1
    assert bond.route(NOW + STAY_US - 1) is first
    assert bond.route(NOW + 2 * STAY_US) is other.path


def test_who_wants_it_stays_until_it_fails() -> None:
    bond = bond_of(PolicySettings(BondPolicy.ACTIVE_BACKUP, reselect=Reselect.FAILURE))
    first = bond.route(NOW)
    current = next(lane for lane in bond.lanes if lane.path is first)
    current.rtt_us = 1e6
    assert bond.route(NOW + 2 * STAY_US) is first


def test_broadcast_seals_once_for_all_paths() -> None:
    bond = bond_of(BondPolicy.BROADCAST, links=3)
    (share,) = bond.shares(NOW, packets(5))
    assert [path.key for path in share.paths] == [lane.path.key for lane in bond.lanes]


def test_round_robin_is_even_over_bursts_of_any_size() -> None:
    bond = bond_of(BondPolicy.BALANCE_RR, links=3)
    total = [0, 0, 0]
    for count in (1, 1, 1, 2, 5, 7, 64, 1, 8):
        for index, part in enumerate(counts(bond, bond.shares(NOW, packets(count)))):
            total[index] += part
    assert max(total) - min(total) <= 1


def test_flows_are_even_and_stay() -> None:
    bond = bond_of(BondPolicy.BALANCE_XOR)
    first = {flow: counts(bond, bond.shares(NOW, packets(1, flow))) for flow in range(64)}
    assert [sum(one[index] for one in first.values()) for index in (0, 1)] == [32, 32]
    for flow, used in first.items():
        again = counts(bond, bond.shares(NOW + 5 * SECOND, packets(3, flow)))
        assert again == [3 * count for count in used]


def test_a_burst_of_several_flows_is_divided() -> None:
    bond = bond_of(BondPolicy.BALANCE_XOR)
    burst = [packet for flow in range(4) for packet in packets(2, flow)]
    assert counts(bond, bond.shares(NOW, burst)) == [4, 4]


def test_arrival_follows_what_paths_carry() -> None:
    bond = bond_of(BondPolicy.BALANCE_AWARE)
    bond.lanes[0].rate, bond.lanes[1].rate = 5.0, 1.25
    used = counts(bond, bond.shares(NOW + SECOND, packets(100)))
    assert used == [80, 20]


def test_arrival_waits_with_a_slow_path_until_it_is_not_late() -> None:
    bond = bond_of(BondPolicy.BALANCE_AWARE)
    fast, slow = bond.lanes
    fast.rate = slow.rate = 5.0
    slow.one_way_us = fast.one_way_us + 30_000
    now = NOW + SECOND
    assert counts(bond, bond.shares(now, packets(50))) == [50, 0]
    bond.shares(now, packets(100))
    assert fast.busy_until - now > 30_000
    assert counts(bond, bond.shares(now, packets(50))) != [50, 0]


@pytest.mark.parametrize("policy", STRIPED)
def test_two_paths_of_one_link_count_once(policy: BondPolicy) -> None:
    bond = bond_of(policy, hosts=2)
    total = [0, 0, 0, 0]
    for flow in range(20):
        for index, part in enumerate(counts(bond, bond.shares(NOW, packets(4, flow)))):
            total[index] += part
    assert (total[0] + total[1], total[2] + total[3]) == (40, 40)
    assert sorted(total)[:2] == [0, 0]


@pytest.mark.parametrize("policy", list(BondPolicy))
def test_failed_paths_are_left_and_the_last_one_too(policy: BondPolicy) -> None:
    bond = bond_of(policy)
    fail(bond, 0)
    assert counts(bond, bond.shares(NOW + 1, packets(10))) == [0, 10]
    fail(bond, 1)
    assert bond.shares(NOW + 2, packets(10)) == ()
    assert bond.route(NOW + 2) is None


@pytest.mark.parametrize("policy", list(BondPolicy))
def test_a_path_that_answers_again_is_better_than_none(policy: BondPolicy) -> None:
    bond = bond_of(policy)
    fail(bond, 0, 1)
    answer(bond.lanes[1], RTT, NOW + 2 * SECOND)
    bond.review()
    assert bond.lanes[1].state is LaneState.RETURNING
    assert counts(bond, bond.shares(NOW + 3 * SECOND, packets(4))) == [0, 4]


@pytest.mark.parametrize("policy", list(BondPolicy))
def test_all_silent_at_once_is_borne_for_a_moment(policy: BondPolicy) -> None:
    bond = bond_of(policy)
    for lane in bond.lanes:
        lane.state = LaneState.SUSPECT
    bond.review()
    assert sum(counts(bond, bond.shares(NOW + 1, packets(4)))) >= 4
    bond.tick(NOW + SECOND)
    assert bond.shares(NOW + SECOND, packets(4)) == ()


def test_a_path_that_loses_packets_is_the_last_choice() -> None:
    bond = bond_of(BondPolicy.BALANCE_RR)
    bond.lanes[0].avoided = True
    bond.review()
    assert counts(bond, bond.shares(NOW, packets(10))) == [0, 10]
    bond.lanes[1].avoided = True
    bond.review()
    assert counts(bond, bond.shares(NOW, packets(10))) == [5, 5]


@pytest.mark.parametrize("warmup", [True, False])
@pytest.mark.parametrize("policy", list(BondPolicy))
def test_the_root_gets_a_copy_until_a_path_is_confirmed(policy: BondPolicy, warmup: bool) -> None:
    bond = bond_of(policy, warmup=warmup)
    for lane in bond.lanes:
        lane.rtt_us = None
    bond.review()
    shares = bond.shares(NOW, packets(3))
    assert {share.by_relay for share in shares} == {warmup}
    assert bond.report().warmups == 3 * warmup
    answer(bond.lanes[0], RTT, NOW + SECOND)
    bond.review()
    shares = bond.shares(NOW + SECOND, packets(3))
    assert not any(share.by_relay for share in shares)
    assert bond.report().warmups == 3 * warmup


@pytest.mark.parametrize("warmup", [True, False])
def test_the_root_gets_a_copy_when_all_paths_have_fallen_silent(warmup: bool) -> None:
    bond = bond_of(BondPolicy.BALANCE_AWARE, warmup=warmup)
    for silent, lane in enumerate(bond.lanes, 1):
        silence(lane, NOW + SECOND)
        bond.review()
        shares = bond.shares(NOW + 2 * SECOND, packets(4))
        assert {share.by_relay for share in shares} == {warmup and silent == len(bond.lanes)}
    assert bond.warmups == 4 * warmup


@pytest.mark.parametrize("policy", STRIPED)
def test_the_report_tells_which_path_of_an_interface_is_used(policy: BondPolicy) -> None:
    bond = bond_of(policy, links=2, hosts=2)
    told = [(link.interface, link.state) for link in bond.report().links]
    assert sorted(told) == [
        ("eth0", "active"),
        ("eth0", "standby"),
        ("eth1", "active"),
        ("eth1", "standby"),
    ]
    used = {path.key.remote for share in bond.shares(NOW, packets(64)) for path in share.paths}
    active = {link.remote for link in bond.report().links if link.state == "active"}
    assert used <= active


def test_a_rate_that_is_not_known_is_like_those_that_are() -> None:
    links = {"eth0": LinkSettings(capacity=100), "eth1": LinkSettings(capacity=50)}
    for settings, expected in (
        (PolicySettings(BondPolicy.BALANCE_AWARE), 5.0),
        (PolicySettings(BondPolicy.BALANCE_AWARE, links=links), 2.5),
    ):
        bond = bond_of(settings)
        bond.lanes[0].rate, bond.lanes[0].is_measured = 5.0, True
        bond.review()
        assert [lane.rate for lane in bond.lanes] == [5.0, expected]


def test_only_named_links_are_used_and_spare_ones_at_need() -> None:
    links = {"eth0": LinkSettings(), "eth1": LinkSettings(is_primary=False)}
    bond = bond_of(PolicySettings(BondPolicy.BALANCE_RR, links=links), links=3)
    assert [lane.interface for lane in bond.lanes] == ["eth0", "eth1"]
    assert counts(bond, bond.shares(NOW, packets(10))) == [10, 0]
    fail(bond, 0)
    assert counts(bond, bond.shares(NOW, packets(10))) == [0, 10]


@pytest.mark.parametrize(
    "link", [LinkSettings(enabled=False), LinkSettings(ip_preference=6)], ids=["off", "IPv6"]
)
def test_links_that_are_not_to_be_used(link: LinkSettings) -> None:
    bond = bond_of(PolicySettings(BondPolicy.OFF, links={"eth0": link, "eth1": LinkSettings()}))
    assert [lane.interface for lane in bond.lanes] == ["eth1"]


def test_links_have_their_own_mtu() -> None:
    cables = Cables()
    links = {"eth0": LinkSettings(mtu=1280), "eth1": LinkSettings()}
    bond = bond_of(PolicySettings(BondPolicy.BALANCE_RR, links=links), cables=cables)
    assert [lane.path.mtu for lane in bond.lanes] == [1280, 0]
    cables.missing.add("eth0")
    bond.interfaces_changed(NOW)
    assert not bond.lanes[0].is_up
    cables.missing.clear()
    bond.interfaces_changed(NOW)
    assert [lane.path.mtu for lane in bond.lanes] == [1280, 0]


@pytest.mark.parametrize("policy", list(BondPolicy))
def test_paths_are_asked_as_often_as_their_failover_needs(policy: BondPolicy) -> None:
    bond = bond_of(PolicySettings(policy, failover_us=10 * SECOND))
    lane = bond.lanes[0]
    asked = []
    for now in range(NOW + SECOND, NOW + 21 * SECOND, SECOND // 20):
        if lane.next_probe(now, active=True) is not None:
            asked.append(now)
            lane.answered(now + RTT, now)
    # By the answers it learns what a path carries.
    assert len(asked) == (100 if policy is BondPolicy.BALANCE_AWARE else 2)


def test_interfaces_that_are_not_to_be_used() -> None:
    cables = Cables()
    bond = bond_of(BondPolicy.BALANCE_RR, links=3, cables=cables, unused=("eth1", "wlan"))
    assert [lane.interface for lane in bond.lanes] == ["eth0", "eth2"]
    asked = cables.asked
    for _ in range(5):
        bond.sync(NOW)
    assert cables.asked <= asked + 1


def test_runs_of_round_robin_are_as_long_as_is_wanted() -> None:
    bond = bond_of(PolicySettings(BondPolicy.BALANCE_RR, packets_per_link=3))
    order = [bond.shares(NOW, packets(1))[0].paths[0] for _ in range(13)]
    runs = [len(list(run)) for _, run in itertools.groupby(order, key=id)]
    assert runs[1:-1] == [3] * len(runs[1:-1])
    assert counts(bond, bond.shares(NOW, packets(60))) == [30, 30]


def test_capacities_are_believed_at_first() -> None:
    links = {"eth0": LinkSettings(capacity=300), "eth1": LinkSettings(capacity=100)}
    bond = bond_of(PolicySettings(BondPolicy.BALANCE_AWARE, links=links))
    assert counts(bond, bond.shares(NOW + SECOND, packets(100))) == [75, 25]


def test_the_link_that_is_to_follow_does() -> None:
    links = {
        "eth0": LinkSettings(failover_to="eth2"),
        "eth1": LinkSettings(failover_to="eth2"),
        "eth2": LinkSettings(),
    }
    bond = bond_of(PolicySettings(BondPolicy.ACTIVE_BACKUP, links=links), links=3)
    bond.lanes[0].rtt_us = RTT / 2
    assert counts(bond, bond.shares(NOW, packets(1))) == [1, 0, 0]
    bond.lanes[1].rtt_us = RTT / 2
    fail(bond, 0)
    assert counts(bond, bond.shares(NOW, packets(1))) == [0, 0, 1]


@pytest.mark.parametrize(
    ("quality", "spoil"),
    [
        (QualitySettings(max_latency_ms=20.0), ("one_way_us", 21_000.0)),
        (QualitySettings(max_variance_ms=20.0), ("variance_us", 21_000.0)),
        (QualitySettings(max_loss=0.05), ("loss", 0.06)),
    ],
)
def test_what_is_too_bad_is_not_used(quality: QualitySettings, spoil: tuple[str, float]) -> None:
    bond = bond_of(PolicySettings(BondPolicy.BALANCE_RR, quality=quality))
    assert counts(bond, bond.shares(NOW, packets(10))) == [5, 5]
    setattr(bond.lanes[0], *spoil)
    bond.review()
    assert counts(bond, bond.shares(NOW, packets(10))) == [0, 10]


def test_the_best_is_what_its_owner_weighs() -> None:
    steady = QualitySettings(latency_weight=0.0, variance_weight=1.0, loss_weight=0.0)
    bond = bond_of(PolicySettings(BondPolicy.OFF, quality=steady))
    bond.lanes[0].variance_us, bond.lanes[1].variance_us = 5_000.0, 1_000.0
    bond.lanes[1].one_way_us = 30_000.0
    assert counts(bond, bond.shares(NOW, packets(1))) == [0, 1]


def test_errors_count_as_much_as_their_owner_says() -> None:
    clean = QualitySettings(max_errors=0.01, latency_weight=0.5, errors_weight=0.5, loss_weight=0.0)
    for errors, expected in ((0.0, [1, 0]), (0.02, [0, 1])):
        bond = bond_of(PolicySettings(BondPolicy.OFF, quality=clean))
        bond.lanes[0].errors, bond.lanes[1].one_way_us = errors, 10_000.0
        assert counts(bond, bond.shares(NOW, packets(1))) == expected


@pytest.mark.parametrize(("preference", "ipv4"), [(46, True), (64, False), (4, True), (6, False)])
def test_families_of_addresses(preference: int, ipv4: bool) -> None:
    links = {"eth0": LinkSettings(ip_preference=preference)}
    bond = bond_of(PolicySettings(BondPolicy.ACTIVE_BACKUP, links=links), links=1)
    six = Path(PathKey(1, Endpoint(bytes((0xFD, 0, 0)) + bytes(13), 9993)))
    bond.peer.learn(NOW, six)
    bond.sync(NOW)
    path = bond.route(NOW)
    assert path is not None
    assert path.key.remote.is_ipv4 is ipv4


def test_a_lost_interface_ends_its_paths_at_once() -> None:
    cables = Cables()
    bond = bond_of(BondPolicy.BALANCE_RR, cables=cables)
    cables.missing.add("eth0")
    bond.interfaces_changed(NOW + SECOND)
    assert [lane.is_up for lane in bond.lanes] == [False, True]
    assert counts(bond, bond.shares(NOW + SECOND, packets(10))) == [0, 10]


def test_paths_come_and_go_with_the_peer() -> None:
    bond = bond_of(BondPolicy.BALANCE_XOR)
    bond.shares(NOW, [packet for flow in range(10) for packet in packets(1, flow)])
    kept = bond.lanes[1]
    del bond.peer.entries[0]
    bond.sync(NOW)
    assert bond.lanes == [kept]
    assert counts(bond, bond.shares(NOW, packets(10))) == [10]


def test_the_report_says_why() -> None:
    bond = bond_of(BondPolicy.ACTIVE_BACKUP, links=3)
    used = counts(bond, bond.shares(NOW, packets(1))).index(1)
    fail(bond, (used + 1) % 3)
    report = bond.report()
    states = [link.state for link in report.links]
    assert (states[used], states[(used + 1) % 3], states[used - 1]) == (
        "active",
        "dead",
        "standby",
    )
    assert all(link.reason for link in report.links)
    assert report.values()["peer"] == str(bond.peer.address)
    assert report.links[used].rtt_ms == RTT / 1000


def test_single_peers_may_have_a_policy_of_their_own() -> None:
    me = known_identities()[0].address
    settings = BondSettings(peers={me: PolicySettings(BondPolicy.BROADCAST)})
    assert settings.of(me).policy is BondPolicy.BROADCAST
    assert settings.of(known_identities()[1].address).policy is BondPolicy.OFF
