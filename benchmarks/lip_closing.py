"""Two ways to close lips in a dub, and what is seen of them: the most probable motion, as it ships, and the least.

python -m benchmarks.lip_closing CLIPS --manifest MANIFEST [--limit 12]

Each clip of two seconds or more is dubbed with another person's speech, once each way, and the result is tracked.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from safetensors.torch import load_file, save_file

from benchmarks.samples import CHECKPOINTS
from personatalk.evaluation.dubbing.dubs import MIN_SECONDS, foreign_clip, motion_figures, shipped_dub
from personatalk.evaluation.inputs import EvaluationInputs
from personatalk.inspection.seen_face import SeenFace, see_face
from personatalk.media import read_audio
from personatalk.speech.features import SAMPLE_RATE
from personatalk.training.corpus import spread_over_persons

WEIGHTS = "geometry.safetensors"
SHUT_IOD, OPEN_IOD = 0.01, (0.04, 0.2)  # asked for: shut, and open
FIGURES = ("follows_r", "deviation_ratio", "shut_seen_%", "open_seen_less_asked_%")


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Two ways to close lips in a dub, and what is seen of them.")
    parser.add_argument("clips", type=Path)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=12)
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        least = checkpoints_with_least_motion(Path(folder) / "checkpoints")
        for name, checkpoints in (("most probable", CHECKPOINTS), ("least motion", least)):
            inputs = EvaluationInputs(
                data=args.clips, manifest=args.manifest, corpus=args.clips, checkpoints=checkpoints
            )
            means = np.nanmean(figures_of_clips(inputs, args.limit, Path(folder)), 0)
            print(name, *(f"{figure} {mean:.3f}" for figure, mean in zip(FIGURES, means, strict=True)), flush=True)
    return 0


def checkpoints_with_least_motion(folder: Path) -> Path:
    """Copy the shipped weights; lips close by the least motion of the face."""
    shutil.copytree(CHECKPOINTS, folder)
    weights = load_file(folder / WEIGHTS)
    weights["closure.closing"] = weights["closure.parting"].clone()
    save_file(weights, folder / WEIGHTS)
    return folder


def figures_of_clips(inputs: EvaluationInputs, limit: int, folder: Path) -> np.ndarray:
    """Dub and measure: [N, 4], see FIGURES."""
    dub, face_model = shipped_dub(inputs), inputs.load_face_model()
    clips = [clip for clip in inputs.read_clips() if clip.has_sound and clip.is_long_enough(MIN_SECONDS)]
    found = []
    for clip in spread_over_persons(clips, limit):
        video, speech, output = inputs.clip_path(clip), folder / "speech.wav", folder / "dub.mp4"
        soundfile.write(speech, read_audio(inputs.clip_path(foreign_clip(clip, clips))), SAMPLE_RATE)
        driven = dub(video, speech, output)
        found.append(figures_of(see_face(video, face_model), see_face(output, face_model), driven))
    return np.array(found)


def figures_of(source: SeenFace, seen: SeenFace, driven: np.ndarray) -> tuple[float, ...]:
    """Compare the lip aperture seen in a dub with the one asked for [T] IOD: see FIGURES."""
    motion = motion_figures(source, seen, driven)
    count = min(source.num_frames, seen.num_frames)
    trusted = source.geometry.valid[:count] & seen.geometry.valid[:count]
    asked, found = 100 * driven[:count][trusted], 100 * seen.aperture[:count][trusted]
    shut = asked < 100 * SHUT_IOD
    wide = (asked > 100 * OPEN_IOD[0]) & (asked < 100 * OPEN_IOD[1])
    return (
        motion["follows_r"],
        motion["deviation_ratio"],
        float(np.median(found[shut])) if shut.any() else float("nan"),
        float(np.median((found - asked)[wide])) if wide.any() else float("nan"),
    )


if __name__ == "__main__":
    sys.exit(main())
