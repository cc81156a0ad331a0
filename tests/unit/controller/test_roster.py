from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from ztstack.base.address import Address
from ztstack.base.errors import InvalidConfig
from ztstack.base.network_id import NetworkId
from ztstack.controller.model import MemberRecord, NetworkRecord
from ztstack.controller.roster import MAX_STRANGERS, Roster

RECORD = NetworkRecord(id=NetworkId.parse("8056c2e21c000001"))
IPS = [bytes((10, 0, 0, n)) for n in range(4)]

members = st.builds(
    MemberRecord,
    address=st.integers(1, 5).map(Address),
    authorized=st.booleans(),
    bridge=st.booleans(),
    ips=st.lists(st.sampled_from(IPS), unique=True, max_size=3).map(tuple),
)


@given(st.lists(members | st.integers(1, 5).map(Address), max_size=30))
def test_what_is_kept_is_what_one_would_count(changes: list[MemberRecord | Address]) -> None:
    roster = Roster(RECORD, [])
    for change in changes:
        if isinstance(change, MemberRecord):
            roster.put(change)
        elif change in roster.members:
            assert roster.remove(change).address == change
        else:
            with pytest.raises(InvalidConfig, match=str(change)):
                roster.remove(change)
        held = list(roster.members.values())
        assert roster.taken == Counter(ip for member in held for ip in member.ips)
        assert set(roster.taken) == {ip for member in held for ip in member.ips}
        assert roster.bridges == {member.address for member in held if member.bridge}
        again = Roster(RECORD, held)
        assert (again.taken, again.bridges) == (roster.taken, roster.bridges)


def test_the_oldest_stranger_goes_first() -> None:
    strangers = [
        MemberRecord(Address(n + 1), created_ms=1_000_000 - n) for n in range(MAX_STRANGERS)
    ]
    roster = Roster(RECORD, strangers)
    oldest = strangers[-1]
    assert roster.one_too_many() == oldest.address
    roster.put(replace(oldest, authorized=True))
    assert roster.one_too_many() is None
    roster.put(oldest)
    assert roster.one_too_many() == strangers[-2].address
