"""A saved view and a report of Weights & Biases, built from what runs are given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cpnet.config import ConfigError

WHOLE_WIDTH = 24  # of a report's grid
MOST_RUNS = 100  # in a panel, which shows ten unless told


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """Which runs are shown, and what of them.

    Attributes:
        entity: user or team
        project: its project
        experiment: only runs of this group; None for all
        thresholds: of R@1
        swept: keys of the configuration, the axes of the parallel coordinates
    """

    entity: str
    project: str
    experiment: str | None
    thresholds: Sequence[float]
    swept: Sequence[str]

    @property
    def title(self) -> str:
        """Name both the view and the report."""
        return f"cpnet: {self.experiment}" if self.experiment else "cpnet"

    def recalls(self, split: str) -> list[str]:
        """Name R@1 at every threshold as a split's metrics are logged."""
        return [f"{split}/R1@{threshold:g}" for threshold in self.thresholds]


def specification(board: Dashboard) -> dict[str, Any]:
    """Give what would be sent: the view and the report, as plain containers. Nothing is asked of the network.

    Raises:
        ConfigError: wandb-workspaces is not installed, or refuses a value
    """
    with _refusals():
        # Private, as the package has no other way to a specification: save() sends that of _to_model().
        view, report = _workspace(board)._to_model(), _report(board)._to_model()
        return {
            "view": {"displayName": view.display_name, **_sent_to(board), "spec": _as_sent(view.spec)},
            "report": {
                "displayName": report.display_name,
                "description": report.description,
                **_sent_to(board),
                "spec": _as_sent(report.spec),
            },
        }


def save(board: Dashboard) -> dict[str, str]:
    """Make the view and the report in the project, new ones each time; return their addresses.

    Raises:
        ConfigError: wandb-workspaces is not installed, or there is no account, no connection or no such project
    """
    with _refusals():
        return {"view": str(_workspace(board).save().url), "report": str(_report(board).save().url)}


def _sent_to(board: Dashboard) -> dict[str, str]:
    return {"entityName": board.entity, "projectName": board.project}


def _as_sent(spec: Any) -> dict[str, Any]:
    plain: dict[str, Any] = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    return plain


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        import wandb
        import wandb_workspaces.reports.v2  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError("dashboards need wandb-workspaces: pip install 'cpnet-grounding[dashboard]'") from error
    try:
        yield
    except wandb.errors.Error as error:
        raise ConfigError(_remedy(error)) from error
    except Exception as error:
        # The package wraps a missing key into a bare Exception, and pydantic's refusals are ValueErrors.
        if isinstance(error.__cause__, wandb.errors.Error):
            raise ConfigError(_remedy(error.__cause__)) from error
        if isinstance(error, ValueError):
            raise ConfigError(f"W&B refuses the dashboard: {error}") from error
        raise


def _remedy(error: Exception) -> str:
    return (
        f"W&B says: {error}\n  An account and a connection are needed: wandb login, or the environment variable"
        " WANDB_API_KEY. Without them action=dry_run prints what would be sent"
    )


def _reports() -> Any:
    """Give the package's module, of whose names it tells type checkers none."""
    from wandb_workspaces.reports import v2

    return v2


def _workspace(board: Dashboard) -> Any:
    from wandb_workspaces import workspaces

    columns = [f"summary:{key}" for key in ("test/mIoU", *board.recalls("test"))]
    return workspaces.Workspace(
        entity=board.entity,
        project=board.project,
        name=board.title,
        sections=[
            workspaces.Section(name=title, panels=panels, is_open=True) for title, panels in _sections(board).items()
        ],
        settings=workspaces.WorkspaceSettings(x_axis="epoch", max_runs=MOST_RUNS),
        runset_settings=workspaces.RunsetSettings(filters=_filters(board), pinned_columns=columns),
    )


def _report(board: Dashboard) -> Any:
    reports = _reports()
    blocks: list[Any] = []
    for title, panels in _sections(board).items():
        # A run set without a project shows the report's own; with one its number would be asked of the service.
        blocks += [
            reports.H2(title),
            reports.PanelGrid(runsets=[reports.Runset(name="runs", filters=_filters(board))], panels=panels),
        ]
    return reports.Report(
        entity=board.entity,
        project=board.project,
        title=board.title,
        description="Made by python -m cpnet.dashboard. Metrics in per cent; test metrics are the chosen checkpoint's.",
        blocks=blocks,
        width="fluid",
    )


def _filters(board: Dashboard) -> Any:
    from wandb_workspaces import workspaces

    return workspaces.And(workspaces.Metric("Group") == board.experiment) if board.experiment else ""


def _sections(board: Dashboard) -> Mapping[str, list[Any]]:
    """Give the panels of every section, new ones each time, as each has an identity of its own."""
    reports = _reports()
    shown: dict[str, Any] = {"max_runs_to_show": MOST_RUNS}
    bars: dict[str, Any] = {**shown, "max_bars_to_show": MOST_RUNS}
    mean: dict[str, Any] = {**bars, "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    axes = [reports.ParallelCoordinatesPlotColumn(metric=reports.Config(key)) for key in board.swept]
    best = reports.SummaryMetric("validation/score")
    return {
        "Metrics by epoch": [
            reports.LinePlot(title=title, x="epoch", y=list(keys), **shown)
            for title, keys in (
                ("mIoU, validation", ["val/mIoU"]),
                ("R@1, validation", board.recalls("val")),
                ("attention loss", ["train/attention", "val/attention"]),
                ("regression loss", ["train/regression", "val/regression"]),
                ("learning rate", ["train/learning_rate"]),
                ("gradient norm, before clipping", ["train/gradient_norm"]),
            )
        ],
        "R@1 against the threshold": [
            reports.BarPlot(title="R@1, test", metrics=board.recalls("test"), orientation="v", **bars),
        ],
        "Ablation": [
            reports.BarPlot(title="mIoU, test, by run", metrics=["test/mIoU"], groupby="Name", **mean),
            reports.BarPlot(
                title="mIoU, test, by model: mean and deviation",
                metrics=["test/mIoU"],
                groupby=reports.Config("model_name"),
                **mean,
            ),
        ],
        "Sweep": [
            reports.ParallelCoordinatesPlot(
                title="what the best epoch's validation mIoU depends on",
                columns=[*axes, reports.ParallelCoordinatesPlotColumn(metric=best, display_name="val/mIoU, best")],
                layout=reports.Layout(w=WHOLE_WIDTH, h=9),
            )
        ],
        "Predictions": [
            reports.WeavePanelSummaryTable(table_name="predictions", layout=reports.Layout(w=WHOLE_WIDTH, h=14)),
            reports.MediaBrowser(title="pairs by length", media_keys=["length_confusion"], num_columns=3),
        ],
    }
