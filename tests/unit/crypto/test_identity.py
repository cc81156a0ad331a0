from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.strategies import identities
from tests.support.codec import (
    check_cuts_fail,
    check_fails_in_one_way,
    check_round_trip,
    encoded,
)
from tests.support.vectors import cases, load
from ztstack.base.address import Address
from ztstack.base.codec import Reader, Writer
from ztstack.base.errors import DecodeError, IdentityError, InvalidConfig
from ztstack.crypto.identity import Identity

VALID = [case for case in load("identity.json")["cases"] if case["kind"] == "valid"]
MINE, OTHER = (Identity.parse(case["secret"]) for case in VALID[:2])


class CountingEntropy:
    """The same bytes in every run."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._taken = 0

    def take(self, length: int) -> bytes:
        self._taken += 1
        return hashlib.shake_256(self._seed + bytes([self._taken])).digest(length)


def secret_bytes(identity: Identity) -> bytes:
    w = Writer()
    identity.encode_secret(w)
    return w.getvalue()


def check_parsed(identity: Identity, parsed: dict[str, Any]) -> None:
    assert str(identity.address) == parsed["address"]
    assert identity.public_key.hex() == parsed["public_key"]
    assert identity.has_private is parsed["has_private"]
    if identity.private_key is not None:
        assert identity.private_key.hex() == parsed["private_key"]


def check_validity(identity: Identity, *, valid: bool) -> None:
    if valid:
        identity.validate()
    else:
        with pytest.raises(IdentityError):
            identity.validate()


@pytest.mark.parametrize("case", cases("identity.json", "valid"))
def test_valid(case: dict[str, Any]) -> None:
    identity = Identity.parse(case["secret"])
    assert identity.address == Address.parse(case["address"])
    assert identity.public_key == bytes.fromhex(case["public_key"])
    assert identity.private_key == bytes.fromhex(case["private_key"])
    assert identity.secret_text() == case["secret"]
    assert identity.public_text() == case["public"]
    assert encoded(identity) == bytes.fromhex(case["binary_public"])
    assert secret_bytes(identity) == bytes.fromhex(case["binary_secret"])
    assert identity.key_hash == bytes.fromhex(case["public_key_hash_sha384"])
    identity.check_keys()
    check_validity(identity, valid=case["locally_validates"])


@pytest.mark.parametrize("case", cases("identity.json", "parse_string"))
def test_parse(case: dict[str, Any]) -> None:
    if not case["parse_ok"]:
        with pytest.raises(InvalidConfig):
            Identity.parse(case["input"])
        return
    identity = Identity.parse(case["input"])
    check_parsed(identity, case["parsed"])
    check_validity(identity, valid=case["locally_validates"])


@pytest.mark.parametrize("case", cases("identity.json", "parse_binary"))
def test_decode(case: dict[str, Any]) -> None:
    r = Reader(bytes.fromhex(case["input"]))
    if not case["parse_ok"]:
        with pytest.raises(DecodeError):
            Identity.decode(r)
        return
    identity = Identity.decode(r)
    assert r.offset == case["consumed"]
    check_parsed(identity, case["parsed"])
    check_validity(identity, valid=case["locally_validates"])


@pytest.mark.parametrize("space", ["\n", "\r\n", " ", "\t"])
def test_white_space_around_the_text_is_ignored(space: str) -> None:
    assert Identity.parse(space + MINE.secret_text() + space).private_key == MINE.private_key


@pytest.mark.parametrize(
    "text", [":" + MINE.public_text(), MINE.public_text() + ":", MINE.public_text() + "ab"]
)
def test_what_the_original_forgives_is_refused(text: str) -> None:
    with pytest.raises(InvalidConfig):
        Identity.parse(text)


def test_a_complaint_does_not_repeat_the_secret() -> None:
    text = MINE.secret_text()
    for broken in (text[:-1], text + "0", text[:-1] + "x", text + ":00"):
        with pytest.raises(InvalidConfig) as caught:
            Identity.parse(broken)
        assert text[-128:-100] not in str(caught.value)


@given(identities)
def test_round_trip(identity: Identity) -> None:
    check_round_trip(identity)
    assert Identity.parse(identity.public_text()) == identity


def test_cuts() -> None:
    check_cuts_fail(Identity, encoded(MINE))
    check_cuts_fail(Identity, secret_bytes(MINE))


@given(st.binary(max_size=200))
def test_noise(noise: bytes) -> None:
    check_fails_in_one_way(Identity, noise)


@given(st.text(alphabet="0123456789abcdef:", max_size=300))
def test_noise_as_text(text: str) -> None:
    try:
        identity = Identity.parse(text)
    except InvalidConfig:
        return
    assert Identity.parse(identity.public_text()) == identity


def test_the_private_key_stays_inside() -> None:
    assert MINE.private_key is not None
    for shown in (repr(MINE), str(MINE), MINE.public_text(), encoded(MINE).hex()):
        assert MINE.private_key.hex() not in shown
    assert repr(MINE.private_key) not in repr(MINE)


def test_the_public_identity() -> None:
    public = MINE.public
    assert not public.has_private
    assert public.public is public
    assert public == MINE
    assert hash(public) == hash(MINE)
    assert public != OTHER
    with pytest.raises(IdentityError):
        public.sign(b"message")
    with pytest.raises(IdentityError):
        public.agree(OTHER)
    with pytest.raises(IdentityError):
        public.secret_text()
    with pytest.raises(IdentityError):
        public.encode_secret(Writer())
    public.check_keys()


@pytest.mark.parametrize("half", [0, 32])
def test_a_private_key_that_does_not_fit(half: int) -> None:
    assert MINE.private_key is not None
    private_key = bytearray(MINE.private_key)
    private_key[half + 8] ^= 1
    with pytest.raises(IdentityError):
        Identity(MINE.address, MINE.public_key, bytes(private_key)).check_keys()


@pytest.mark.parametrize("lengths", [(63, 64), (65, 64), (64, 32), (64, 0)])
def test_keys_of_another_length_make_no_identity(lengths: tuple[int, int]) -> None:
    with pytest.raises(InvalidConfig):
        Identity(MINE.address, bytes(lengths[0]), bytes(lengths[1]))


def test_a_reserved_address_is_never_valid() -> None:
    with pytest.raises(IdentityError, match="reserved"):
        Identity(Address(0), MINE.public_key).validate()


def test_generate() -> None:
    attempts: list[int] = []
    # With these bytes the second attempt succeeds.
    identity = Identity.generate(CountingEntropy(b"\0"), attempts.append)
    assert attempts == [1, 2]
    identity.check_keys()
    identity.validate()
    assert Identity.parse(identity.secret_text()).private_key == identity.private_key
    assert MINE.agree(identity) == identity.agree(MINE)
    again = Identity.generate(CountingEntropy(b"\0"))
    assert again.private_key == identity.private_key
