"""Oracle: NumPy's permutation and phases from seed and epoch, and lists cut by hand."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch.utils.data import DataLoader

from corpora import TRAIN, ready, write_corpus
from cpnet.data.dataset import GroundingDataset
from cpnet.data.loader import GroundingLoader, ShardSampler, TrainingSampler

PAIRS = len(TRAIN)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> GroundingDataset:
    return ready(write_corpus(tmp_path_factory.mktemp("corpus"))).dataset("train")


def drawn(seed: int, epoch: int) -> list[tuple[int, float]]:
    """Rows and phases of an epoch, by the recipe of the docstring: a pair has its phase wherever it stands."""
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(PAIRS)
    phase = generator.random(PAIRS)
    return [(int(row), float(phase[row])) for row in order]


def sampler(dataset: GroundingDataset, *, seed: int = 3, epoch: int = 0, rank: int = 0, world: int = 1) -> Any:
    made = TrainingSampler(dataset, seed=seed, rank=rank, world=world)
    made.set_epoch(epoch)
    return made


def loader(dataset: GroundingDataset, *, epoch: int = 0, workers: int = 0, size: int = 3) -> GroundingLoader:
    return GroundingLoader(dataset, sampler=sampler(dataset, epoch=epoch), batch_size=size, num_workers=workers)


def go_to(made: GroundingLoader, epoch: int) -> None:
    """Set the epoch, as Lightning does."""
    assert isinstance(made.sampler, TrainingSampler)
    made.sampler.set_epoch(epoch)


def rows(batches: DataLoader[Any]) -> list[list[int]]:
    return [batch.index.tolist() for batch in batches]


def cut(epoch: int, size: int = 3) -> list[list[int]]:
    order = [row for row, _ in drawn(3, epoch)]
    return [order[first : first + size] for first in range(0, PAIRS, size)]


@pytest.mark.parametrize("epoch", [0, 1, 57])
def test_picks_follow_from_seed_and_epoch_alone(epoch: int, dataset: GroundingDataset) -> None:
    for seed in (0, 3):
        torch.manual_seed(epoch + seed)
        np.random.seed(epoch)
        assert list(sampler(dataset, seed=seed, epoch=epoch)) == drawn(seed, epoch)
    assert sorted(row for row, _ in sampler(dataset, epoch=epoch)) == list(range(PAIRS))
    assert all(0 <= phase < 1 for _, phase in sampler(dataset, epoch=epoch))


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_the_processes_batches_together_are_those_of_one_process(world: int, dataset: GroundingDataset) -> None:
    size = 2
    expected = drawn(3, 5)
    expected += expected[: -PAIRS % world]  # the first come again where they do not divide
    shares = [list(sampler(dataset, epoch=5, rank=rank, world=world)) for rank in range(world)]
    assert len({len(share) for share in shares}) == 1
    for step in range(-(-len(shares[0]) // size)):
        together = [pick for share in shares for pick in share[size * step : size * (step + 1)]]
        assert sorted(together) == sorted(expected[world * size * step : world * size * (step + 1)])


def test_more_processes_than_pairs_all_have_something_to_do(dataset: GroundingDataset) -> None:
    shares = [list(sampler(dataset, rank=rank, world=45)) for rank in range(45)]
    assert {len(share) for share in shares} == {1}
    assert {row for ((row, _),) in shares} == set(range(PAIRS))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_goes_on_behind_the_batches_that_were_taken(workers: int, dataset: GroundingDataset) -> None:
    broken_off = loader(dataset, epoch=4, workers=workers)
    for count, batch in enumerate(broken_off, start=1):
        assert batch.index.tolist() == cut(4)[count - 1]
        if count == 3:
            break
    # What workers have read ahead was not taken.
    state = broken_off.state_dict()
    assert state == {"epoch": 4, "taken": 3}
    again = loader(dataset, epoch=4, workers=workers)
    again.load_state_dict(state)
    assert rows(again) == cut(4)[3:]
    assert again.state_dict() == {"epoch": 4, "taken": len(cut(4))}
    go_to(again, 5)
    assert rows(again) == cut(5)  # whole


def test_a_run_may_be_broken_off_more_than_once_in_an_epoch(dataset: GroundingDataset) -> None:
    state, taken = {"epoch": 0, "taken": 0}, []
    for _ in range(4):
        part = loader(dataset)
        part.load_state_dict(state)
        for batch in part:
            taken.append(batch.index.tolist())
            state = part.state_dict()
            if state["taken"] % 2 == 0:
                break
    assert taken == cut(0)


def test_the_clips_of_what_is_left_are_those_of_the_whole_epoch(dataset: GroundingDataset) -> None:
    whole = list(loader(dataset))
    part = loader(dataset)
    part.load_state_dict({"epoch": 0, "taken": 4})
    for batch, expected in zip(part, whole[4:], strict=True):
        assert torch.equal(batch.per_pair().video, expected.per_pair().video)


def test_the_state_of_another_epoch_is_left_aside(dataset: GroundingDataset) -> None:
    other = loader(dataset, epoch=2)
    other.load_state_dict({"epoch": 1, "taken": 3})
    assert rows(other) == cut(2)
    go_to(other, 1)
    assert rows(other) == cut(1)  # and is forgotten by then


@pytest.mark.parametrize("workers", [0, 2])
def test_torchs_random_numbers_are_left_alone(workers: int, dataset: GroundingDataset) -> None:
    before = torch.get_rng_state()
    rows(loader(dataset, workers=workers))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """Have this process talk to others, of which there are none."""
    if not torch.distributed.is_available():
        pytest.skip("this torch was built without torch.distributed")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="the system does not tell whose a signal is")
@pytest.mark.parametrize(
    ("number", "talking"),
    [(signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGUSR1, False), (signal.SIGTERM, True)],
)
def test_a_signal_to_all_of_a_runs_processes_ends_no_worker(
    number: signal.Signals, talking: bool, dataset: GroundingDataset, request: pytest.FixtureRequest
) -> None:
    if talking:
        request.getfixturevalue("group")
    reading, before = loader(dataset, workers=2), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    this, others = psutil.Process(), psutil.Process().children(recursive=True)
    batches = iter(reading)
    found = [next(batches)]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    started = [process for process in this.children(recursive=True) if process not in others]
    # Beside threads of gloo it is another process that forks them.
    workers = [process for process in started if (process.ppid() != this.pid) == talking]
    assert len(workers) == 2
    subprocess.run(["kill", f"-{int(number)}", *(str(process.pid) for process in started)], check=True)
    time.sleep(0.2)
    assert all(process.status() != psutil.STATUS_ZOMBIE for process in started)
    found += list(batches)
    assert [batch.index.tolist() for batch in found] == cut(0)
    start = time.monotonic()
    workers[0].send_signal(signal.SIGTERM)  # their parent's: the last means of torch, and of a program's end
    assert not workers[0].wait(5)  # exit code 0, or nobody's child
    del reading, batches
    assert psutil.wait_procs(workers, timeout=10)[1] == []
    assert time.monotonic() - start < 4


def test_its_length_is_that_of_a_whole_epoch(dataset: GroundingDataset) -> None:
    made = loader(dataset, size=6)
    assert len(made) == 4
    made.load_state_dict({"epoch": 0, "taken": 2})
    assert len(made) == 4
    assert len(rows(made)) == 2
    assert len(made) == 4


def test_batches_of_an_order_are_shared_out_without_repeats(dataset: GroundingDataset) -> None:
    order = [5, 1, 4, 0, 2, 3, 6]
    shares = [list(ShardSampler(dataset, order=order, batch_size=2, rank=rank, world=3)) for rank in range(3)]
    assert shares == [[[5, 1], [6]], [[4, 0]], [[2, 3]]]
    assert [len(ShardSampler(dataset, order=order, batch_size=4, rank=rank, world=3)) for rank in range(3)] == [1, 1, 1]
    assert list(ShardSampler(dataset, order=order, batch_size=4, rank=2, world=3)) == [[]]  # and yet takes part


def test_an_evaluation_is_whole_each_time(dataset: GroundingDataset) -> None:
    evaluating = dataset.evaluating()
    shard = ShardSampler(evaluating, order=[*range(7)], batch_size=3, rank=0, world=1)
    made = GroundingLoader(evaluating, sampler=shard, batch_size=None, num_workers=0)
    for _ in range(2):
        assert rows(made) == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_loader_of_a_corpus_is_one_of_these(tmp_path: Path) -> None:
    datamodule = ready(write_corpus(tmp_path) | {"seed": 3})
    assert rows(datamodule.train_dataloader()) == cut(0)


READS = """
import os, sys
import psutil, torch
sys.path[:0] = {path!r}
from pathlib import Path
from corpora import ready, write_corpus
from cpnet.data.loader import GroundingLoader, TrainingSampler

if __name__ == "__main__":
    if sys.argv[1] == "talking":
        torch.distributed.init_process_group("gloo", init_method=f"file://{{sys.argv[2]}}/store", rank=0, world_size=1)
    dataset = ready(write_corpus(Path(sys.argv[2]))).dataset("train")
    sampler = TrainingSampler(dataset, seed=3, rank=0, world=1)
    batches = iter(GroundingLoader(dataset, sampler=sampler, batch_size=3, num_workers=2))
    next(batches)
    print(*(process.pid for process in psutil.Process().children(recursive=True)), flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["alone", "talking"])
def test_workers_end_with_a_run_that_is_killed(how: str, tmp_path: Path) -> None:
    if how == "talking" and not torch.distributed.is_available():
        pytest.skip("this torch was built without torch.distributed")
    script = tmp_path / "reads.py"
    script.write_text(READS.format(path=[path for path in sys.path if path]), encoding="utf-8")
    command = [sys.executable, str(script), how, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        family = [psutil.Process(int(pid)) for pid in run.stdout.readline().split()]
        run.kill()
    assert len(family) == (2 if how == "alone" else 4)
    assert psutil.wait_procs(family, timeout=4)[1] == []
