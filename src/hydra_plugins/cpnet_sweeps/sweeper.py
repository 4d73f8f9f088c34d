"""A Hydra sweeper that lets Optuna choose the jobs, which learns from those that are done.

Hydra's own plugin needs Optuna 2, whose storage does not work any more; this one takes today's Optuna, and keeps what
it has learnt in the sweep's folder, so that a sweep can go on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from cpnet.config import ConfigError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

log = logging.getLogger(__name__)

JOURNAL, BEST = "optuna.journal", "best.json"


class OptunaSweeper(Sweeper):
    """Runs trials; each value that the command line leaves open is one of Optuna's.

    ``a,b`` is a choice, ``range(1,6)`` whole numbers or steps, ``interval(0.1,0.5)`` any number between,
    ``tag(log,interval(1e-5,1e-3))`` the same by its logarithm.

    Args:
        trials: how many jobs, those of an earlier part of the sweep included
        direction: ``maximize`` or ``minimize`` what a job returns
        sampler: ``tpe`` or ``random``
        seed: of the sampler
        parallel: jobs that are chosen and launched together
        params: overrides as on the command line, which wins
    """

    def __init__(
        self, trials: int, direction: str, sampler: str, seed: int, parallel: int, params: dict[str, str] | None
    ) -> None:
        if direction not in ("maximize", "minimize"):
            raise ConfigError(f"hydra.sweeper.direction must be maximize or minimize; got {direction!r}")
        if sampler not in ("tpe", "random"):
            raise ConfigError(f"hydra.sweeper.sampler must be tpe or random; got {sampler!r}")
        if trials < 1 or parallel < 1:
            raise ConfigError(f"hydra.sweeper.trials and parallel must be 1 or more; got {trials}, {parallel}")
        self.trials, self.sampler = trials, sampler
        self.direction: Literal["maximize", "minimize"] = "maximize" if direction == "maximize" else "minimize"
        self.seed, self.parallel, self.params = seed, parallel, params or {}
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what a sweep is started with; see ``hydra.plugins.sweeper.Sweeper``."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> float:
        """Run trials until there are enough; give the best score.

        Raises:
            ConfigError: nothing is left open, or jobs failed
        """
        assert self.config is not None
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        parsed = parser.parse_overrides([*(f"{key}={value}" for key, value in self.params.items()), *arguments])
        overrides = {override.get_key_element(): override for override in parsed}
        open_keys = {key: each for key, each in overrides.items() if each.is_sweep_override()}
        if not open_keys:
            raise ConfigError(
                "hydra/sweeper=optuna: nothing is left open; for example optimizer.lr=interval(1e-5,1e-3)"
            )
        fixed = [str(each.input_line) for key, each in overrides.items() if key not in open_keys]
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        study = self._study(folder)
        failures = list(self._run(study, {key: distribution(each) for key, each in open_keys.items()}, fixed))
        best = {"score": study.best_value, "job": study.best_trial.number, "overrides": study.best_params}
        (folder / BEST).write_text(json.dumps(best, indent=2) + "\n", encoding="utf-8")
        log.info(
            f"best of {len(study.trials)}: {best['score']:.2f} with {best['overrides']}, {folder / str(best['job'])}"
        )
        if failures:
            raise ConfigError("\n".join(failures))
        return study.best_value

    def _study(self, folder: Path) -> Study:
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise ConfigError("hydra/sweeper=optuna needs optuna: pip install 'cpnet-grounding[sweeps]'") from error
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
        from optuna.trial import TrialState

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
        study = optuna.create_study(study_name="sweep", storage=storage, direction=self.direction, load_if_exists=True)
        # What went on when the sweep was broken off is tried again; and no random number twice.
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)
        seed = self.seed + len(study.trials)
        samplers = optuna.samplers
        study.sampler = (samplers.TPESampler if self.sampler == "tpe" else samplers.RandomSampler)(seed=seed)
        return study

    def _run(self, study: Study, space: dict[str, BaseDistribution], fixed: Sequence[str]) -> Iterator[str]:
        """Run what is left of the trials, and give what the failed ones say.

        Raises:
            JobsFailedError: all jobs failed
        """
        from optuna.trial import TrialState

        assert self.launcher is not None
        while (left := self.trials - len(study.get_trials(states=(TrialState.COMPLETE,)))) > 0:
            trials = [study.ask(space) for _ in range(min(left, self.parallel))]
            # Of what the journal may hold beside, which could be any override, nothing is taken.
            batch = [[*(f"{key}={trial.params[key]}" for key in space), *fixed] for trial in trials]
            self.validate_batch_is_legal(batch)
            returned = self.launcher.launch(batch, initial_job_idx=trials[0].number)
            failed = [each for each in map(_tell, [study] * len(trials), trials, returned) if each is not None]
            if failed and not study.get_trials(states=(TrialState.COMPLETE,)):
                raise failed[0]
            if failed:
                self.trials -= len(failed)  # or a search whose every second job fails would last twice as long
                yield str(failed[0])


def _tell(study: Study, trial: Trial, returned: JobReturn) -> Exception | None:
    if returned.status == JobStatus.COMPLETED:
        study.tell(trial, float(returned.return_value))
        return None
    from optuna.trial import TrialState

    study.tell(trial, state=TrialState.FAIL)
    failure: Exception = returned._return_value  # the property prints and raises it
    return failure


def distribution(override: Override) -> BaseDistribution:
    """Turn what the command line leaves open into a distribution of Optuna's.

    Raises:
        ConfigError: Optuna has none of these bounds
    """
    try:
        return _distribution(override)
    except ValueError as error:
        raise ConfigError(f"{override.input_line}: {error}") from error


def _distribution(override: Override) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override.value()
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        logarithmic = "log" in value.tags
        if isinstance(value.start, int) and isinstance(value.end, int):  # of int(interval(...)) alone
            return IntDistribution(value.start, value.end, log=logarithmic)
        return FloatDistribution(float(value.start), float(value.end), log=logarithmic)
    steps: list[Any] = list(override.sweep_iterator())
    if not steps:
        raise ValueError("there is no value in it")
    if isinstance(value, RangeSweep) and all(isinstance(each, int) for each in steps):
        return IntDistribution(min(steps), max(steps), step=abs(int(value.step)))
    return CategoricalDistribution(list(override.sweep_string_iterator()))
