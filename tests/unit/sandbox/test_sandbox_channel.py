"""Channel encryption, compared with that of the steam package."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steam.core import crypto

from sandbox.network.channel import Channel, ChannelError

KEY = bytes(range(32))


@given(st.binary(max_size=200))
def test_both_implementations_decrypt_each_others_messages(plain: bytes) -> None:
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


def test_a_wrong_hmac_with_valid_padding_is_detected() -> None:
    channel = Channel(KEY)
    # Another HMAC key gives valid padding around the right text, with a wrong IV.
    forged = crypto.symmetric_encrypt_HMAC(b"hello", KEY, b"another key here")
    with pytest.raises(ChannelError, match="HMAC"):
        channel.decrypt(forged)


@pytest.mark.parametrize("data", [b"", bytes(16), bytes(33)])
def test_data_of_incomplete_blocks_is_refused(data: bytes) -> None:
    with pytest.raises(ChannelError):
        Channel(KEY).decrypt(data)
