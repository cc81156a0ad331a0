from __future__ import annotations

import logging
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.controller_writer import MEMBER, NETWORK, PASSING, change, controller
from tests.support.switches import START_US, known_identities
from tests.support.zt_process import environment
from ztstack.aio.controller_store import FileStore
from ztstack.base.errors import StorageError
from ztstack.controller.model import CapabilityRecord, NetworkRecord
from ztstack.wire.rules import MAX_CAPABILITY_RULES, Rule, RuleType

A = known_identities()[1]
ROUNDS = 4


def test_records_survive(tmp_path: Path) -> None:
    first = controller(tmp_path)
    record = first.create_network(START_US, name="home", pools=["10.1.2.0/24", "fd77::/64"])
    member = first.authorize(START_US, record.id, A.address)
    second = controller(tmp_path)
    assert second.networks() == [record]
    assert second.members(record.id) == [member]
    path = tmp_path / "network" / str(record.id) / "member" / f"{A.address}.json"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_copy_is_a_backup(tmp_path: Path) -> None:
    machine = controller(tmp_path / "live")
    record = machine.create_network(START_US, name="home")
    shutil.copytree(tmp_path / "live", tmp_path / "copy")
    machine.delete_network(START_US, record.id)
    assert controller(tmp_path / "live").networks() == []
    assert controller(tmp_path / "copy").networks() == [record]


def test_the_largest_network_is_read_again(tmp_path: Path) -> None:
    rule = Rule(RuleType.INTEGER_RANGE, low=1 << 63, high=(1 << 64) - 1, index=65535, format=63)
    capability = tuple([rule] * MAX_CAPABILITY_RULES)
    record = NetworkRecord(
        id=NETWORK,
        rules=tuple([rule] * 1024),
        capabilities=tuple(CapabilityRecord(number, capability) for number in range(128)),
    )
    store = FileStore(tmp_path)
    assert store.load() == []
    store.save_network(record)
    assert FileStore(tmp_path).load() == [(record, [])]


def test_a_write_that_was_killed_leaves_the_old_record_and_nothing_else(tmp_path: Path) -> None:
    record = controller(tmp_path).create_network(START_US, name="home")
    left = tmp_path / "network" / f".{record.id}.json.abc"
    left.write_text("{")
    assert controller(tmp_path).networks() == [record]
    assert not left.exists()
    assert not (tmp_path / "damaged").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"id": "00"}', "[" * 100_000, "\udcff"])
def test_a_damaged_network_is_named_and_set_aside(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    machine = controller(tmp_path)
    damaged = machine.create_network(START_US, name="damaged")
    whole = machine.create_network(START_US, name="whole")
    machine.authorize(START_US, damaged.id, A.address)
    path = tmp_path / "network" / f"{damaged.id}.json"
    data = text.encode("utf-8", "surrogateescape")
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert controller(tmp_path).networks() == [whole]
    assert str(path) in caplog.text
    kept = tmp_path / "damaged" / f"{path.name}.0"
    assert kept.read_bytes() == data
    # Its members are not those of a new network with the same id.
    again = controller(tmp_path)
    again.put_network(START_US, damaged)
    assert controller(tmp_path).members(damaged.id) == []
    members = tmp_path / "damaged" / f"{damaged.id}.0" / "member"
    assert [one.name for one in members.iterdir()] == [f"{A.address}.json"]
    # And a second one that is damaged takes nothing from the first.
    path.write_text("second")
    controller(tmp_path)
    assert kept.read_bytes() == data
    assert (tmp_path / "damaged" / f"{path.name}.1").read_text() == "second"


def test_a_damaged_member_is_out_and_the_others_are_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    machine = controller(tmp_path)
    network = machine.create_network(START_US).id
    addresses = [who.address for who in known_identities()[1:3]]
    for address in addresses:
        machine.authorize(START_US, network, address)
    folder = tmp_path / "network" / str(network) / "member"
    first, second = (folder / f"{address}.json" for address in addresses)
    first.write_bytes(second.read_bytes())
    assert [m.address for m in controller(tmp_path).members(network)] == [addresses[1]]
    assert f"{first}: holds the member {addresses[1]}" in caplog.text
    kept = tmp_path / "damaged" / f"{network}-member-{first.name}.0"
    assert kept.read_bytes() == second.read_bytes()


def test_what_the_system_refuses_is_no_damage(tmp_path: Path) -> None:
    machine = controller(tmp_path)
    network = machine.create_network(START_US).id
    path = tmp_path / "network" / f"{network}.json"
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageError, match=str(network)):
        controller(tmp_path)
    assert path.exists()


def test_a_kill_at_any_moment_loses_nothing_that_was_done(tmp_path: Path) -> None:
    chance, done = random.Random(5), 0
    for _ in range(ROUNDS):
        command = [sys.executable, "-m", "tests.support.controller_writer", str(tmp_path)]
        with subprocess.Popen(
            [*command, str(done + 1)],
            stdout=subprocess.PIPE,
            env=environment(),
            cwd=Path(__file__).parents[2],
        ) as process:
            assert process.stdout is not None
            for _ in range(chance.randint(1, 12)):
                done = int(process.stdout.readline())
            process.kill()
            done = max([done, *(int(line) for line in process.stdout if line.endswith(b"\n"))])
        machine = controller(tmp_path)
        network = machine.network(NETWORK)
        assert network is not None
        number = int(network.name)
        assert done <= number <= done + 1
        member = machine.member(NETWORK, MEMBER.address)
        assert member is not None
        assert int(member.name) in {number, number - 1}
        assert int(member.name) >= done
        change(machine, number)
        assert machine.network(PASSING) is None
        # Members of a network that was half deleted may be set aside; nothing is damaged.
        damaged = tmp_path / "damaged"
        names = [path.name for path in damaged.iterdir()] if damaged.exists() else []
        assert all(name.startswith(str(PASSING)) for name in names)
        assert not list((tmp_path / "network").rglob(".*"))
