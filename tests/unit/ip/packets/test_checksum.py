"""The Internet checksum: RFC 1071's example, its laws, and rows of a burst against one by one."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st

from ztstack.ip.packets.checksum import checksum, pseudo_header, slot_sums, word_sum

RFC_1071 = bytes.fromhex("0001f203f4f5f6f7")


def plain_sum(data: bytes) -> int:
    """Return the folded sum word by word, as RFC 1071 section 4.1 has it."""
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_the_example_of_rfc_1071() -> None:
    assert word_sum(RFC_1071) == 0xDDF2
    assert checksum(RFC_1071) == 0xFFFF - 0xDDF2


def test_nothing_but_zeros() -> None:
    assert word_sum(bytes(6)) == 0
    assert checksum(bytes(6)) == 0xFFFF


@given(st.binary(max_size=99))
def test_as_word_by_word(data: bytes) -> None:
    assert word_sum(data) == plain_sum(data) % 0xFFFF
    assert checksum(data) == 0xFFFF - plain_sum(data)
    assert checksum(memoryview(data)) == checksum(data)


@given(st.binary(min_size=2, max_size=64).filter(lambda data: len(data) % 2 == 0 and any(data)))
def test_what_holds_its_checksum_sums_to_zero(data: bytes) -> None:
    assert checksum(data + checksum(data).to_bytes(2, "big")) == 0


def test_pseudo_headers() -> None:
    a4, b4 = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
    assert pseudo_header(a4, b4, 6, 0x1234) == a4 + b4 + bytes.fromhex("00061234")
    a6, b6 = bytes(15) + b"\1", bytes(15) + b"\2"
    assert pseudo_header(a6, b6, 17, 0x1234) == a6 + b6 + bytes.fromhex("0000123400000011")


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=9), st.sampled_from([0, 4, 28]))
def test_rows_as_one_by_one(rows: list[bytes], skip: int) -> None:
    stride = 28 + 40
    arena = b"".join((bytes(range(1, skip + 1)) + row).ljust(stride, b"\0") for row in rows)
    assert slot_sums(arena, stride, skip) == [word_sum(row) for row in rows]
