"""Oracle: spellings found in annotation files and feature packs, with the id that they mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpnet.data.identity import normalise_id


@pytest.mark.parametrize(
    ("spelt", "meant"),
    [
        ("00607", "00607"),
        ("3MSZA", "3MSZA"),
        ("3MSZA.mp4", "3MSZA"),
        ("s30-d52.avi", "s30-d52"),
        ("s30-d52", "s30-d52"),
        ("s30-d52-cam-002", "s30-d52"),
        ("s30-d52-cam-002.avi", "s30-d52"),
        ("v_QOlSCBRmfWY", "QOlSCBRmfWY"),
        ("v_QOlSCBRmfWY.mkv", "QOlSCBRmfWY"),
        ("QOlSCBRmfWY", "QOlSCBRmfWY"),
        ("v_0bosp4-pyTM.WEBM", "0bosp4-pyTM"),
        ("v_123456789", "v_123456789"),
        ("v_v_123456789", "v_123456789"),
        ("v_1234567890", "v_1234567890"),
        ("v_123456789012", "v_123456789012"),
        ("clip.1080p", "clip.1080p"),
        ("abc-cam-002", "abc-cam-002"),
        (".avi", ".avi"),
        ("", ""),
    ],
)
def test_spellings(spelt: str, meant: str) -> None:
    assert normalise_id(spelt) == meant


@given(
    st.sampled_from(["", "v_", "v_v_"]), st.text("av_-.0", max_size=13), st.sampled_from(["", "-cam-002", ".avi.mp4"])
)
def test_a_normalised_id_stays(prefix: str, name: str, suffix: str) -> None:
    once = normalise_id(prefix + name + suffix)
    assert normalise_id(once) == once
