"""The dubbing pipeline: calls the stages in the order of the data, reports progress, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from personatalk.casting import Listener, choose_person, persons_report
from personatalk.checkpoints import DEFAULT_FOLDER, load_config, load_into
from personatalk.concurrency import map_in_order, num_workers, read_ahead
from personatalk.devices import resolve_device
from personatalk.errors import CheckpointError, MediaError, NoFaceError
from personatalk.face_rendering.clip_renderer import ClipRenderer
from personatalk.face_rendering.config import RendererConfig
from personatalk.face_rendering.mouth_interior import MouthInterior, load_mouth_interior
from personatalk.face_rendering.precision import fastest_precision
from personatalk.face_rendering.reference_bank import ReferenceBank
from personatalk.face_rendering.reference_selection import ReferenceCandidates, choose_candidates
from personatalk.face_rendering.renderer import DualAttentionRenderer
from personatalk.geometry.estimation import check_refinement
from personatalk.geometry.face_model import FaceModel, HeadVertices
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import apertures_of
from personatalk.geometry_construction.config import GeometryModelConfig
from personatalk.geometry_construction.expression import MomentExpression
from personatalk.geometry_construction.model import GeometryModel, predict_expression
from personatalk.geometry_construction.speaker_calibration import Speaker, SpeakerCalibrator, speaker_by_motion
from personatalk.media import Frame, VideoWriter, check_target, probe_video, read_audio, read_frames, what_is_lost
from personatalk.media.excerpt import cut_sound
from personatalk.media.sameness import same_media
from personatalk.media.still import is_still, still_clip
from personatalk.media.timeline import Timeline, plan_timeline, read_in_order
from personatalk.observer import Observer, scene_of
from personatalk.occlusion.search import estimate_face
from personatalk.options import DubbingOptions
from personatalk.persons.search import Cast, Person, find_persons
from personatalk.progress import Progress, Run
from personatalk.report import dubbing_report
from personatalk.speech.encoders import SpeechEncoder, load_speech_encoder
from personatalk.speech.sync_network import load_sync_network
from personatalk.stages import SAMPLE_RATE, DrivenGeometry, DubbingResult, Faces, SourceFace, Speech

MIN_FRAMES, MIN_SECONDS = 24, 0.95  # that show the face; fewer leave no reference far enough from the frame it serves


class DubbingPipeline:
    """Dub videos with speech.

    Args:
        face_model: the 3D morphable model.
        speech_encoder: waveform to features.
        geometry_model: stage 1.
        renderer: stage 2.
        calibrator: fits stage 1 to a speaker by a clip's own sound; without it there is no calibration.
        interior: paints the inside of the mouth where no reference shows it; without it nothing is painted.
    """

    def __init__(
        self,
        face_model: FaceModel,
        speech_encoder: SpeechEncoder,
        geometry_model: GeometryModel,
        renderer: DualAttentionRenderer,
        calibrator: SpeakerCalibrator | None = None,
        *,
        interior: MouthInterior | None = None,
    ) -> None:
        self.face_model, self.mesh = face_model, FaceMesh(face_model)
        self.speech_encoder = speech_encoder
        self.geometry_model = geometry_model.eval()
        self.renderer = renderer.eval()
        self.calibrator = calibrator
        self.listener = calibrator and Listener(
            encoder=calibrator.encoder, network=calibrator.network, face_model=face_model
        )
        self.interior = interior.eval() if interior is not None else None

    def dub(
        self,
        video: Path,
        audio: Path,
        output: Path,
        options: DubbingOptions | None = None,
        *,
        progress: Progress | None = None,
        should_stop: Callable[[], bool] | None = None,
        record: Observer | None = None,
        stretch: tuple[float, float] | None = None,
    ) -> DubbingResult:
        """Make the face of a video speak an audio file.

        Args:
            video: any clip of a person speaking, or a still image, which then stands as long as the speech lasts.
            audio: any speech; a video's sound may serve.
            output: .mp4 to write.
            options: choices; see DubbingOptions.
            progress: told (share done, what is being done).
            should_stop: asked often; true ends the run with CancelledError and leaves no file.
            record: looks on; inspection.Recorder keeps everything for the researcher.
            stretch: (start, end) s; only this part of the output is rendered and written, as it is in the whole.

        Raises:
            PersonaTalkError: something that the caller can mend; the message says how.
        """
        options, video = options or DubbingOptions(), Path(video)
        check_refinement(options.refine)
        run = Run(progress, should_stop, measures_memory=record is not None)
        check_target(output, [path for path in (video, audio, options.style_video, options.reference_video) if path])
        if is_still(video):
            with still_clip(video, len(read_audio(audio, SAMPLE_RATE)) / SAMPLE_RATE) as clip:
                return self.dub(
                    clip, audio, output, options,
                    progress=progress, should_stop=should_stop, record=record, stretch=stretch,
                )  # fmt: skip
        fps = float(probe_video(video).fps)
        with run.stage("listen", "encoding the speech"):
            speech = self.encode_speech(audio)
        faces = self.read_faces(video, options, run)
        if faces.is_same_clip:
            check_length(faces.source)
        with run.stage("geometry", "driving the geometry"):
            driven = self.drive(faces, speech, options, run)
        with run.stage("references", "selecting references"):
            bank = self.select_references(faces, driven, options, run)
        if stretch:
            kept = driven.timeline.positions(*stretch)
            stretch = driven.timeline.seconds(kept)
            driven, speech = driven.part(kept), speech.between(*stretch)
        with run.stage("render", "rendering"), sound_of(audio, stretch) as sound:
            if record:
                record.begin(scene_of(self.mesh, faces, driven, bank, waveform=speech.waveform))
            clip, timeline = self.clip_renderer(faces, driven, bank), driven.timeline
            with VideoWriter(output, source=video, audio=sound, crf=options.crf, end_pts=timeline.end_pts) as writer:
                passed = self.render(clip, timeline, video, writer, run, record=record)
        report = dubbing_report(faces, driven, bank, options, run, passed=passed, fps=fps, precision=clip.precision)
        report["lost"] = what_is_lost(video, audio, keeps_timeline=driven.timeline.end_pts is None)
        if record:
            record.finish(report)
        return DubbingResult(
            video=output,
            num_frames=len(driven.timeline.order),
            num_passed_through=passed,
            fps=fps,
            timings=run.timings,
            driven_aperture=apertures_of(driven.head_vertices),
            report=report,
        )

    def encode_speech(self, audio: Path) -> Speech:
        """Read a sound file and encode its speech."""
        waveform = read_audio(audio, SAMPLE_RATE)
        return Speech(waveform=waveform, features=self.speech_encoder.encode(waveform))

    def read_faces(self, video: Path, options: DubbingOptions, run: Run) -> Faces:
        """Read the face of a clip, and those of the videos that give style and references, each video once."""
        with run.stage("track", "tracking the faces"):
            cast = find_persons(video, self.face_model, tracker=options.tracker, step=run.step)
        with run.stage("fit", "fitting the face"):
            source = self._face_of(video, cast, choose_person(cast, options, video, self.listener), options, run)
            reference = self._other_face(options.reference_video, options, [source], run)
            style = self._other_face(options.style_video, options, [source, reference], run, finds_occlusion=False)
        return Faces(source=source, reference=reference or source, style=style or reference or source)

    def _face_of(
        self,
        video: Path,
        cast: Cast,
        person: Person | None,
        options: DubbingOptions,
        run: Run,
        *,
        finds_occlusion: bool = True,
    ) -> SourceFace:
        """The face of one person of a video."""
        found = estimate_face(
            video,
            cast.track_of(person),
            self.mesh,
            refine=options.refine,
            finds_occlusion=finds_occlusion,
            step=run.step,
        )
        return SourceFace(
            video=video,
            geometry=found.geometry,
            occlusion=found.occlusion,
            pts=cast.pts,
            shots=cast.shots_of(person),
            persons=persons_report(cast, person),
        )

    def _other_face(
        self,
        video: Path | None,
        options: DubbingOptions,
        known: list[SourceFace | None],
        run: Run,
        *,
        finds_occlusion: bool = True,
    ) -> SourceFace | None:
        """The face of another video; None where no video is given. A video that is known, by content, is not read."""
        if video is None:
            return None
        for face in known:
            if face and same_media(video, face.video):
                return face
        cast = find_persons(video, self.face_model, tracker=options.tracker, step=run.step)
        return self._face_of(video, cast, cast.choose(), options, run, finds_occlusion=finds_occlusion)

    def drive(self, faces: Faces, speech: Speech, options: DubbingOptions, run: Run) -> DrivenGeometry:
        """Stage 1: speech and speaking style to driven geometry, in the output's order."""
        geometry = faces.source.geometry
        timeline = plan_timeline(geometry.times, faces.source.pts, speech.seconds, options.length)
        run.check()
        speaker = self.speaker(faces.style, options)
        moment = self._moment(faces, speaker, options) if options.expression else None
        driven = predict_expression(
            speaker.model,
            speech.features,
            torch.from_numpy(timeline.times - timeline.times[0]),
            speaker.style,
            style_strength=options.style_strength,
            mouth_amplitude=options.mouth_amplitude,
            moment=torch.from_numpy(options.expression * moment.values[timeline.order]) if moment else None,
        ).numpy()
        posed = replace(
            geometry.at(timeline.order),
            expression=np.concatenate([driven, geometry.expression[timeline.order, driven.shape[1] :]], 1),
            times=timeline.times,
        )
        vertices = HeadVertices(self.face_model, posed.template, posed.expression)
        return DrivenGeometry(posed=posed, head_vertices=vertices, timeline=timeline, speaker=speaker, moment=moment)

    def speaker(self, face: SourceFace, options: DubbingOptions) -> Speaker:
        """How a face speaks: its style, stage 1 calibrated to it, and what both rest on."""
        if self.calibrator is None:
            return speaker_by_motion(face.geometry, self.face_model, self.geometry_model)
        return self.calibrator.speaker(face.video, face.geometry, self.geometry_model, options)

    def _moment(self, faces: Faces, speaker: Speaker, options: DubbingOptions) -> MomentExpression | None:
        """The expression of the moment of the source, told by its own speaker, whoever gives the style."""
        if self.calibrator is None:
            return None
        if faces.style is not faces.source:
            speaker = self.speaker(faces.source, options)
        return self.calibrator.expression(faces.source.video, faces.source.geometry, speaker)

    def choose_references(self, faces: Faces, driven: DrivenGeometry, options: DubbingOptions) -> ReferenceCandidates:
        """Choose the frames that serve as references, by geometry alone; no pixel is read yet."""
        reference = faces.reference
        return choose_candidates(
            reference.geometry,
            self.mesh,
            driven.target_descriptors(),
            strategy=options.reference_strategy,
            is_occluded=reference.occlusion.is_occluded if reference.occlusion else None,
        )

    def select_references(
        self, faces: Faces, driven: DrivenGeometry, options: DubbingOptions, run: Run
    ) -> ReferenceBank:
        """Choose, read and encode the references."""
        candidates = self.choose_references(faces, driven, options)
        bank = ReferenceBank(self.mesh, faces.reference.geometry, candidates)

        def frames() -> Iterator[Frame]:
            for frame in read_ahead(read_frames(faces.reference.video, only=candidates.frames)):
                run.step(frame.index, len(faces.reference.geometry))
                yield frame

        bank.gather(frames(), self.renderer)
        return bank

    def clip_renderer(self, faces: Faces, driven: DrivenGeometry, bank: ReferenceBank) -> ClipRenderer:
        """Make what renders the frames of the output."""
        source = faces.source
        return ClipRenderer(
            self.renderer,
            self.mesh,
            driven.posed,
            driven.head_vertices,
            bank,
            is_same_clip=faces.is_same_clip,
            source_indices=driven.timeline.order,
            precision=fastest_precision(self.renderer),
            occlusion=source.occlusion,
            source_vertices=HeadVertices(self.face_model, source.geometry.template, source.geometry.expression),
            interior=self.interior,
        )

    def render(
        self,
        clip: ClipRenderer,
        timeline: Timeline,
        video: Path,
        writer: VideoWriter,
        run: Run,
        *,
        record: Observer | None = None,
    ) -> int:
        """Stage 2 over all frames, on all cores, written as they come; returns how many were passed through.

        Raises:
            NoFaceError: all of them were.
        """
        passed, images = 0, read_ahead(enumerate(read_in_order(video, timeline)))
        with closing(map_in_order(lambda item: (*item, clip.render(*item)), images, num_workers())) as frames:
            for position, image, rendered in frames:
                run.step(position, len(timeline.order))
                passed += not rendered.is_dubbed
                if record:
                    record.frame(position, image, rendered)
                writer.write(rendered.pixels, int(timeline.pts[position]))
        if passed == len(timeline.order):
            raise NoFaceError("the face is never turned to the camera; use a clip where it is seen from the front")
        return passed


