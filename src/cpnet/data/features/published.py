"""Feature packs that have been published, to tell which one somebody has."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PublishedPack:
    """What is known of a pack; the rates follow from frames a row and the frame rates of the corpus.

    Attributes:
        name: the pack, as its publishers call it, and what it holds
        corpus: with what the names of the datasets of its videos begin
        layouts: in which it is found
        keys: names of the inner dataset, for groups
        dim: width V
        rate: rows a second, from least to most; None where it is not known
    """

    name: str
    corpus: str
    layouts: tuple[str, ...]
    dim: int
    rate: tuple[float, float] | None = None
    keys: tuple[str, ...] = ()


# Names of datasets begin so.
CHARADES, ACTIVITYNET, TACOS, ANY = "charades_sta", "activitynet", "tacos", ""
PUBLISHED = (
    PublishedPack(
        name="sub_activitynet_v1-3.c3d.hdf5 or its videos as .npy: C3D, PCA to 500, 16 frames at stride 8",
        corpus=ACTIVITYNET,
        layouts=("hdf5_group", "npy"),
        keys=("c3d_features", "c3d-features"),
        dim=500,
        rate=(1.8, 4.0),
    ),
    PublishedPack(
        name="activitynet_c3d_fc6_stride_1s.hdf5: C3D fc6 every second",
        corpus=ACTIVITYNET,
        layouts=("hdf5_group",),
        keys=("c3d_fc6_features",),
        dim=4096,
        rate=(0.9, 1.1),
    ),
    PublishedPack(
        name="i3d_finetuned: I3D fine-tuned on Charades, a row for 4 to 8 frames",
        corpus=CHARADES,
        layouts=("npy",),
        dim=1024,
        rate=(2.8, 7.6),
    ),
    PublishedPack(
        name="i3d_features.hdf5 or charades_i3d_rgb_25fps.hdf5: I3D RGB",
        corpus=CHARADES,
        layouts=("hdf5_flat",),
        dim=1024,
    ),
    PublishedPack(
        name="charades_i3d_rgb.hdf5: I3D RGB",
        corpus=CHARADES,
        layouts=("hdf5_group",),
        keys=("i3d_rgb_features",),
        dim=1024,
    ),
    PublishedPack(
        name="kinetics/rgb or kinetics/flow: one stream of I3D at stride 4",
        corpus=CHARADES,
        layouts=("npy",),
        dim=1024,
        rate=(5.7, 7.6),
    ),
    PublishedPack(
        name="kinetics/rgb + kinetics/flow: two-stream I3D at stride 4",
        corpus=CHARADES,
        layouts=("npy + npy",),
        dim=2048,
        rate=(5.7, 7.6),
    ),
    PublishedPack(
        name="charades_c3d_fc6_nonoverlap.hdf5: C3D fc6, 16 frames",
        corpus=CHARADES,
        layouts=("hdf5_flat",),
        dim=4096,
        rate=(1.4, 1.95),
    ),
    PublishedPack(
        name="C3D_unit16_overlap0.5_merged: C3D fc6, 16 frames at stride 8",
        corpus=CHARADES,
        layouts=("pt",),
        dim=4096,
        rate=(2.8, 3.9),
    ),
    PublishedPack(
        name="vgg_rgb_features.hdf5: VGG fc7 every 1/6 s",
        corpus=CHARADES,
        layouts=("hdf5_flat",),
        dim=4096,
        rate=(5.5, 6.5),
    ),
    PublishedPack(
        name="tall_c3d_features.hdf5 or TALL's windows: C3D fc6, 64 frames at stride 12",
        corpus=TACOS,
        layouts=("hdf5_flat", "windows"),
        dim=4096,
        rate=(2.2, 2.6),
    ),
    PublishedPack(
        name="tacos_c3d_fc6_nonoverlap.hdf5: C3D fc6, 16 frames",
        corpus=TACOS,
        layouts=("hdf5_group",),
        keys=("c3d_fc6_features",),
        dim=4096,
        rate=(1.7, 1.95),
    ),
    PublishedPack(
        name="SlowFast + CLIP, L2-normalised each, every 1 or 2 s",
        corpus=ANY,
        layouts=("npz, normalised + npz, normalised",),
        dim=2816,
        rate=(0.45, 1.1),
    ),
)


def resembles(
    *, dataset: str, layout: str, key: str | None, dim: int, rate: float | None
) -> tuple[list[PublishedPack], list[str]]:
    """Find the published packs that something looks like, and say what speaks against those that come close.

    Width and corpus must agree. Layout, key and rate are compared; a pack may have been converted.

    Args:
        dataset: name of the dataset whose videos it holds
        layout: its layout
        key: name of its inner dataset
        dim: its width
        rate: its rows a second, where durations are known

    Returns:
        those that agree in all, and a line for each that differs
    """
    agreeing, differing = [], []
    for pack in PUBLISHED:
        if pack.dim != dim or not dataset.startswith(pack.corpus):
            continue
        differences = []
        if layout not in pack.layouts:
            differences.append(f"layout {layout}, not {' or '.join(pack.layouts)}")
        if layout in pack.layouts and pack.keys and layout == "hdf5_group" and key not in pack.keys:
            differences.append(f"key {key}, not {' or '.join(pack.keys)}")
        if rate is not None and pack.rate and not pack.rate[0] <= rate <= pack.rate[1]:
            differences.append(f"{rate:.2f} rows a second, not {pack.rate[0]:g} to {pack.rate[1]:g}")
        if differences:
            differing.append(f"{pack.name}, but: {'; '.join(differences)}")
        else:
            agreeing.append(pack)
    return agreeing, differing
