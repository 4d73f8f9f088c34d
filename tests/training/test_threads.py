"""Number of threads by made-up machines and environments."""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from cpnet.training import threads
from cpnet.workers import cores, free_memory, quota

V1 = "33 31 0:30 {} {} rw - cgroup cgroup rw,cpu,cpuacct"
V2 = "41 31 0:38 {} {} rw,nosuid shared:9 - cgroup2 cgroup2 rw"
MAX, USED, PERIOD = "cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("cgroup", "mounts", "files", "expected"),
    [
        ("0::/", V2.format("/", "/"), {MAX: "50000 100000"}, 0.5),
        ("0::/a/b", V2.format("/", "/cg"), {f"cg/a/b/{MAX}": "max 100000", f"cg/a/{MAX}": "150000 100000"}, 1.5),
        ("0::/a/b", V2.format("/", "/cg"), {f"cg/a/b/{MAX}": "400000 100000", f"cg/a/{MAX}": "100000 50000"}, 2),
        ("0::/a/b", V2.format("/a", "/cg"), {f"cg/b/{MAX}": "300000 100000", f"cg/a/{MAX}": "1 1"}, 3),
        ("0::/a", V2.format("/other", "/cg"), {f"cg/{MAX}": "300000 100000", f"cg/a/{MAX}": "1 1"}, 3),
        ("0::/../b", V2.format("/", "/"), {MAX: "300000 100000"}, 3),
        *(
            ("0::/", V2.format("/", "/"), {MAX: odd}, math.inf)
            for odd in ("max 9", "", "x y", "9", "9 0", "9 9 9", "-9 9")
        ),
        ("4:cpu,cpuacct:/d/1\n3:x:/m", V1.format("/d/1", "/cg"), {f"cg/{USED}": "50000", f"cg/{PERIOD}": "20000"}, 2.5),
        (
            "9:name=systemd:/\n1:cpu:/a/b\n0::/c",
            V1.format("/", "/") + "\n" + V2.format("/", "/unified"),
            {f"a/b/{USED}": "-1", f"a/b/{PERIOD}": "100000", f"a/{USED}": "200000", f"a/{PERIOD}": "100000"},
            2,
        ),
        ("not a cgroup\n::", "short\n33 - cgroup\n- \n", {MAX: "100000 100000"}, math.inf),
    ],
)
def test_quota_is_the_least_on_the_path(
    cgroup: str, mounts: str, files: dict[str, str], expected: float, tmp_path: Path
) -> None:
    assert quota(tmp_path) == math.inf  # no /proc
    write(tmp_path, {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mounts, **files})
    assert quota(tmp_path) == expected


def test_free_memory_is_the_least_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=900))
    assert free_memory(tmp_path) == 900  # no /proc
    stat = "anon 5\ninactive_file 30\nactive_file 10\n"
    files = {
        "proc/self/cgroup": "0::/a/b",
        "proc/self/mountinfo": V2.format("/", "/cg"),
        "cg/a/b/memory.max": "max",
        "cg/a/b/memory.current": "7",
        "cg/a/b/memory.stat": stat,
        "cg/a/memory.max": "500",
        "cg/a/memory.current": "200",
        "cg/a/memory.stat": stat,
    }
    write(tmp_path, files)
    assert free_memory(tmp_path) == 500 - 200 + 40  # the kernel gives back what it caches of files
    write(tmp_path, {"cg/a/memory.current": "600"})
    assert free_memory(tmp_path) == 0


SLURM = {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "train", "SLURM_CPUS_ON_NODE": "8"}
FOUR = {"OMP_NUM_THREADS": "4", "CPNET_THREADS": "4 of 8 cores: quota of 4"}  # of a parent process


@pytest.mark.parametrize(
    ("cpus", "limit", "environment", "chosen"),
    [
        (8, "max", {}, ""),
        (8, "390000", {}, "3"),
        (2, "400000", {}, ""),
        (8, "200000", {"OMP_NUM_THREADS": "5"}, "5"),  # the user's
        (8, "max", {"LOCAL_WORLD_SIZE": "2", "CPNET_JOBS": "1"}, "4"),
        (8, "max", {"CPNET_JOBS": "2", "LOCAL_WORLD_SIZE": "2"}, "2"),
        (8, "400000", {"CPNET_JOBS": "4", "LOCAL_WORLD_SIZE": "2"}, "1"),
        (8, "max", FOUR | {"LOCAL_WORLD_SIZE": "4"}, "2"),
        (8, "max", FOUR, ""),
        (8, "200000", FOUR | {"OMP_NUM_THREADS": "3"}, "3"),  # the user's
        (8, "max", SLURM | {"SLURM_NTASKS_PER_NODE": "4"}, "2"),
        (2, "max", SLURM | {"SLURM_NTASKS_PER_NODE": "4"}, ""),  # restricted to the cores of its task
        (8, "max", SLURM | {"SLURM_TASKS_PER_NODE": "2(x1),1(x2)"}, "4"),
        (8, "max", SLURM | {"SLURM_NTASKS_PER_NODE": "4", "SLURM_JOB_NAME": "bash"}, ""),
        (8, "max", {"CPNET_JOBS": "many", "LOCAL_WORLD_SIZE": "-2"}, ""),
    ],
)
def test_processes_of_a_run_share_the_cores(
    cpus: int, limit: str, environment: dict[str, str], chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"proc/self/cgroup": "0::/", "proc/self/mountinfo": V2.format("/", "/"), MAX: f"{limit} 100000"})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cpus)), raising=False)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OMP", "CPNET", "SLURM", "LOCAL"))}
    monkeypatch.setattr(os, "environ", kept | environment)
    for _ in range(2):  # the second time as in a process that inherits the choice
        threads.choose(tmp_path)
        assert os.environ.get("OMP_NUM_THREADS", "") == chosen


def test_slurm_counts_threads_of_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    siblings = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    write(tmp_path, {siblings.format(cpu): f"{cpu % 8},{cpu % 8 + 8}\n" for cpu in range(16)})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    for name, value in (SLURM | {"SLURM_NTASKS_PER_NODE": "4", "SLURM_CPUS_ON_NODE": "16"}).items():
        monkeypatch.setenv(name, value)
    assert threads.share(threads.physical_cores(tmp_path), math.inf) == (2, "4 SLURM tasks")


def test_processes_of_a_pool_stay_within_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    for allowed, number in ((2.5, 2), (0.5, 1), (math.inf, 64)):
        monkeypatch.setattr("cpnet.workers.quota", lambda _, allowed=allowed: allowed)
        assert cores() == number


def test_cpus_of_one_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    siblings = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    write(tmp_path, {siblings.format(cpu): f"{cpu % 4},{cpu % 4 + 4}\n" for cpu in range(8)})
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 4, 9}, raising=False)
    assert threads.physical_cores(tmp_path) == 3  # 0 with 4; 1; and 9, of which nothing is known
