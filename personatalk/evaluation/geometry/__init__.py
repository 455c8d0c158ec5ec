"""Evaluation of the geometry estimation, and of what is found in front of faces."""
