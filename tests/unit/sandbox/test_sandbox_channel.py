"""The channel's encryption, checked against the steam package's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steam.core import crypto

from sandbox.network.channel import Channel, ChannelError

KEY = bytes(range(32))


@given(st.binary(max_size=200))
def test_both_readings_of_the_protocol_understand_each_other(plain: bytes) -> None:
    channel = Channel(KEY)
    assert bytes(crypto.symmetric_decrypt_HMAC(channel.encrypt(plain), KEY, KEY[:16])) == plain
    assert channel.decrypt(crypto.symmetric_encrypt_HMAC(plain, KEY, KEY[:16])) == plain


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_single_wrong_bit_is_noticed(plain: bytes, data: st.DataObject) -> None:
    channel = Channel(KEY)
    sealed = bytearray(channel.encrypt(plain))
    position = data.draw(st.integers(0, len(sealed) - 1))
    sealed[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ChannelError):
        channel.decrypt(bytes(sealed))


def test_the_hmac_covers_what_padding_cannot() -> None:
    channel = Channel(KEY)
    # Another HMAC key gives good padding around the right text, under the wrong IV.
    forged = crypto.symmetric_encrypt_HMAC(b"hello", KEY, b"another key here")
    with pytest.raises(ChannelError, match="HMAC"):
        channel.decrypt(forged)


@pytest.mark.parametrize("data", [b"", bytes(16), bytes(33)])
def test_what_is_not_whole_blocks_is_refused(data: bytes) -> None:
    with pytest.raises(ChannelError):
        Channel(KEY).decrypt(data)
