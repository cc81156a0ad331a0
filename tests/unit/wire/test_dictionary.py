from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.strategies import dictionary_keys, dictionary_pairs
from tests.support.vectors import cases
from ztstack.base.address import Address
from ztstack.base.errors import InvalidConfig
from ztstack.wire.dictionary import Dictionary


def check_lookups(dictionary: Dictionary, lookups: list[dict[str, Any]]) -> None:
    for lookup in lookups:
        key, value = lookup["key"], lookup["value"]
        assert dictionary.get(key) == (None if value is None else bytes.fromhex(value))
        assert (key in dictionary) is lookup["contains"]
        assert dictionary.get_bool(key) is lookup["as_bool"]
        assert dictionary.get_bool(key, default=True) is lookup["as_bool_default_true"]
        if lookup["as_uint"] is not None:
            assert dictionary.get_uint(key, 0xDEAD) == int(lookup["as_uint"], 16)
        if lookup["as_int"] is not None:
            assert dictionary.get_int(key, -7) == lookup["as_int"]


def written(entry: dict[str, Any]) -> bytes:
    one, value = Dictionary(), entry["value"]
    match entry["type"]:
        case "bytes":
            one.set("k", bytes.fromhex(value))
        case "uint" | "int":
            one.set_uint("k", value)
        case "bool":
            one.set_bool("k", value)
        case "address":  # the general form; configurations have ten digits
            one.set_uint("k", Address.parse(value))
        case other:
            pytest.fail(f"an entry of type {other}")
    data = one.get("k")
    assert data is not None
    return data


@pytest.mark.parametrize("case", cases("dictionary.json", "encode"))
def test_encode(case: dict[str, Any]) -> None:
    dictionary = Dictionary((entry["key"], written(entry)) for entry in case["entries"])
    assert dictionary.encode() == bytes.fromhex(case["text"])
    check_lookups(dictionary, case["lookups"])
    check_lookups(Dictionary.parse(dictionary.encode()), case["lookups"])


@pytest.mark.parametrize("case", cases("dictionary.json", "decode"))
def test_decode(case: dict[str, Any]) -> None:
    check_lookups(Dictionary.parse(bytes.fromhex(case["text"])), case["lookups"])


@given(dictionary_pairs)
def test_parse_after_encode(pairs: list[tuple[str, bytes]]) -> None:
    assert Dictionary.parse(Dictionary(pairs).encode()) == Dictionary(pairs)


@given(st.binary(max_size=200))
def test_noise_is_read_and_written_again(noise: bytes) -> None:
    first = Dictionary.parse(noise)
    for key, _ in first.pairs():
        first.get_uint(key)
        first.get_int(key)
        first.get_text(key, 20)
        first.get_address(key)
    assert Dictionary.parse(first.encode()) == first


@given(dictionary_keys, st.integers(0, (1 << 64) - 1))
def test_uint_both_ways(key: str, value: int) -> None:
    dictionary = Dictionary()
    dictionary.set_uint(key, value)
    assert dictionary.get_uint(key) == value


def test_set_keeps_the_place() -> None:
    dictionary = Dictionary([("a", b"1"), ("b", b"2")])
    dictionary.set("a", b"3")
    dictionary.set_address("b", Address(0x12))
    assert dictionary.encode() == b"a=3\nb=0000000012"
    assert len(dictionary) == 2


def test_text_is_cut_and_repaired() -> None:
    dictionary = Dictionary([("n", "né".encode())])
    assert dictionary.get_text("n", 127) == "né"
    assert dictionary.get_text("n", 2) == "n\ufffd"
    assert dictionary.get_text("m", 2, "default") == "default"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"-1", (1 << 64) - 1),
        (b"0xff", 255),
        (b"0x", 0),
        (b"--1", 0),
        (b"f" * 10_000, (1 << 64) - 1),
    ],
)
def test_numbers_as_c_reads_them(text: bytes, value: int) -> None:
    assert Dictionary([("a", text)]).get_uint("a", 7) == value


@pytest.mark.parametrize("key", ["a=b", "a\nb", "a\rb", "a\0b", "ä"])
def test_bad_keys(key: str) -> None:
    with pytest.raises(InvalidConfig):
        Dictionary().set(key, b"")
