"""Evaluation of stage 1, and of the sync networks."""
