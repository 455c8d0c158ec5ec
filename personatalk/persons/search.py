"""The persons of a video: one pass finds its shots and follows all faces; then faces are told apart by identity."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from personatalk.concurrency import read_ahead
from personatalk.errors import OptionError
from personatalk.geometry.face_alignment_tracker import FaceAlignmentTracker, load_network
from personatalk.geometry.face_model import FaceModel
from personatalk.geometry.tracking import (
    NUM_LANDMARKS,
    FaceFinder,
    FaceFollower,
    FaceTrack,
    MediaPipeDetector,
    MediaPipeFollower,
)
from personatalk.media import Frame, VideoInfo, probe_video, read_frames
from personatalk.media.shots import ShotDetector, Shots
from personatalk.persons.embedding import FaceEmbedder
from personatalk.persons.faces import FaceRun, FacesTracker, decode_chip
from personatalk.persons.identity import Seen, group_by_light, group_by_person, look_at_runs

Step = Callable[[int, int | None], None]  # told (frame, number of frames if known); may raise to stop

MIN_RUN = 3  # frames; shorter ones show nothing that could be fitted


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody who is seen in a video.

    Attributes:
        seen: where, shot by shot, in the order of time.
        times: [T] s of the video's frames.
    """

    seen: list[Seen]
    times: np.ndarray

    @cached_property
    def frames(self) -> np.ndarray:
        """Numbers of the frames that show the person, ascending."""
        return np.unique(np.concatenate([item.run.frames for item in self.seen]))

    @property
    def seconds(self) -> float:
        """For how long the person is seen."""
        usual = float(np.median(np.diff(self.times))) if len(self.times) > 1 else 0.04
        return len(self.frames) * usual

    @property
    def width_px(self) -> float:
        """Width of the face, the median."""
        return float(np.median(np.concatenate([_widths(item.run) for item in self.seen])))

    @property
    def box(self) -> np.ndarray:
        """[4] px: left, top, right, bottom of the face where it is first seen."""
        run = self.seen[0].run
        return run.box(int(run.frames[0]))

    def picture(self) -> np.ndarray | None:
        """A picture of the face, from the middle of where it is seen longest: uint8 [150, 150, 3] RGB."""
        chips = max((item.run.chips for item in self.seen), key=len)
        return decode_chip(chips[sorted(chips)[len(chips) // 2]]) if chips else None

    @property
    def presence(self) -> float:
        """Widths of the face added up over all frames: how much there is to see of the person."""
        return float(sum(_widths(item.run).sum() for item in self.seen))


@dataclass(frozen=True, kw_only=True)
class Cast:
    """Who is seen in a video.

    Attributes:
        persons: the one of whom there is most to see first.
        shots: of the video.
        times: [T] s of the frames.
        pts: [T] ticks of the frames.
        width: px.
        height: px.
    """

    persons: list[Person]
    shots: Shots
    times: np.ndarray
    pts: np.ndarray
    width: int
    height: int

    def choose(self, point: tuple[float, float] | None = None) -> Person | None:
        """The person at a point px, see `at_point`; without one, of whom there is most to see. None without a face."""
        return self.at_point(point) if point else next(iter(self.persons), None)

    def at_point(self, point: tuple[float, float]) -> Person | None:
        """The person whose face is nearest to a point px in the first frame, or in the first that shows a face.

        Raises:
            OptionError: the point lies outside of the picture.
        """
        if not (0 <= point[0] <= self.width and 0 <= point[1] <= self.height):
            raise OptionError(
                f"the face's point {point[0]:g}, {point[1]:g} lies outside of the picture, which is {self.width} by "
                f"{self.height} pixels"
            )
        if not self.persons:
            return None
        first = min(int(person.frames[0]) for person in self.persons)
        shown = [person for person in self.persons if person.frames[0] <= first + MIN_RUN]
        return min(shown, key=lambda person: float(np.linalg.norm(_middle(person) - point)))

    def track_of(self, person: Person | None) -> FaceTrack:
        """The track of one person; without anybody it shows no face. Frames in dissolves show none."""
        landmarks = np.full((len(self.times), NUM_LANDMARKS, 3), np.nan, np.float32)
        light = np.zeros(len(self.times), int)
        if person:
            for item, number in zip(person.seen, group_by_light([item.run for item in person.seen]), strict=True):
                landmarks[item.run.frames] = item.run.seen()
                light[self.shots.first[item.shot] : self.shots.last[item.shot] + 1] = number
        return FaceTrack(
            landmarks=landmarks,
            detected=np.isfinite(landmarks[:, 0, 0]),
            times=self.times,
            width=self.width,
            height=self.height,
            shot=self.shots.labels(),
            light=light,
        )

    def beginning(self, times: np.ndarray, pts: np.ndarray) -> Cast:
        """Who is seen in the first frames, which may be a file of their own; whoever is not seen there is left out.

        Args:
            times: [N] s of these frames.
            pts: [N] ticks of the same.
        """
        count = len(times)
        is_kept = self.shots.first < count
        shots = Shots(
            first=self.shots.first[is_kept],
            last=np.minimum(self.shots.last[is_kept], count - 1),
            num_frames=count,
        )
        seen = [[part for item in person.seen if (part := _before(item, count))] for person in self.persons]
        persons = [Person(seen=items, times=times) for items in seen if items]
        return replace(self, persons=persons, shots=shots, times=times, pts=pts)

    def shots_of(self, person: Person | None) -> list[dict[str, Any]]:
        """Say what each shot shows of a person, ready for JSON."""
        own = {item.shot for item in person.seen} if person else set()
        others = {item.shot for other in self.persons if other is not person for item in other.seen}
        told = []
        for number, (first, last) in enumerate(zip(self.shots.first, self.shots.last, strict=True)):
            reason = "another person" if number in others else "no face was found"
            told.append(
                {
                    "first_frame": int(first),
                    "last_frame": int(last),
                    "shows_the_person": number in own,
                    "left_alone_because": None if number in own else reason,
                }
            )
        return told


def find_persons(
    video: Path,
    face_model: FaceModel,
    *,
    tracker: str = "mediapipe",
    step: Step | None = None,
    between: tuple[float, float] | None = None,
) -> Cast:
    """Find who is seen in a video.

    Args:
        video: to read, once.
        face_model: gives the vertices between the points of a tracker that has fewer.
        tracker: "mediapipe" or "face-alignment".
        step: told of each frame.
        between: (from, to) s, the only part that is looked at; its first frame is frame 0 of the cast.

    Raises:
        AdapterError: the tracker's package or its weights are missing.
    """
    info, times, pts = probe_video(video), [], []
    shots = ShotDetector(float(info.fps))
    with _networks(tracker, face_model) as (finder, open_follower):
        faces = FacesTracker(finder, open_follower, float(info.fps))
        for index, (frame, may_be_cut) in enumerate(read_ahead(_watched(video, shots, between))):
            if step:
                step(frame.index, info.num_frames)
            times.append(frame.time)
            pts.append(frame.pts)
            faces.add(index, frame.pixels, may_be_cut=may_be_cut)
        runs, found = faces.finish(), shots.finish()
    return _cast(runs, found, np.array(times, np.float64), np.array(pts, np.int64), info)


def _cast(runs: list[FaceRun], shots: Shots, times: np.ndarray, pts: np.ndarray, info: VideoInfo) -> Cast:
    seen = look_at_runs(list(split_at_shots(runs, shots)), FaceEmbedder.load)
    groups = group_by_person(seen, times)
    persons = [Person(seen=sorted(group, key=lambda item: item.run.first), times=times) for group in groups]
    persons.sort(key=lambda person: -person.presence)
    return Cast(persons=persons, shots=shots, times=times, pts=pts, width=info.width, height=info.height)


def _before(item: Seen, count: int) -> Seen | None:
    """What of it lies in the first frames; None where that is too short."""
    run = item.run.part(item.run.first, count)
    return replace(item, run=run) if len(run.frames) >= MIN_RUN else None


def split_at_shots(runs: list[FaceRun], shots: Shots) -> Iterator[tuple[FaceRun, int]]:
    """Cut runs where shots end; what lies in a dissolve, or is too short, is left out.

    Yields:
        (run, number of its shot)
    """
    for run in runs:
        for number, (first, last) in enumerate(zip(shots.first, shots.last, strict=True)):
            if first < run.first + len(run.landmarks) and last >= run.first:
                part = run.part(int(first), int(last) + 1)
                if len(part.frames) >= MIN_RUN:
                    yield part, number


def follow_face(
    video: Path,
    face_model: FaceModel,
    *,
    tracker: str = "mediapipe",
    point: tuple[float, float] | None = None,
    step: Step | None = None,
) -> tuple[FaceTrack, np.ndarray]:
    """Track one person through the shots of a video.

    Args:
        video: to read, once.
        face_model: gives the vertices between the points of a tracker that has fewer.
        tracker: "mediapipe" or "face-alignment".
        point: px in the first frame; the person whose face is nearest to it is tracked. Without it, the one of whom
            there is most to see.
        step: told of each frame.

    Returns:
        the track, and the frames' timestamps [T] in ticks.

    Raises:
        AdapterError: the tracker's package or its weights are missing.
        OptionError: the point lies outside of the picture.
    """
    cast = find_persons(video, face_model, tracker=tracker, step=step)
    return cast.track_of(cast.choose(point)), cast.pts


def _watched(
    video: Path, shots: ShotDetector, between: tuple[float, float] | None = None
) -> Iterator[tuple[Frame, bool]]:
    """Frames, all or those of a part, and whether another shot may begin with them."""
    start, end = between or (-math.inf, math.inf)
    for frame in read_frames(video):
        if frame.time >= end:
            return
        if frame.time >= start:
            yield frame, shots.add(frame.pixels)


@contextmanager
def _networks(tracker: str, face_model: FaceModel) -> Iterator[tuple[FaceFinder, Callable[[], FaceFollower]]]:
    """What finds faces, and what makes something that follows one."""
    with ExitStack() as opened:
        if tracker == "face-alignment":
            network = load_network()
            yield (
                FaceAlignmentTracker(face_model, network=network),
                lambda: FaceAlignmentTracker(face_model, network=network),
            )
            return
        finder = MediaPipeDetector()
        opened.callback(finder.close)

        def open_follower() -> FaceFollower:
            follower = MediaPipeFollower()
            opened.callback(follower.close)
            return follower

        yield finder, open_follower


def _widths(run: FaceRun) -> np.ndarray:
    """[M] px."""
    return np.ptp(run.seen()[:, :, 0], axis=1)


def _middle(person: Person) -> np.ndarray:
    """[2] px, the middle of the face where it is first seen."""
    run = person.seen[0].run
    return run.seen()[0, :, :2].mean(0)
