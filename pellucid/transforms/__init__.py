"""Geometry and pixels: augmentation, resizing, windows, test-time augmentation,
post-processing of masks."""
