"""A saved view and a report of Weights & Biases with the same panels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

from cpnet.errors import ConfigError

WHOLE_WIDTH = 24  # columns of a report's grid
MAX_RUNS = 100  # per panel; W&B's default is ten


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """Selection of runs and content of a dashboard."""

    entity: str  # user or team
    project: str  # project of W&B
    experiment: str | None  # show the runs of this experiment only; None for all
    thresholds: Sequence[float]  # m of R@1,IoU=m
    swept: Sequence[str]  # configuration keys, the axes of the parallel coordinates

    @property
    def title(self) -> str:
        """Name of the view and of the report."""
        return f"cpnet: {self.experiment}" if self.experiment else "cpnet"

    def recalls(self, split: str) -> list[str]:
        """Return the logged keys of R@1 at every threshold."""
        return [f"{split}/R1@{threshold:g}" for threshold in self.thresholds]


def describe(board: Dashboard) -> dict[str, Any]:
    """Return title, options and panels of the view and the report as text, without network or account.

    Raises:
        ConfigError: wandb-workspaces is not installed or rejects a value
    """
    with _config_errors():
        sections = {section.name: list(map(repr, section.panels)) for section in view(board).sections}
        return {"title": board.title, **asdict(board), "sections": sections}


def save(board: Dashboard) -> dict[str, str]:
    """Create a new view and a new report in the project; return their addresses.

    Raises:
        ConfigError: wandb-workspaces is not installed or rejects a value, or there is no account, connection or project
    """
    with _config_errors():
        return {"view": str(view(board).save().url), "report": str(report(board).save().url)}


@contextmanager
def _config_errors() -> Iterator[None]:
    try:
        import wandb
        import wandb_workspaces.reports.v2  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError("dashboards need wandb-workspaces: pip install 'cpnet-grounding[dashboard]'") from error
    try:
        yield
    except Exception as error:
        # The package wraps the error of a missing API key into a bare Exception; errors of pydantic are ValueErrors.
        for cause in (error, error.__cause__):
            if isinstance(cause, wandb.errors.Error):
                raise ConfigError(
                    f"W&B: {cause}\n  An account and a connection are needed: run wandb login, or set the environment"
                    " variable WANDB_API_KEY. action=dry_run prints the dashboard without them"
                ) from error
        if isinstance(error, ValueError):
            raise ConfigError(f"W&B rejects the dashboard: {error}") from error
        raise


def _packages() -> tuple[Any, Any]:
    # Imported by name, because the packages do not declare their names to type checkers.
    return import_module("wandb_workspaces.workspaces"), import_module("wandb_workspaces.reports.v2")


def view(board: Dashboard) -> Any:
    """Build the view, a ``Workspace`` of wandb_workspaces."""
    workspaces, _ = _packages()
    columns = [f"summary:{key}" for key in ("test/mIoU", *board.recalls("test"))]
    sections = _sections(board).items()
    return workspaces.Workspace(
        entity=board.entity,
        project=board.project,
        name=board.title,
        sections=[workspaces.Section(name=heading, panels=panels, is_open=True) for heading, panels in sections],
        settings=workspaces.WorkspaceSettings(x_axis="epoch", max_runs=MAX_RUNS),
        runset_settings=workspaces.RunsetSettings(filters=_filters(board), pinned_columns=columns),
    )


def report(board: Dashboard) -> Any:
    """Build the report, a ``Report`` of wandb_workspaces."""
    _, reports = _packages()
    blocks: list[Any] = []
    for heading, panels in _sections(board).items():
        # Without a project, a run set uses that of the report; with one, W&B would request its id from the service.
        runset = reports.Runset(name="runs", filters=_filters(board))
        blocks += [reports.H2(heading), reports.PanelGrid(runsets=[runset], panels=panels)]
    return reports.Report(
        entity=board.entity,
        project=board.project,
        title=board.title,
        description="Made by python -m cpnet.dashboard. Metrics in per cent; test metrics are the best checkpoint's.",
        blocks=blocks,
        width="fluid",
    )


def _filters(board: Dashboard) -> Any:
    workspaces, _ = _packages()
    return workspaces.And(workspaces.Metric("Group") == board.experiment) if board.experiment else ""


def _sections(board: Dashboard) -> Mapping[str, list[Any]]:
    """Build new panels of every section; each panel has its own id."""
    _, reports = _packages()
    curves = {
        "mIoU, validation": ["val/mIoU"],
        "R@1, validation": board.recalls("val"),
        "attention loss": ["train/attention", "val/attention"],
        "regression loss": ["train/regression", "val/regression"],
        "learning rate": ["train/learning_rate"],
        "gradient norm, before clipping": ["train/gradient_norm"],
    }
    limits = {"max_runs_to_show": MAX_RUNS, "max_bars_to_show": MAX_RUNS}
    mean = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stddev", **limits}
    model = reports.Config("model_name")
    axes = [*map(reports.Config, board.swept), reports.SummaryMetric("validation/score")]
    return {
        "Metrics by epoch": [
            reports.LinePlot(title=title, x="epoch", y=keys, max_runs_to_show=MAX_RUNS)
            for title, keys in curves.items()
        ],
        "R@1 against the threshold": [
            reports.BarPlot(title="R@1, test", metrics=board.recalls("test"), orientation="v", **limits)
        ],
        "Ablation": [
            reports.BarPlot(title="mIoU, test, by run", metrics=["test/mIoU"], groupby="Name", **mean),
            reports.BarPlot(title="mIoU, test, by model", metrics=["test/mIoU"], groupby=model, **mean),
        ],
        "Sweep": [
            reports.ParallelCoordinatesPlot(
                title="validation mIoU of the best epoch by configuration",
                columns=[reports.ParallelCoordinatesPlotColumn(metric=axis) for axis in axes],
                layout=reports.Layout(w=WHOLE_WIDTH, h=9),
            )
        ],
        "Predictions": [
            reports.WeavePanelSummaryTable(table_name="predictions", layout=reports.Layout(w=WHOLE_WIDTH, h=14)),
            reports.MediaBrowser(title="pairs by length", media_keys=["length_confusion"], num_columns=3),
        ],
    }
