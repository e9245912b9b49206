"""Curves, annotated images, masks and animations; numbers as text."""
