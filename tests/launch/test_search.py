"""A launcher scores jobs by a formula with a known best value. Oracle: exhaustive search."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import OmegaConf

from cpnet.config import CONFIG_DIR, register_schemas
from cpnet.errors import ConfigError
from cpnet.launch.search import OptunaSweeper, distribution

optuna = pytest.importorskip("optuna", reason="needs the extra [sweeps]")

OPEN = ["model.pyramid_levels=range(1,9)", "optimizer.lr=tag(log,interval(1e-5,1e-2))"]


def score(job: dict[str, str]) -> float:
    """Return a score that is best at 5 levels and a rate of 1e-3."""
    return -((int(job["model.pyramid_levels"]) - 5) ** 2) - abs(math.log10(float(job["optimizer.lr"])) + 3)


class Formula:
    """Launcher that scores each job by a function and records it."""

    def __init__(self, of: Callable[[dict[str, str]], float] = score, *, interrupted_at: int | None = None) -> None:
        self.of, self.interrupted_at = of, interrupted_at
        self.jobs: list[tuple[int, dict[str, str]]] = []
        self.sizes: list[int] = []

    def launch(self, batch: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        self.sizes.append(len(batch))
        return [self._run(initial_job_idx + i, overrides) for i, overrides in enumerate(batch)]

    def _run(self, number: int, overrides: Sequence[str]) -> JobReturn:
        if number == self.interrupted_at:
            raise KeyboardInterrupt
        job = dict(each.split("=", 1) for each in overrides)
        self.jobs.append((number, job))
        returned = JobReturn(overrides=list(overrides))
        try:
            returned.return_value, returned.status = self.of(job), JobStatus.COMPLETED
        except ValueError as error:
            returned.return_value, returned.status = error, JobStatus.FAILED
        return returned


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., OptunaSweeper]:
    register_schemas()
    loader = ConfigLoaderImpl(create_config_search_path(str(CONFIG_DIR)))

    def sweeper(launcher: Formula, *, folder: str = "sweep", resume: bool = False, **changes: Any) -> OptunaSweeper:
        defaults: dict[str, Any] = {"trials": 12, "direction": "maximize", "seed": 0, "parallel": 1}
        made = OptunaSweeper(**{"params": None} | defaults | changes)
        sweep = {"dir": str(tmp_path / folder)}
        made.config = OmegaConf.create({"hydra": {"sweep": sweep}, "sweep": {"resume": resume}})
        made.hydra_context = HydraContext(config_loader=loader, callbacks=Callbacks())
        made.launcher = launcher  # type: ignore[assignment]
        made.validate_batch_is_legal = lambda batch: None  # type: ignore[method-assign] # Hydra's own, slow
        return made

    return sweeper


@pytest.mark.parametrize(("direction", "optimum"), [("maximize", max), ("minimize", min)])
def test_best_trial_is_returned_and_saved(
    make: Callable[..., OptunaSweeper], direction: str, optimum: Callable[..., float], tmp_path: Path
) -> None:
    launcher = Formula()
    best = make(launcher, direction=direction).sweep([*OPEN, "dataset=tacos"])
    assert [number for number, _ in launcher.jobs] == list(range(12))
    assert best == optimum(score(job) for _, job in launcher.jobs)
    assert all(job["dataset"] == "tacos" for _, job in launcher.jobs)
    kept = json.loads((tmp_path / "sweep" / "best.json").read_text(encoding="utf-8"))
    assert kept["score"] == best
    assert score({key: str(value) for key, value in kept["overrides"].items()}) == best
    assert dict(launcher.jobs)[kept["job"]]["optimizer.lr"] == str(kept["overrides"]["optimizer.lr"])


def test_parallel_jobs_are_launched_together(make: Callable[..., OptunaSweeper]) -> None:
    launcher = Formula()
    make(launcher, trials=8, parallel=3).sweep(OPEN)
    assert launcher.sizes == [3, 3, 2]


def test_interrupted_sweep_repeats_the_running_job(make: Callable[..., OptunaSweeper]) -> None:
    first, second = Formula(interrupted_at=5), Formula()
    with pytest.raises(KeyboardInterrupt):
        make(first).sweep(OPEN)
    with pytest.raises(ConfigError, match=r"sweep has jobs of an earlier search: .*sweep\.resume=true"):
        make(second).sweep(OPEN)
    make(second, resume=True).sweep(OPEN)
    assert len(first.jobs) == 5
    assert len(second.jobs) == 7  # 12 in all
    assert [number for number, _ in second.jobs] == list(range(6, 13))  # the interrupted one is number 5
    assert make(third := Formula(), resume=True).sweep(OPEN) == max(
        score(job) for _, job in [*first.jobs, *second.jobs]
    )
    assert third.jobs == []


def test_resumed_search_keeps_its_choices(make: Callable[..., OptunaSweeper]) -> None:
    width = Formula(lambda job: float(job["model.hidden_dim"]))
    make(width, trials=2).sweep(["model.hidden_dim=64,128"])
    with pytest.raises(ConfigError, match=r"keeps its choices .*hydra\.sweep\.dir=FOLDER"):
        make(width, trials=4, resume=True).sweep(["model.hidden_dim=64,128,256"])


def test_failed_jobs_are_reported_at_the_end(make: Callable[..., OptunaSweeper], tmp_path: Path) -> None:
    def of(job: dict[str, str]) -> float:
        if job["model.pyramid_levels"] in ("2", "8"):
            raise ValueError(f"{job['model.pyramid_levels']} levels are too many")
        return score(job)

    launcher = Formula(of)
    with pytest.raises(ConfigError, match="levels are too many"):
        make(launcher, trials=20).sweep(OPEN)
    assert len(launcher.jobs) == 20
    assert (tmp_path / "sweep" / "best.json").exists()


def test_sweep_stops_if_all_jobs_fail(make: Callable[..., OptunaSweeper]) -> None:
    def of(job: dict[str, str]) -> float:
        raise ValueError("no such file")

    launcher = Formula(of)
    with pytest.raises(ValueError, match="no such file"):
        make(launcher).sweep(OPEN)
    assert len(launcher.jobs) == 1


def test_command_line_replaces_params(make: Callable[..., OptunaSweeper]) -> None:
    launcher = Formula(lambda job: float(job["seed"]))
    make(launcher, trials=3, params={"seed": "0,1,2", "model.pyramid_levels": "range(1,3)"}).sweep(["seed=7"])
    assert {job["seed"] for _, job in launcher.jobs} == {"7"}


def test_a_range_is_required(make: Callable[..., OptunaSweeper]) -> None:
    with pytest.raises(ConfigError, match=r"no key has a range"):
        make(Formula()).sweep(["seed=3"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"direction": "up"}, "direction must be maximize or minimize; got 'up'"),
        ({"parallel": 0}, "must be 1 or more; got 12, 0"),
    ],
)
def test_impossible_argument(make: Callable[..., OptunaSweeper], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(Formula(), **changes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("range(1,6)", optuna.distributions.IntDistribution(1, 5)),
        ("range(3,0,-1)", optuna.distributions.IntDistribution(1, 3)),
        ("shuffle(range(1,4))", optuna.distributions.IntDistribution(1, 3)),
        ("range(2,9,3)", optuna.distributions.IntDistribution(2, 8, step=3)),
        ("interval(0.1,0.5)", optuna.distributions.FloatDistribution(0.1, 0.5)),
        ("tag(log,interval(1e-5,1e-3))", optuna.distributions.FloatDistribution(1e-5, 1e-3, log=True)),
        ("int(interval(1,4))", optuna.distributions.IntDistribution(1, 4)),
        ("max,avg", optuna.distributions.CategoricalDistribution(["max", "avg"])),
        ("0.1,0.2", optuna.distributions.CategoricalDistribution(["0.1", "0.2"])),
        ("interval(1,4)", optuna.distributions.FloatDistribution(1.0, 4.0)),
        ("range(0.5,2,0.5)", optuna.distributions.CategoricalDistribution(["0.5", "1.0", "1.5"])),
    ],
)
def test_range_becomes_a_distribution(text: str, expected: object) -> None:
    assert distribution(OverridesParser.create().parse_override(f"key={text}")) == expected


@pytest.mark.parametrize("text", ["interval(1e-3,1e-5)", "tag(log,interval(0,1e-3))", "range(3,1)"])
def test_impossible_range_is_refused_with_its_key(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^optimizer\.lr="):
        distribution(OverridesParser.create().parse_override(f"optimizer.lr={text}"))


def test_untrusted_journal_sets_no_other_key(make: Callable[..., OptunaSweeper], tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "sweep/optuna.journal"))
    storage = optuna.storages.JournalStorage(backend)
    sent = optuna.create_study(study_name="sweep", storage=storage, direction="maximize")
    elsewhere = {"output_dir": optuna.distributions.CategoricalDistribution(["elsewhere"])}
    waiting = optuna.trial.TrialState.WAITING
    sent.add_trial(optuna.create_trial(state=waiting, params={"output_dir": "elsewhere"}, distributions=elsewhere))
    formula = Formula()
    make(formula, trials=1, resume=True).sweep(OPEN)
    assert [sorted(job) for _, job in formula.jobs] == [["model.pyramid_levels", "optimizer.lr"]]
