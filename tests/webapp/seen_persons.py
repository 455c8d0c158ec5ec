"""A pipeline that sees four persons in every clip, two of whom can be dubbed."""

from __future__ import annotations

import numpy as np
from conftest import CopyPipeline

from personatalk.geometry.tracking import NUM_LANDMARKS
from personatalk.media.shots import Shots
from personatalk.persons.faces import FaceRun
from personatalk.persons.identity import Seen
from personatalk.persons.search import Cast, Person

TIMES = np.arange(50) / 25
LEFT, TINY, BRIEF, RIGHT = range(4)  # who is in the stand-in's clip


def person_at(x: float, width: float = 80.0, frames: int = 50) -> Person:
    points = np.random.default_rng(0).uniform(0, width, (1, NUM_LANDMARKS, 3)).repeat(frames, 0) + (x, 40, 0)
    run = FaceRun(first=0, landmarks=points.astype(np.float32), chips={})
    return Person(seen=[Seen(run=run, shot=0, embeddings=np.zeros((0, 128), np.float32))], times=TIMES)


def cast_of(*persons: Person) -> Cast:
    shots = Shots(first=np.array([0]), last=np.array([49]), num_frames=50)
    return Cast(persons=list(persons), shots=shots, times=TIMES, pts=np.arange(50), width=640, height=240)


CAST = cast_of(person_at(20), person_at(150, width=30), person_at(260, frames=9), person_at(450))


class CastPipeline(CopyPipeline):
    """Sees four persons in every clip, and hands it back with the first speech."""

    listener = None

    def find_cast(self, video, tracker, run):
        with run.stage("track", "looking"):
            run.step(1, 2)
        return CAST

    def dub(self, video, audio, *arguments, **keywords):
        self.speeches = audio
        return super().dub(
            video, next(iter(audio.values())) if isinstance(audio, dict) else audio, *arguments, **keywords
        )
