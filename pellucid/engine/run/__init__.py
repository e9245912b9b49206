"""Training: settings, data preparation, the loop, checkpoints and the run folder."""
