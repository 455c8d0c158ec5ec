"""Tests of what a researcher looks at."""
