"""Evaluation of stage 2 with true geometry."""
