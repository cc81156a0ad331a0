"""Every status of a network and everything that changes it, in virtual time (vl2 section 8.4)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, pairwise

import pytest

from tests.support.vl2 import (
    ALICE,
    BOB,
    CONTROLLER,
    NETWORK,
    START,
    Host,
    chunks_of,
    config_for,
)
from ztstack.base.codec import Writer
from ztstack.crypto.identity import Identity
from ztstack.vl2.config_fetch import EAGER_US, REFUSED_RETRY_US, RENEW_US, RETRY_US
from ztstack.vl2.events import NetworkStatus, SendMessage, StatusChanged
from ztstack.wire.network_config import SignIn
from ztstack.wire.replies import Error, Ok
from ztstack.wire.verbs import ErrorCode, Verb

REQUEST = Verb.NETWORK_CONFIG_REQUEST
REQUESTING, OK, DENIED, MISSING, SIGN_IN = (
    NetworkStatus.REQUESTING,
    NetworkStatus.OK,
    NetworkStatus.ACCESS_DENIED,
    NetworkStatus.NOT_FOUND,
    NetworkStatus.AUTHENTICATION_REQUIRED,
)
MINUTE = 60_000_000
UPDATES = count(1)

Step = Callable[[Host, int], None]


def refused(
    code: int, body: bytes = NETWORK.packed, *, source: Identity = CONTROLLER, verb: int = REQUEST
) -> Step:
    def step(host: Host, now: int) -> None:
        host.network.receive_error(now, source.address, Error(verb, 1, code, body))

    return step


def sign_in(url: str) -> Step:
    w = Writer()
    SignIn(NETWORK, url=url).encode(w)
    return refused(ErrorCode.NETWORK_AUTHENTICATION_REQUIRED, w.getvalue())


def answered(host: Host, now: int) -> None:
    """The controller answers with a configuration of this moment."""
    (body,) = chunks_of(config_for(ALICE, now), next(UPDATES))
    host.network.receive_ok(now, CONTROLLER.address, Ok(REQUEST, 1, body))


def pushed(host: Host, now: int) -> None:
    """Somebody delivers what the controller signed at this moment."""
    (body,) = chunks_of(config_for(ALICE, now), next(UPDATES))
    host.network.receive(now, BOB.address, Verb.NETWORK_CONFIG, 1, body)


def pushed_copy(host: Host, now: int) -> None:
    """Somebody delivers again the configuration of the first moment."""
    (body,) = chunks_of(config_for(ALICE, START), next(UPDATES))
    host.network.receive(now, BOB.address, Verb.NETWORK_CONFIG, 1, body)


def pushed_to_another(host: Host, now: int) -> None:
    (body,) = chunks_of(config_for(BOB, now), next(UPDATES))
    host.network.receive(now, BOB.address, Verb.NETWORK_CONFIG, 1, body)


def time_passes(host: Host, now: int) -> None:
    host.network.handle_timer(now + 10 * MINUTE)


denied = refused(ErrorCode.NETWORK_ACCESS_DENIED)
denied_otherwise = refused(ErrorCode.NETWORK_ACCESS_DENIED, verb=Verb.FRAME)
not_found = refused(ErrorCode.OBJ_NOT_FOUND)
no_controller = refused(ErrorCode.UNSUPPORTED_OPERATION)
not_found_otherwise = refused(ErrorCode.OBJ_NOT_FOUND, verb=Verb.WHOIS)
told_by_a_stranger = refused(ErrorCode.NETWORK_ACCESS_DENIED, source=BOB)
sign_in_without_address = refused(ErrorCode.NETWORK_AUTHENTICATION_REQUIRED)
sign_in_cut_short = refused(
    ErrorCode.NETWORK_AUTHENTICATION_REQUIRED, NETWORK.packed + b"\x00\x40aU=https://x"
)
certificate_wanted = refused(ErrorCode.NEED_MEMBERSHIP_CERTIFICATE, source=BOB)

# How each status is reached, always with a configuration of START if there is one.
REACHED: dict[NetworkStatus, tuple[Step, ...]] = {
    REQUESTING: (),
    OK: (answered,),
    DENIED: (denied,),
    MISSING: (not_found,),
    SIGN_IN: (sign_in("https://x"),),
}
# What each input makes of any status; None leaves it as it is.
INPUTS: dict[str, tuple[Step, NetworkStatus | None, str]] = {
    "answered": (answered, OK, ""),
    "pushed": (pushed, OK, ""),
    "pushed to another": (pushed_to_another, None, ""),
    "denied": (denied, DENIED, ""),
    "denied otherwise": (denied_otherwise, DENIED, ""),
    "not found": (not_found, MISSING, ""),
    "no controller": (no_controller, MISSING, ""),
    "not found otherwise": (not_found_otherwise, None, ""),
    "told by a stranger": (told_by_a_stranger, None, ""),
    "sign in elsewhere": (sign_in("https://y"), SIGN_IN, "https://y"),
    "sign in without address": (sign_in_without_address, SIGN_IN, ""),
    "sign in cut short": (sign_in_cut_short, None, ""),
    "certificate wanted": (certificate_wanted, None, ""),
    "time passes": (time_passes, None, ""),
}


def changes(host: Host) -> list[StatusChanged]:
    return [output for output in host.network.take_output() if isinstance(output, StatusChanged)]


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("before", REACHED)
def test_every_status_and_input(before: NetworkStatus, name: str) -> None:
    host = Host(START, ALICE)
    for step in REACHED[before]:
        step(host, START)
    host.network.take_output()
    assert host.network.status is before
    step, after, detail = INPUTS[name]
    step(host, START + MINUTE)
    if after is None:
        assert host.network.status is before
        assert changes(host) == []
    else:
        assert host.network.status is after
        # The same again is no news; another address to sign in is.
        is_news = after is not before or after is SIGN_IN
        assert changes(host) == ([StatusChanged(after, detail)] if is_news else [])


@pytest.mark.parametrize("refusal", [denied, not_found, sign_in("https://x")])
def test_a_refusal_takes_no_configuration_away_and_a_kept_copy_ends_none(refusal: Step) -> None:
    host = Host(START, ALICE)
    answered(host, START)
    held = host.network.config
    refusal(host, START + MINUTE)
    status = host.network.status
    host.network.take_output()
    pushed_copy(host, START + 2 * MINUTE)
    assert (host.network.config, host.network.status) == (held, status)
    assert changes(host) == []
    pushed(host, START + 2 * MINUTE)
    assert changes(host) == [StatusChanged(OK, "")]
    assert host.network.config != held


@pytest.mark.parametrize("refusal", [denied, not_found, sign_in("https://x")])
def test_asking_goes_on_whatever_the_answer(refusal: Step) -> None:
    """It is asked every 2 s for two minutes, then every 5 s, and once a minute when all is well."""
    host = Host(START, ALICE)
    asked = []
    now = START
    while now < START + EAGER_US + MINUTE:
        host.network.handle_timer(now)
        verbs = [o.verb for o in host.network.take_output() if isinstance(o, SendMessage)]
        if REQUEST in verbs:
            asked.append(now - START)
            refusal(host, now)
        at = host.network.next_timer()
        assert at is not None
        now = max(now, at)
    gaps = [after - before for before, after in pairwise(asked)]
    assert set(gaps[:2]) <= {1_000_000, REFUSED_RETRY_US}
    assert set(gaps[2:50]) == {REFUSED_RETRY_US}
    assert set(gaps[-8:]) == {RETRY_US}
    answered(host, now)
    host.network.take_output()
    while REQUEST not in [o.verb for o in host.network.take_output() if isinstance(o, SendMessage)]:
        at = host.network.next_timer()
        assert at is not None
        host.network.handle_timer(at)
        asked.append(at)
    assert asked[-1] == now + RENEW_US


def test_nothing_is_heard_after_leaving() -> None:
    host = Host(START, ALICE)
    host.network.leave()
    for step, _, _ in INPUTS.values():
        step(host, START + MINUTE)
        assert host.network.take_output() == []


def test_all_words_are_those_of_the_official_interface() -> None:
    """PORT_ERROR is a word for programs: a port that is none of the system's has no errors."""
    assert [status.value for status in NetworkStatus] == [
        "REQUESTING_CONFIGURATION",
        "OK",
        "ACCESS_DENIED",
        "NOT_FOUND",
        "AUTHENTICATION_REQUIRED",
        "PORT_ERROR",
    ]
