"""Figures that say how good a result is, and the runs that take them."""
