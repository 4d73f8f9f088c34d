"""Oracle: spellings found in annotation files and feature packs, with their id."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpnet.data.moment import normalise_id


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("00607", "00607"),
        ("3MSZA.mp4", "3MSZA"),
        ("s30-d52.avi", "s30-d52"),
        ("s30-d52-cam-002", "s30-d52"),
        ("s30-d52-cam-002.avi", "s30-d52"),
        ("v_QOlSCBRmfWY", "QOlSCBRmfWY"),
        ("QOlSCBRmfWY", "QOlSCBRmfWY"),
        ("v_0bosp4-pyTM.WEBM", "0bosp4-pyTM"),
        *((f"a.{suffix}", "a") for suffix in ("3gp", "MOV", "wmv", "mpg", "mpeg", "m4v", "flv", "ts", "ogv")),
        ("v_123456789", "v_123456789"),
        ("v_v_123456789", "v_123456789"),
        ("v_123456789012", "v_123456789012"),
        (" s30-d52.avi ", "s30-d52"),
        ("v_QOlSCBRmfWY .mp4", "QOlSCBRmfWY"),
        ("clip.1080p", "clip.1080p"),
        (".avi", ".avi"),
        ("", ""),
    ],
)
def test_spellings(spelling: str, expected: str) -> None:
    assert normalise_id(spelling) == expected


@given(
    st.sampled_from(["", "v_", "v_v_"]), st.text("av_-.0", max_size=13), st.sampled_from(["", "-cam-002", ".avi.mp4"])
)
def test_normalising_twice_changes_nothing(prefix: str, name: str, suffix: str) -> None:
    once = normalise_id(prefix + name + suffix)
    assert normalise_id(once) == once
