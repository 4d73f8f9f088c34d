"""The files that a run writes: folder, checkpoint, results, predictions."""
