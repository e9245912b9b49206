"""What a network is, given the shape of a picture, before it runs."""

from __future__ import annotations

from .measure import Anatomy, Row, describe

__all__ = ["Anatomy", "Row", "describe"]
