"""A session's key: one spelling, one owner, and nothing else opens anything."""

from __future__ import annotations

import hmac
import string
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolltrace_store.session_key import PREFIX, session_key, session_of_key

SECRET = bytes(range(32))
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def test_its_form() -> None:
    tag = hmac.digest(SECRET, b"harbor/hello-world:0", "sha256")[:24]
    key = session_key(SECRET, "harbor/hello-world:0")
    assert key == f"rt-{b64(b'harbor/hello-world:0')}.{b64(tag)}"


@given(IDS)
def test_a_key_names_its_session_and_has_one_spelling(session_id: str) -> None:
    key = session_key(SECRET, session_id)
    assert set(key) <= set(string.ascii_letters + string.digits + "-_.")
    assert session_of_key(SECRET, key) == session_id
    assert session_of_key(bytes(32), key) is None
    name, _, tag = key.removeprefix(PREFIX).partition(".")
    for other in (
        f"{PREFIX}{name}=.{tag}",
        f"{PREFIX}{name}.{tag}=",
        f"{PREFIX}{name}\n.{tag}",
        f"{PREFIX}{name}!.{tag}",
        f"{PREFIX}{name}.{tag[:-1]}",
        f"{PREFIX}{name}.{tag}.",
        f"{PREFIX}{name}..{tag}",
        f"RT-{name}.{tag}",
        f" {key}",
        f"{key} ",
    ):
        assert session_of_key(SECRET, other) is None, other


def test_bits_that_decode_to_nothing_are_not_a_second_spelling() -> None:
    key = session_key(SECRET, "a")  # "YQ": the last four bits of Q are beyond the byte
    assert key.startswith("rt-YQ.")
    assert session_of_key(SECRET, key.replace("rt-YQ.", "rt-YR.")) is None


@given(IDS, st.data())
def test_a_changed_character_is_nobodys(session_id: str, data: st.DataObject) -> None:
    key = session_key(SECRET, session_id)
    place = data.draw(st.integers(len(PREFIX), len(key) - 1))
    char = data.draw(st.sampled_from(string.ascii_letters + string.digits + "-_."))
    changed = key[:place] + char + key[place + 1 :]
    assert session_of_key(SECRET, changed) == (session_id if changed == key else None)


@pytest.mark.parametrize(
    "key", ["", "rt-", "rt-.", "rt-YQ", "rt-YQ.", "rt-_w.AA", "rt-é.é", "sk-1", "rt-\udcff"]
)
def test_what_is_no_key(key: str) -> None:
    assert session_of_key(SECRET, key) is None


def test_the_key_of_no_session_is_nobodys() -> None:
    tag = hmac.digest(SECRET, b"", "sha256")[:24]
    assert session_of_key(SECRET, f"rt-.{b64(tag)}") is None


def test_a_secret_that_is_not_one_makes_no_key() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        session_key(b"", "s")