@contextmanager
def sound_of(audio: Path, stretch: tuple[float, float] | None) -> Iterator[Path]:
    """The file whose sound goes into the output: the audio itself, or a stretch of it, which is removed afterwards."""
    if stretch is None:
        yield audio
        return
    with TemporaryDirectory(prefix="personatalk-") as folder:
        yield cut_sound(audio, Path(folder) / "stretch.wav", *stretch)


def check_length(source: SourceFace) -> None:
    """Refuse a clip that is too short to give references to itself.

    Raises:
        MediaError: the face is seen for less than a second.
    """
    num_valid = int(source.geometry.valid.sum())
    if num_valid < MIN_FRAMES or num_valid * source.geometry.frame_s < MIN_SECONDS:
        raise MediaError(
            f"{source.video} is too short to dub: {num_valid} frames show the face, and one second is needed "
            f"({MIN_FRAMES} frames or more); use a longer clip"
        )


def load_pipeline(checkpoints: Path = DEFAULT_FOLDER, device: str | None = None) -> DubbingPipeline:
    """Load all weights of a folder.

    Args:
        checkpoints: folder with face_model, speech_encoder, geometry and renderer.
        device: of stage 2, such as "cuda" or "auto"; all else takes little time and stays on the CPU, the default.

    Raises:
        ValueError: the machine has no such device.
        CheckpointError: weights are missing or do not fit.
    """
    place = resolve_device(device)
    geometry_model = GeometryModel(load_config(GeometryModelConfig, checkpoints / "geometry.json"))
    load_into(geometry_model, checkpoints / "geometry.safetensors")
    renderer = DualAttentionRenderer(load_config(RendererConfig, checkpoints / "renderer.json"))
    load_into(renderer, checkpoints / "renderer.safetensors")
    face_model, encoder = FaceModel.load(checkpoints / "face_model.safetensors"), load_speech_encoder(checkpoints)
    if geometry_model.config.speech_encoder != encoder.config.name:
        raise CheckpointError(
            f"{checkpoints / 'geometry.json'} is for the speech encoder {geometry_model.config.speech_encoder}, but "
            f"speech_encoder.json beside it is {encoder.config.name}"
        )
    calibrator = SpeakerCalibrator(encoder=encoder, network=load_sync_network(checkpoints), face_model=face_model)
    return DubbingPipeline(
        face_model,
        encoder,
        geometry_model,
        renderer.to(place),
        calibrator,
        interior=load_mouth_interior(checkpoints).to(place),
    )
