"""python -m personatalk.evaluation: run one evaluation over a manifest and print its table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from personatalk.errors import PersonaTalkError
from personatalk.evaluation.corpus import EvaluationInputs, named_paths, to_markdown
from personatalk.evaluation.evaluate import EVALUATIONS, run_evaluation
from personatalk.perceptual import CHECKPOINTS

EXIT_MENDABLE = 2


def main(arguments: list[str] | None = None) -> int:
    """Run one evaluation.

    Returns:
        exit code: 0 done, 2 the user can mend it (one sentence on standard error).
    """
    parser = argparse.ArgumentParser(prog="python -m personatalk.evaluation", description=__doc__)
    parser.add_argument("what", choices=sorted(EVALUATIONS))
    parser.add_argument("--data", type=Path, required=True, help="folder of the clips")
    parser.add_argument("--manifest", type=Path, required=True, help=".tsv: file, split, person, sound, offset, fit")
    parser.add_argument("--corpus", type=Path, required=True, help="what `preprocess` made of them")
    parser.add_argument("--checkpoints", type=Path, default=CHECKPOINTS, help="folder of the weights")
    parser.add_argument("--output", type=Path, help="folder for the report, pictures and dubs")
    parser.add_argument("--split", default="val", help="which clips are judged (default val)")
    parser.add_argument("--limit", type=int, default=0, help="at most so many clips, spread over persons; 0 all")
    parser.add_argument("--renderer", action="append", default=[], help="NAME=PATH of other weights of stage 2")
    parsed = vars(parser.parse_args(arguments))
    what, renderers = parsed.pop("what"), parsed.pop("renderer")
    try:
        report = run_evaluation(what, EvaluationInputs(**parsed, renderers=named_paths(renderers)))
    except PersonaTalkError as error:
        print(f"personatalk: {error}", file=sys.stderr)
        return EXIT_MENDABLE
    print(to_markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
