"""What a network is, given the shape of a picture, before it runs."""

from __future__ import annotations

from .blank import blank
from .measure import Anatomy, Row, describe
from .memory import Memory, memory

__all__ = ["Anatomy", "Memory", "Row", "blank", "describe", "memory"]
