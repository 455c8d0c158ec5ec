"""Stage 2: the dual-attention face renderer, and what puts its faces back into the frames."""
