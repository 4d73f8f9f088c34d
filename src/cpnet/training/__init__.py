"""Training: Lightning module, losses, schedules, callbacks, and the run that combines them."""
