"""Stage 1: style-aware geometry construction, speech and style to driven geometry."""
