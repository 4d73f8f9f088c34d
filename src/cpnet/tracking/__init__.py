"""Weights & Biases: runs and dashboards. No other package imports wandb."""

from cpnet.tracking.runs import RunLogger, job, log_results

__all__ = ["RunLogger", "job", "log_results"]
