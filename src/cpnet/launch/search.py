"""Hydra sweeper that lets Optuna choose the jobs.

Hydra's own plugin requires Optuna 2. This one stores the study in the sweep's folder, so that a sweep can be resumed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from cpnet.errors import ConfigError

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

log = logging.getLogger(__name__)

JOURNAL, BEST = "optuna.journal", "best.json"


class OptunaSweeper(Sweeper):
    """Runs trials with the values that Optuna chooses from the ranges of the command line.

    ``a,b`` is a choice, ``range(1,6)`` integers or steps, ``interval(0.1,0.5)`` real numbers,
    ``tag(log,interval(1e-5,1e-3))`` real numbers on a logarithmic scale.

    Args:
        trials: number of jobs, including those before the sweep was resumed
        direction: ``maximize`` or ``minimize`` the score of a job
        seed: seed of the sampler
        parallel: number of jobs chosen and launched together
        params: overrides; those of the command line take precedence
    """

    def __init__(self, trials: int, direction: str, seed: int, parallel: int, params: dict[str, str] | None) -> None:
        if direction not in ("maximize", "minimize"):
            raise ConfigError(f"hydra.sweeper.direction must be maximize or minimize; got {direction!r}")
        if trials < 1 or parallel < 1:
            raise ConfigError(f"hydra.sweeper.trials and parallel must be 1 or more; got {trials}, {parallel}")
        self.trials, self.direction, self.seed = trials, direction, seed
        self.parallel, self.params = parallel, params or {}
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the configuration and create the launcher; see ``hydra.plugins.sweeper.Sweeper``."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> float:
        """Run trials until there are enough, and return the best score.

        Raises:
            ConfigError: no key has a range, or jobs failed
        """
        assert self.config is not None
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        parsed = parser.parse_overrides([*(f"{key}={value}" for key, value in self.params.items()), *arguments])
        overrides = {override.get_key_element(): override for override in parsed}
        ranges = {key: each for key, each in overrides.items() if each.is_sweep_override()}
        if not ranges:
            raise ConfigError("hydra/sweeper=optuna: no key has a range; for example optimizer.lr=interval(1e-5,1e-3)")
        fixed = [str(each.input_line) for key, each in overrides.items() if key not in ranges]
        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        study = self._study(folder)
        failures = list(self._run(study, {key: distribution(each) for key, each in ranges.items()}, fixed))
        best = {"score": study.best_value, "job": study.best_trial.number, "overrides": study.best_params}
        (folder / BEST).write_text(json.dumps(best, indent=2) + "\n", encoding="utf-8")
        log.info(
            f"best of {len(study.trials)}: {study.best_value:.2f} with {study.best_params}, {folder / str(best['job'])}"
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

        assert self.config is not None
        if (folder / JOURNAL).exists() and not self.config.sweep.resume:
            raise ConfigError(
                f"{folder} has jobs of an earlier search: continue it with sweep.resume=true, or set "
                "hydra.sweep.dir to another folder"
            )
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = JournalStorage(JournalFileBackend(str(folder / JOURNAL)))
        direction = optuna.study.StudyDirection[self.direction.upper()]
        study = optuna.create_study(study_name="sweep", storage=storage, direction=direction, load_if_exists=True)
        # Repeat the trials that were running when the sweep was interrupted. The new seed avoids earlier draws.
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)
        study.sampler = optuna.samplers.TPESampler(seed=self.seed + len(study.trials))
        return study

    def _run(self, study: Study, space: dict[str, BaseDistribution], fixed: Sequence[str]) -> Iterator[str]:
        """Run the remaining trials and yield the errors of failed ones.

        Raises:
            ConfigError: all jobs failed, or the choices of a resumed search differ
        """
        from optuna.trial import TrialState

        assert self.launcher is not None
        while (left := self.trials - len(study.get_trials(states=(TrialState.COMPLETE,)))) > 0:
            try:
                trials = [study.ask(space) for _ in range(min(left, self.parallel))]
            except ValueError as error:  # the kind of a key's range may not change
                why = str(error).rstrip(".")
                raise ConfigError(
                    f"a resumed search keeps its choices ({why}); set hydra.sweep.dir=FOLDER to another folder"
                ) from error
            # An untrusted journal may hold any override: use only the keys that have a range.
            batch = [[*(f"{key}={trial.params[key]}" for key in space), *fixed] for trial in trials]
            self.validate_batch_is_legal(batch)
            failed: list[Exception] = []
            for trial, job in zip(trials, self.launcher.launch(batch, initial_job_idx=trials[0].number), strict=True):
                if job.status == JobStatus.COMPLETED:
                    study.tell(trial, float(job.return_value))
                else:
                    study.tell(trial, state=TrialState.FAIL)
                    failed.append(job._return_value)  # the property prints and raises it
            if failed and not study.get_trials(states=(TrialState.COMPLETE,)):
                raise failed[0]
            if failed:
                self.trials -= len(failed)  # failed jobs count too
                yield str(failed[0])


def distribution(override: Override) -> BaseDistribution:
    """Return the Optuna distribution of a range on the command line.

    Raises:
        ConfigError: the range is empty or has impossible bounds
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value: Any = override.value()
    try:
        if isinstance(value, IntervalSweep):
            start: Any = value.start
            end: Any = value.end
            integer = isinstance(start, int) and isinstance(end, int)  # from int(interval(...))
            return (IntDistribution if integer else FloatDistribution)(start, end, log="log" in value.tags)
        steps: list[Any] = list(override.sweep_iterator())
        if not steps:
            raise ValueError("the range is empty")
        if isinstance(value, RangeSweep) and all(isinstance(each, int) for each in steps):
            return IntDistribution(min(steps), max(steps), step=abs(int(value.step)))
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    except ValueError as error:
        raise ConfigError(f"{override.input_line}: {error}") from error
