"""The forward pass, and what uses it: predict, evaluate, ensembles, video."""
