"""Scores with intervals for each task, and paired tests."""
