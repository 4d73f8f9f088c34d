"""Figures of what a trained model does on the pairs of a split."""
