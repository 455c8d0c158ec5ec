"""The page: a visitor dubs a clip in numbered steps, and looks at what the system did inside."""

from personatalk.webapp.layout import build_demo

__all__ = ["build_demo"]
