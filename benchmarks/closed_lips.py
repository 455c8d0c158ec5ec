"""How near to each other lips that meet are measured to be: quantiles over the closures of training persons.

python -m benchmarks.closed_lips CORPUS --manifest MANIFEST
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.samples import CHECKPOINTS
from personatalk.evaluation.speech.figures import CLOSED_IOD
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.mouth import driven_aperture
from personatalk.training.corpus import read_geometry, read_manifest

QUANTILES = (0.1, 0.25, 0.5, 0.75)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How near to each other lips that meet are measured to be.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--manifest", type=Path, required=True)
    args = parser.parse_args(arguments)
    face_model = FaceModel.load(CHECKPOINTS / "face_model.safetensors")
    found = []
    for clip in read_manifest(args.manifest, "train"):
        geometry = read_geometry(args.corpus, clip) if clip.has_sound else None
        if geometry is not None:
            speech = geometry.expression[:, : face_model.num_speech]
            aperture = driven_aperture(speech, geometry.template, face_model)
            found.append(smallest_apertures(np.where(geometry.valid, aperture, np.inf)))
    closures = np.concatenate(found)
    quantiles = (f"{100 * value:.2f}" for value in np.quantile(closures, QUANTILES))
    print(f"{len(closures)} closures, quantiles {QUANTILES}: {', '.join(quantiles)} % of the inter-ocular distance")
    return 0


def smallest_apertures(aperture: np.ndarray) -> np.ndarray:
    """The local minima of lip aperture [T] IOD at which lips count as closed."""
    middle = aperture[1:-1]
    return middle[(middle <= aperture[:-2]) & (middle <= aperture[2:]) & (middle < CLOSED_IOD)]


if __name__ == "__main__":
    sys.exit(main())
