"""Weights & Biases: the only part that knows it."""

from cpnet.tracking.runs import RunLogger, job, log_results, wandb_logger

__all__ = ["RunLogger", "job", "log_results", "wandb_logger"]
