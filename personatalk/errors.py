"""Errors that a person can act on: each message says what happened, where, and what to do."""

from __future__ import annotations


class PersonaTalkError(Exception):
    """Any failure that the user of the system can mend."""


class MediaError(PersonaTalkError):
    """A video or audio file cannot be read or written."""


class OptionError(PersonaTalkError, ValueError):
    """A choice is of the wrong type or out of range."""


class NoFaceError(PersonaTalkError):
    """The video shows no face that can be followed."""


class CheckpointError(PersonaTalkError):
    """Weights are missing or do not fit the code."""


class AdapterError(PersonaTalkError):
    """An optional package, or its weights, is not installed."""


class CancelledError(PersonaTalkError):
    """The caller asked the run to stop."""


class WorkerDiedError(PersonaTalkError):
    """The process that did the work ended before it was done."""
