"""Pixels and truth: everything here works without a network."""
