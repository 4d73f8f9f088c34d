from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from cpnet.data.features import Hdf5Features
from cpnet.data.moment import DataError

ROWS: NDArray[Any] = np.arange(12, dtype="f4").reshape(4, 3)


def write(folder: Path, **entries: NDArray[Any]) -> Path:
    with h5py.File(folder / "pack.hdf5", "w") as file:
        for name, array in entries.items():
            file[name.replace("__", "/")] = array
    return folder / "pack.hdf5"


def test_nothing_is_open_before_the_first_read(tmp_path: Path) -> None:
    path = write(tmp_path, a=ROWS)
    source = Hdf5Features(path=path)
    with h5py.File(path, "a") as file:  # refused while a reader has the file open in this process
        file["b"] = ROWS
    np.testing.assert_array_equal(source.rows("a"), ROWS)


@pytest.mark.parametrize("layout", ["hdf5", "hdf5_group"])
def test_the_key_chooses_among_inner_datasets(tmp_path: Path, layout: Any) -> None:
    path = write(tmp_path, a__c3d=ROWS, a__i3d=ROWS + 1, b__i3d=ROWS + 2)
    source = Hdf5Features(path=path, layout=layout, key="i3d")
    np.testing.assert_array_equal(source.rows("a"), ROWS + 1)
    np.testing.assert_array_equal(source.rows("b"), ROWS + 2)
    with pytest.raises(DataError, match=r"group 'a' holds 'c3d', 'i3d', not one dataset; set dataset\.features\.key"):
        Hdf5Features(path=path)
    with pytest.raises(DataError, match=r"group 'a' holds 'c3d', 'i3d', not 'c3d-features'"):
        Hdf5Features(path=path, key="c3d-features")


def test_a_key_does_not_walk_out_of_its_group(tmp_path: Path) -> None:
    path = write(tmp_path, a__c3d=ROWS, b__c3d=ROWS)
    for key in ("/b/c3d", "../b/c3d", "."):
        with pytest.raises(DataError, match="group 'a' holds 'c3d'"):
            Hdf5Features(path=path, key=key)


def test_the_other_layout_is_refused_with_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    flat, grouped = write(tmp_path / "flat", a=ROWS), write(tmp_path, a__c3d=ROWS)
    with pytest.raises(
        DataError, match=r"1 entries \('a'\), the first a dataset\. Set dataset\.features\.layout=hdf5_flat"
    ):
        Hdf5Features(path=flat, layout="hdf5_group")
    with pytest.raises(DataError, match=r"the first a group holding 'c3d'\. Set dataset\.features\.layout=hdf5_group"):
        Hdf5Features(path=grouped, layout="hdf5_flat")
    with pytest.raises(DataError, match=r"has no inner 'c3d'; .*a dataset\. Set dataset\.features\.key=null"):
        Hdf5Features(path=flat, key="c3d")


def test_one_group_around_all_videos_lists_what_is_inside(tmp_path: Path) -> None:
    path = write(tmp_path, features__a=ROWS, features__b=ROWS)
    with pytest.raises(DataError, match="group 'features' holds 'a', 'b', not one dataset"):
        Hdf5Features(path=path)


def test_an_entry_of_another_kind_is_named(tmp_path: Path) -> None:
    source = Hdf5Features(path=write(tmp_path, a=ROWS, b__c3d=ROWS))
    with pytest.raises(DataError, match="'b' holds no array"):
        source.rows("b")
    (tmp_path / "pack.hdf5").unlink()
    nested = Hdf5Features(path=write(tmp_path, a__c3d=ROWS, b__c3d__deep=ROWS))
    with pytest.raises(DataError, match="'b' holds no array"):
        nested.rows("b")


def test_links_and_outside_storage_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other", secret=ROWS)
    (tmp_path / "raw").write_bytes(ROWS.tobytes())
    virtual = h5py.VirtualLayout(shape=ROWS.shape, dtype="f4")
    virtual[:] = h5py.VirtualSource(str(other), "secret", shape=ROWS.shape)
    path = write(tmp_path, a=ROWS)
    with h5py.File(path, "a") as file:
        file["external"] = h5py.ExternalLink(str(other), "secret")
        file["soft"] = h5py.SoftLink("/external")
        file["dangling"] = h5py.SoftLink("/nowhere")
        file.create_dataset("raw", shape=ROWS.shape, dtype="f4", external=[(str(tmp_path / "raw"), 0, ROWS.nbytes)])
        file.create_virtual_dataset("virtual", virtual)
    source = Hdf5Features(path=path)
    assert source.length("a") == 4
    for name in ("external", "soft", "dangling", "raw", "virtual"):
        for read in (source.rows, source.length):
            with pytest.raises(DataError, match=f"'{name}' is a link to data elsewhere"):
                read(name)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, a=np.ones((500, 30), "f4"))
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"pack\.hdf5: cannot read the file .*download it again"):
            Hdf5Features(path=path)


def test_damaged_rows_name_their_video(tmp_path: Path) -> None:
    path = tmp_path / "pack.hdf5"
    noise = np.random.default_rng(0).normal(size=(100, 30)).astype("f4")
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=noise, chunks=noise.shape, fletcher32=True)
    content = path.read_bytes()
    at = content.index(noise.tobytes()[:64])
    path.write_bytes(content[:at] + bytes(64) + content[at + 64 :])
    with pytest.raises(DataError, match="cannot read a "):
        Hdf5Features(path=path).rows("a")


def test_a_file_without_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no video features"):
        Hdf5Features(path=write(tmp_path))
