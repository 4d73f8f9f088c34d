"""Compute the tables of a report: one table per protocol, one row per variant, each compared with the baseline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cpnet.errors import ConfigError
from cpnet.evaluation.published import PublishedRow, published_rows
from cpnet.reporting.gather import Gathered, Run
from cpnet.reporting.published import published_tables
from cpnet.reporting.statistics import interval, over_seeds, resampled_means
from cpnet.reporting.tables import Difference, Estimate, Report, Row, Table, conditions, references, short_commit
from cpnet.reporting.variants import file_names, method, name_runs
from cpnet.runs.identity import flatten

Protocol = tuple[tuple[str, Hashable], ...]  # conditions of a table by name, and the hash of its pairs
Groups = dict[str, list[Run]]  # runs of each row, by its name


def compare(gathered: Gathered, *, experiment: str | None, baseline: str | None, resamples: int) -> Report:
    """Arrange runs in tables. Runs of the baseline's experiment come first in the tables of their protocol.

    Args:
        gathered: the runs
        experiment: the requested experiment; None for all
        baseline: name of the row that others are compared with; None for the first row of each table
        resamples: number of bootstrap resamples

    Raises:
        ConfigError: no row has the baseline's name, or no table has the protocol of the baseline's experiment
    """
    protocols: defaultdict[Protocol, list[Run]] = defaultdict(list)
    for run in gathered.runs:
        protocols[_protocol(run)].append(run)
    left_out, tables = dict(gathered.left_out), []
    other = gathered.baseline[0].results.experiment if gathered.baseline else None
    for protocol, runs in protocols.items():
        candidates = [run for run in gathered.baseline if _protocol(run) == protocol]
        groups, notes = _group(_with_baseline(candidates, runs), left_out)
        first, of_first = next(iter(groups.items()))
        if set(candidates) & {*of_first}:
            notes.append(f"the row {first} comes from experiment={other}")
        tables.append((groups, notes))
    if gathered.baseline and not protocols.keys() & {_protocol(run) for run in gathered.baseline}:
        raise ConfigError(f"baseline_from={other}: its runs have another protocol or other test pairs")
    names = dict.fromkeys(name for groups, _ in tables for name in groups)
    if baseline is not None and baseline not in names:
        raise ConfigError(f"baseline={baseline!r}: no row has this name; rows: {'; '.join(names)}")
    made = [_table(groups, notes, baseline, resamples) for groups, notes in tables]
    return Report(experiment, made, _reasons(protocols), left_out, resamples)


def _protocol(run: Run) -> Protocol:
    return (*conditions(run.results.protocol).items(), ("pairs", run.pairs))


def _reasons(protocols: Iterable[Protocol]) -> list[str]:
    """Return the conditions in which tables differ."""
    reasons = []
    for column in map(dict.fromkeys, zip(*protocols, strict=True)):
        if len(column) > 1:
            key, values = next(iter(column))[0], " or ".join(str(value) for _, value in column)
            reasons.append("the test pairs differ" if key == "pairs" else f"{key} is {values}")
    return reasons


def _with_baseline(candidates: Sequence[Run], runs: Sequence[Run]) -> list[Run]:
    """Put the baseline row first: of the candidates, the row whose configuration is nearest to the runs."""
    if not candidates:
        return [*runs]
    methods = {run: frozenset(method(run.config).items()) for run in (*candidates, *runs)}
    nearest = min((methods[run] for run in candidates), key=lambda one: sum(len(one ^ methods[run]) for run in runs))
    here = {run.results.seed for run in runs if methods[run] == nearest}
    borrowed = [run for run in candidates if methods[run] == nearest and run.results.seed not in here]
    return [*borrowed, *sorted(runs, key=lambda run: methods[run] != nearest)]


def _group(runs: Sequence[Run], left_out: dict[Path, str]) -> tuple[Groups, list[str]]:
    """Group the runs by row, keeping the newest run of each seed; add older runs to ``left_out``."""
    names, notes = name_runs([run.results.model for run in runs], [run.config for run in runs])
    newest: dict[str, dict[int, Run]] = {}
    for run, name in zip(runs, names, strict=True):
        seeds, seed = newest.setdefault(name, {}), run.results.seed
        older, seeds[seed] = sorted((seeds.get(seed, run), run), key=_written)
        if older is not seeds[seed]:
            left_out[older.folder] = f"seed {seed} of {name} exists twice; {seeds[seed].folder} is newer"
    return {name: [seeds[seed] for seed in sorted(seeds)] for name, seeds in newest.items()}, notes


def _written(run: Run) -> float:
    return (run.folder / "results.json").stat().st_mtime


def _table(groups: Groups, notes: Sequence[str], baseline: str | None, resamples: int) -> Table:
    runs = [run for row in groups.values() for run in row]
    protocol = runs[0].results.protocol
    keys = tuple(dict.fromkeys(key for run in runs for key in run.scores))
    chosen = baseline if baseline in groups else next(iter(groups))
    if baseline not in (None, chosen):
        notes = [*notes, f"this table has no row {baseline}: differences refer to {chosen}"]
    return Table(
        protocol=replace(protocol, features=file_names(protocol.features)),
        keys=keys,
        rows=tuple(_rows(groups, keys, chosen, resamples)),
        baseline=chosen,
        references=references(run.results for run in runs),
        notes=(*notes, *_notes(groups)),
        published=published_tables(_published(runs)) if protocol.split == "test" else [],
    )


def _published(runs: Sequence[Run]) -> list[PublishedRow]:
    """Return the published rows of the corpus whose features a run has."""
    features = dict.fromkeys(str(flatten(run.config).get("dataset.features.name") or "") for run in runs)
    corpus = runs[0].results.protocol.dataset
    return [row for name in features if name for row in published_rows(corpus, features=name)]


def _rows(groups: Groups, keys: Sequence[str], baseline: str, resamples: int) -> list[Row]:
    # A pair's score in a row is its mean over the seeds, NaN without the metric. Shape: (rows, metrics, pairs)
    missing = np.full(len(next(iter(groups.values()))[0].scores["mIoU"]), np.nan)
    scores = np.array(
        [[np.mean([run.scores.get(key, missing) for run in runs], axis=0) for key in keys] for runs in groups.values()]
    )
    drawn = resampled_means(scores.reshape(-1, scores.shape[-1]).T, resamples=resamples)
    drawn = 100 * drawn.reshape(resamples, *scores.shape[:2])
    means, base = 100 * scores.mean(axis=-1), [*groups].index(baseline)
    ends = np.concatenate([interval(drawn), interval(drawn - drawn[:, [base]])])
    rows = []
    for place, (name, runs) in enumerate(groups.items()):
        estimates = {}
        for column, key in enumerate(keys):
            if not np.isfinite(means[place, column]):
                continue
            values, of_base = _by_seed(runs, key), _by_seed(groups[baseline], key)
            gains = [value - of_base[seed] for seed, value in values.items() if seed in of_base]
            mean, gain = float(means[place, column]), float(means[place, column] - means[base, column])
            sd = float(np.std([*values.values()], ddof=1)) if len(values) > 1 else None
            low, high, low_difference, high_difference = ends[:, place, column].tolist()
            difference = Difference(gain, low_difference, high_difference, over_seeds(gains))
            values_of_seeds = tuple(values.values())
            comparable = place != base and np.isfinite(gain)
            estimates[key] = Estimate(mean, sd, low, high, values_of_seeds, difference if comparable else None)
        rows.append(Row(name, tuple(runs), estimates))
    return rows


def _by_seed(runs: Sequence[Run], key: str) -> dict[int, float]:
    """Return a metric in per cent by seed."""
    return {run.results.seed: 100 * float(run.scores[key].mean()) for run in runs if key in run.scores}


def _notes(groups: Groups) -> list[str]:
    """Return notes on differences between rows that their names do not show."""
    notes = []
    described: Mapping[str, Callable[[Sequence[Run]], str]] = {
        "precision differs": lambda runs: " and ".join(sorted({run.results.precision for run in runs})),
        "commit differs": lambda runs: " and ".join(sorted({short_commit(run.results.git_commit) for run in runs})),
        "seeds differ": lambda runs: ", ".join(str(run.results.seed) for run in runs),
    }
    for what, describe in described.items():
        rows: defaultdict[str, list[str]] = defaultdict(list)
        for name, runs in groups.items():
            rows[describe(runs)].append(name)
        if len(rows) > 1:
            parts = [f"{text} in {', '.join(names)}" for text, names in rows.items()]
            notes.append(f"{what}: {'; '.join(parts)}")
    every = [run for row in groups.values() for run in row]
    if any(run.results.trivial != every[0].results.trivial for run in every):
        notes.append("trivial predictors are those of the first run; other runs have other training pairs")
    return notes
