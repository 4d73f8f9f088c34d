"""Hydra finds its plugins in this namespace: what runs a sweep's jobs, and what chooses them."""
