"""The command line: parses, calls, prints. `personatalk --help` teaches it."""

from __future__ import annotations

import argparse
import errno
import logging
import sys

from personatalk.cli.dub import add_dub
from personatalk.cli.evaluate import add_evaluate
from personatalk.cli.faces import add_faces
from personatalk.cli.inspect import add_inspect, add_track
from personatalk.cli.train import add_preprocess, add_train
from personatalk.errors import PersonaTalkError

EXIT_MENDABLE = 2  # also what argparse exits with
EXIT_INTERRUPTED = 130
MACHINE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)  # nothing that the code can mend


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        exit code: 0 done, 2 the user can mend it (one sentence on standard error), 130 interrupted.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parsed = build_parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except PersonaTalkError as error:
        print(f"personatalk: {error}", file=sys.stderr)
        return EXIT_MENDABLE
    except OSError as error:
        if error.errno not in MACHINE_ERRORS:
            raise
        print(f"personatalk: {error.filename or 'a file'} cannot be used: {error.strerror}", file=sys.stderr)
        return EXIT_MENDABLE
    except KeyboardInterrupt:
        print("personatalk: interrupted, no file was written", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Describe every command; imports nothing heavy, so that --help is quick."""
    parser = argparse.ArgumentParser(
        prog="personatalk",
        description="Dub a video of a person speaking with any speech, in that person's own way of speaking.",
        epilog="`personatalk COMMAND --help` shows a command's options with examples.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (add_dub, add_faces, add_track, add_inspect, add_preprocess, add_train, add_evaluate):
        add(commands)
    return parser
