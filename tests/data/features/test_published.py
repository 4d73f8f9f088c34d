"""Oracle: the table of published packs, written out by hand, and frame rates of the corpora's videos."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from cpnet.data.features.published import PUBLISHED, resembles

DATASETS = {
    "charades": ("charades_sta", "charades_sta_c3d"),
    "activitynet": ("activitynet_captions",),
    "tacos": ("tacos", "tacos_2dtan"),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table; several rates where several fit, none where the table has none."""

    corpus: str
    name: str
    layout: str
    dim: int
    rates: tuple[float, ...]
    key: str | None = None

    def datasets(self) -> tuple[str, ...]:
        return DATASETS[self.corpus] if self.corpus != "any" else sum(DATASETS.values(), ())


TWO_UNITS = "npz, normalised + npz, normalised"
C3D, FC6, I3D = "c3d_features", "c3d_fc6_features", "i3d_rgb_features"
# Videos of ActivityNet mostly have 24 to 30 frames a second, of Charades likewise, of TACoS 29.4.
TABLE = [
    Row(
        corpus="activitynet",
        name="sub_activitynet_v1-3.c3d.hdf5",
        layout="hdf5_group",
        key=C3D,
        dim=500,
        rates=(24 / 8, 25 / 8, 30 / 8),
    ),
    Row(
        corpus="activitynet",
        name="sub_activitynet_v1-3.c3d.hdf5",
        layout="hdf5_group",
        key="c3d-features",
        dim=500,
        rates=(30 / 8,),
    ),
    Row(
        corpus="activitynet",
        name="sub_activitynet_v1-3.c3d.hdf5 or its videos as .npy",
        layout="npy",
        dim=500,
        rates=(30 / 8,),
    ),
    Row(
        corpus="activitynet",
        name="activitynet_c3d_fc6_stride_1s.hdf5",
        layout="hdf5_group",
        key=FC6,
        dim=4096,
        rates=(1.0, 0.98),
    ),
    Row(corpus="charades", name="i3d_finetuned", layout="npy", dim=1024, rates=(24 / 8, 30 / 8, 24 / 4, 30 / 4)),
    Row(corpus="charades", name="i3d_features.hdf5", layout="hdf5_flat", dim=1024, rates=()),
    Row(corpus="charades", name="charades_i3d_rgb_25fps.hdf5", layout="hdf5_flat", dim=1024, rates=()),
    Row(corpus="charades", name="charades_i3d_rgb.hdf5", layout="hdf5_group", key=I3D, dim=1024, rates=()),
    Row(
        corpus="charades",
        name="kinetics/rgb + kinetics/flow",
        layout="npy + npy",
        dim=1024 + 1024,
        rates=(24 / 4, 30 / 4),
    ),
    Row(corpus="charades", name="kinetics/rgb or kinetics/flow", layout="npy", dim=1024, rates=(24 / 4, 30 / 4)),
    Row(
        corpus="charades",
        name="charades_c3d_fc6_nonoverlap.hdf5",
        layout="hdf5_flat",
        dim=4096,
        rates=(24 / 16, 30 / 16),
    ),
    Row(corpus="charades", name="C3D_unit16_overlap0.5_merged", layout="pt", dim=4096, rates=(24 / 8, 30 / 8)),
    Row(corpus="charades", name="vgg_rgb_features.hdf5", layout="hdf5_flat", dim=4096, rates=(6.0,)),
    Row(corpus="tacos", name="tall_c3d_features.hdf5", layout="hdf5_flat", dim=4096, rates=(29.4 / 12,)),
    Row(
        corpus="tacos", name="tall_c3d_features.hdf5 or TALL's windows", layout="windows", dim=4096, rates=(29.4 / 12,)
    ),
    Row(
        corpus="tacos",
        name="tacos_c3d_fc6_nonoverlap.hdf5",
        layout="hdf5_group",
        key=FC6,
        dim=4096,
        rates=(29.4 / 16,),
    ),
    Row(corpus="any", name="SlowFast + CLIP", layout=TWO_UNITS, dim=2304 + 512, rates=(1.0, 0.5)),
]
each_row = pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.name} {row.layout} {row.key}")
RATED = [row for row in TABLE if row.rates]


def found(row: Row, **changes: object) -> tuple[list[str], list[str]]:
    """Names of what agrees, and the lines of what comes close."""
    facts: dict[str, object] = {
        "dataset": row.datasets()[0],
        "layout": row.layout,
        "key": row.key,
        "dim": row.dim,
        "rate": row.rates[0] if row.rates else None,
    }
    agreeing, differing = resembles(**facts | changes)  # type: ignore[arg-type]
    return [pack.name for pack in agreeing], differing


def named(row: Row, lines: list[str]) -> list[str]:
    return [line for line in lines if row.name in line]


@each_row
def test_every_row_of_the_table_is_recognised(row: Row) -> None:
    for dataset in row.datasets():
        for rate in row.rates or (0.5, 4.0, 25.0):
            agreeing, differing = found(row, dataset=dataset, rate=rate)
            assert len(named(row, agreeing)) == 1
            assert named(row, differing) == []


def test_nothing_is_recognised_that_the_table_lacks() -> None:
    assert {pack.name for pack in PUBLISHED} == {
        pack.name for pack in PUBLISHED for row in TABLE if row.name in pack.name
    }


@each_row
def test_another_width_is_another_pack(row: Row) -> None:
    for dim in (row.dim - 1, row.dim + 1, 2 * row.dim + 1):
        assert found(row, dim=dim) == ([], [])


@pytest.mark.parametrize("row", RATED, ids=lambda row: f"{row.name} {row.layout} {row.key}")
def test_another_rate_comes_close_and_is_told(row: Row) -> None:
    for rate in (min(row.rates) / 4, 3 * max(row.rates)):
        agreeing, differing = found(row, rate=rate)
        assert named(row, agreeing) == []
        (line,) = named(row, differing)
        told, _, wanted = line.partition(f", but: {rate:.2f} rows a second, not ")[2].partition(" to ")
        assert float(told) <= min(row.rates) <= max(row.rates) <= float(wanted)


@each_row
def test_a_rate_that_is_not_known_is_not_held_against_it(row: Row) -> None:
    assert len(named(row, found(row, rate=None)[0])) == 1


@each_row
def test_corpora_do_not_mix(row: Row) -> None:
    others = [name for names in DATASETS.values() for name in names if name not in row.datasets()]
    for dataset in [*others, "synthetic", "my_corpus"] if row.corpus != "any" else ():
        agreeing, differing = found(row, dataset=dataset)
        assert named(row, agreeing + differing) == []


@each_row
def test_another_layout_or_key_comes_close_and_is_told(row: Row) -> None:
    for layout in ("packed", "npz"):
        agreeing, differing = found(row, layout=layout)
        assert agreeing == []
        (line,) = named(row, differing)
        assert f", but: layout {layout}, not " in line
        assert row.layout in line
    if row.key:
        (line,) = named(row, found(row, key="features")[1])
        assert ", but: key features, not " in line
        assert row.key in line
        assert named(row, found(row, key="features")[0]) == []


def test_what_differs_is_told_at_once() -> None:
    agreeing, differing = resembles(dataset="tacos", layout="hdf5_group", key="fc6", dim=4096, rate=10.0)
    assert agreeing == []
    assert [line.partition(", but: ")[2] for line in differing] == [
        "layout hdf5_group, not hdf5_flat or windows; 10.00 rows a second, not 2.2 to 2.6",
        "key fc6, not c3d_fc6_features; 10.00 rows a second, not 1.7 to 1.95",
    ]
