"""Sizes, durations and URLs: every form a person may write, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolltrace_settings.kinds import read_count, read_duration, read_size, read_url, show_duration, show_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("65536", 65536),
        ("64KiB", 64 << 10),
        ("64MiB", 64 << 20),
        ("64 mib", 64 << 20),
        ("1GB", 10**9),
        ("1.5GiB", 3 << 29),
        ("2TiB", 2 << 40),
    ],
)
def test_size_forms(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "64XB", "-1", "1e6", "0.5", "1.0000001KiB", "64M", "٣"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a"):
        read_size(text)


@given(st.integers(min_value=0, max_value=1 << 50))
def test_a_size_is_read_as_it_is_shown(size: int) -> None:
    assert read_size(show_size(size)) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30), ("30s", 30), ("5m", 300), ("1h", 3600), ("250ms", 0.25), ("1.5", 1.5)]
)
def test_duration_forms(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "5 days", "-1", "nan", "inf", "1e3", "9" * 400])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        read_duration(text)


@given(st.integers(min_value=0, max_value=10**9).map(lambda tenths: tenths / 10))
def test_a_duration_is_read_as_it_is_shown(seconds: float) -> None:
    assert read_duration(show_duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["1.5", "x", "", "1_000", "٣"])
def test_what_is_no_count(text: str) -> None:
    with pytest.raises(ValueError, match="is not a whole number"):
        read_count(text)


@pytest.mark.parametrize(
    "text", ["localhost:8000", "ftp://a", "http://", "http://a:0", "http://a:99999", "http://[::1"]
)
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(ValueError, match="is not a URL"):
        read_url(text)


def test_a_url_loses_its_last_slash() -> None:
    assert read_url("http://a:1/x/") == "http://a:1/x"
