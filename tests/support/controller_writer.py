"""A process that changes a controller's records without end, and says when each change is done."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path

from tests.support.switches import START_US, SeededEntropy, known_identities
from ztstack.aio.controller_store import FileStore
from ztstack.base.address import Address
from ztstack.base.network_id import NetworkId
from ztstack.base.trace import ListTracer
from ztstack.controller.controller import Controller
from ztstack.controller.model import MemberRecord, NetworkRecord

ME, MEMBER = known_identities()[:2]
NETWORK = NetworkId(ME.address << 24 | 1)
PASSING = NetworkId(ME.address << 24 | 2)


def controller(folder: Path) -> Controller:
    return Controller(START_US, ME, FileStore(folder), SeededEntropy(1), ListTracer())


def change(machine: Controller, number: int) -> None:
    """Write the number into a network, into its member, and make and delete another network."""
    record = machine.network(NETWORK) or NetworkRecord(id=NETWORK)
    machine.put_network(START_US, replace(record, name=str(number)))
    member = machine.member(NETWORK, MEMBER.address) or MemberRecord(MEMBER.address)
    machine.put_member(START_US, NETWORK, replace(member, name=str(number)))
    machine.put_network(START_US, NetworkRecord(id=PASSING))
    for address in range(1, 4):
        machine.put_member(START_US, PASSING, MemberRecord(Address(address)))
    machine.delete_network(START_US, PASSING)


def main(folder: Path, first: int) -> None:
    machine = controller(folder)
    for number in itertools.count(first):
        change(machine, number)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
