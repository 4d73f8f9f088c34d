"""Metrics and trivial predictors of video grounding."""
