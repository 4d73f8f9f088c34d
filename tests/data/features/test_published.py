"""Oracle: rows of the table of published packs, written out by hand, and frame rates of the corpora's videos."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from cpnet.data.features.published import resembles

DATASETS = {
    "charades": ("charades_sta", "charades_sta_c3d"),
    "activitynet": ("activitynet_captions",),
    "tacos": ("tacos", "tacos_2dtan"),
}
ALL = sum(DATASETS.values(), ())


class Row(NamedTuple):
    """A row of the table; no rates if they are unknown."""

    corpus: str
    name: str
    layout: str
    dim: int
    rates: tuple[float, ...]
    key: str | None = None

    def datasets(self) -> tuple[str, ...]:
        return DATASETS.get(self.corpus, ALL)


# Videos of ActivityNet and Charades mostly have 24 to 30 frames a second, of TACoS 29.4.
C3D, WINDOWS = "sub_activitynet_v1-3.c3d.hdf5 or its videos as .npy", "tall_c3d_features.hdf5 or TALL's windows"
TABLE = [
    Row("activitynet", C3D, "hdf5_group", 500, (24 / 8, 25 / 8, 30 / 8), "c3d_features"),
    Row("activitynet", C3D, "hdf5_group", 500, (30 / 8,), "c3d-features"),
    Row("activitynet", C3D, "npy", 500, (30 / 8,)),
    Row("charades", "i3d_finetuned", "npy", 1024, (24 / 8, 30 / 8, 24 / 4, 30 / 4)),
    Row("charades", "charades_i3d_rgb.hdf5", "hdf5_group", 1024, (), "i3d_rgb_features"),
    Row("charades", "kinetics/rgb + kinetics/flow", "npy + npy", 1024 + 1024, (24 / 4, 30 / 4)),
    Row("charades", "C3D_unit16_overlap0.5_merged", "pt", 4096, (24 / 8, 30 / 8)),
    Row("tacos", WINDOWS, "hdf5_flat", 4096, (29.4 / 12,)),
    Row("tacos", WINDOWS, "windows", 4096, (29.4 / 12,)),
    Row("any", "SlowFast + CLIP", "npz, normalised + npz, normalised", 2304 + 512, (1.0, 0.5)),
]
each_row = pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.name} {row.layout} {row.key}")


def found(row: Row, **changes: object) -> tuple[list[str], list[str]]:
    """Return what is found for a row: its agreeing names, and its lines of differences."""
    facts: dict[str, object] = {"dataset": row.datasets()[0], "layout": row.layout, "key": row.key, "dim": row.dim}
    rate = row.rates[0] if row.rates else None
    lists = resembles(**facts | {"rate": rate} | changes)  # type: ignore[arg-type]
    agreeing, differing = ([line for line in lines if line.startswith(row.name)] for lines in lists)
    return agreeing, differing


@each_row
def test_row_of_the_table_is_recognised(row: Row) -> None:
    for dataset in row.datasets():
        for rate in (*(row.rates or (0.5, 25.0)), None):
            agreeing, differing = found(row, dataset=dataset, rate=rate)
            assert (len(agreeing), differing) == (1, [])


@each_row
def test_pack_of_another_width_or_corpus_is_not_mentioned(row: Row) -> None:
    for dim in (row.dim - 1, row.dim + 1):
        assert found(row, dim=dim) == ([], [])
    for dataset in [*ALL, "synthetic", "my_corpus"] if row.corpus != "any" else ():
        if dataset not in row.datasets():
            assert found(row, dataset=dataset) == ([], [])


@each_row
def test_difference_in_rate_layout_or_key_is_described(row: Row) -> None:
    for rate in (min(row.rates) / 4, 3 * max(row.rates)) if row.rates else ():
        agreeing, (line,) = found(row, rate=rate)
        least, _, most = line.partition(f", but: {rate:.2f} rows per second, not ")[2].partition(" to ")
        assert agreeing == []
        assert float(least) <= min(row.rates) <= max(row.rates) <= float(most)
    agreeing, (line,) = found(row, layout="packed")
    assert agreeing == []
    assert ", but: layout packed, not " in line
    assert row.layout in line
    if row.key:
        agreeing, (line,) = found(row, key="features")
        assert agreeing == []
        assert ", but: key features, not " in line
        assert row.key in line
