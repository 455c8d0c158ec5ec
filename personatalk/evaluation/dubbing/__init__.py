"""Evaluation of whole dubs."""
