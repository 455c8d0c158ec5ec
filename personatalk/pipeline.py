"""The dubbing pipeline: calls the stages in the order of the data, reports progress, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from personatalk.checkpoints import DEFAULT_FOLDER, load_config, load_into
from personatalk.concurrency import map_in_order, num_workers, read_ahead
from personatalk.errors import MediaError, NoFaceError
from personatalk.face_rendering.clip_renderer import ClipRenderer
from personatalk.face_rendering.config import RendererConfig
from personatalk.face_rendering.precision import fastest_precision
from personatalk.face_rendering.reference_bank import ClipReferences
from personatalk.face_rendering.renderer import DualAttentionRenderer
from personatalk.geometry.estimation import Step, follow_face
from personatalk.geometry.face_model import FaceModel, HeadVertices
from personatalk.geometry.landmark_fitting import FaceGeometry
from personatalk.geometry.mesh import FaceMesh
from personatalk.geometry.mouth import apertures_of, lip_descriptors
from personatalk.geometry_construction.config import GeometryModelConfig
from personatalk.geometry_construction.model import GeometryModel, predict_expression
from personatalk.geometry_construction.speaker_calibration import SpeakerCalibration, SpeakerCalibrator
from personatalk.geometry_construction.style import Style, style_of
from personatalk.media import Frame, VideoWriter, check_target, probe_video, read_audio, read_frames
from personatalk.media.timeline import Timeline, plan_timeline, read_in_order
from personatalk.observer import Observer, Scene
from personatalk.occlusion.search import FaceEstimate, estimate_face
from personatalk.occlusion.segmentation import Occlusion
from personatalk.options import DubbingOptions
from personatalk.progress import Progress, Run
from personatalk.speech.encoders import SpeechEncoder, load_speech_encoder
from personatalk.speech.features import SpeechFeatures
from personatalk.speech.sync_network import load_sync_network

VERSION = "0.1.0"
MIN_FRAMES = 24  # fewer leave no reference that is not next to the frame it serves
SAMPLE_RATE = 16000


@dataclass(frozen=True, kw_only=True)
class DubbingResult:
    """What a dub gives back.

    Attributes:
        video: path of the dubbed video.
        num_frames: frames in it.
        num_passed_through: frames in which no usable face was seen, so that the source stands.
        fps: frames per second.
        timings: seconds spent in each stage.
        report: versions, options, timings and figures, ready for JSON.
    """

    video: Path
    num_frames: int
    num_passed_through: int
    fps: float
    timings: dict[str, float]
    report: dict


@dataclass(frozen=True, kw_only=True)
class DrivenGeometry:
    """The geometry of the source and what stage 1 makes of it.

    Attributes:
        source: geometry of the source video.
        posed: geometry of the frames to render: the source's pose in the output's order.
        head_vertices: of the frames to render, driven by the speech.
        style: of the speaker.
        speaker_calibration: what the clip's own sound said of the speaker.
        occlusion: what stands in front of the source's face; None where nobody looked.
    """

    source: FaceGeometry
    posed: FaceGeometry
    head_vertices: HeadVertices
    style: Style
    speaker_calibration: SpeakerCalibration = SpeakerCalibration()
    occlusion: Occlusion | None = None


class DubbingPipeline:
    """Dub videos with speech.

    Args:
        face_model: the 3D morphable model.
        speech_encoder: waveform to features.
        geometry_model: stage 1.
        renderer: stage 2.
        speaker_calibration: takes a clip's own sound as evidence; without it there is none.
    """

    def __init__(
        self,
        face_model: FaceModel,
        speech_encoder: SpeechEncoder,
        geometry_model: GeometryModel,
        renderer: DualAttentionRenderer,
        speaker_calibration: SpeakerCalibrator | None = None,
    ) -> None:
        self.face_model, self.mesh = face_model, FaceMesh(face_model)
        self.speech_encoder = speech_encoder
        self.geometry_model = geometry_model.eval()
        self.renderer = renderer.eval()
        self.speaker_calibration = speaker_calibration

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
    ) -> DubbingResult:
        """Make the face of a video speak an audio file.

        Args:
            video: any clip of a person speaking.
            audio: any speech; a video's sound may serve.
            output: .mp4 to write.
            options: choices; see DubbingOptions.
            progress: told (share done, what is being done).
            should_stop: asked often; true ends the run with CancelledError and leaves no file.
            record: looks on; inspection.Recorder keeps everything for the researcher.

        Raises:
            PersonaTalkError: something that the caller can mend; the message says how.
        """
        options = options or DubbingOptions()
        run = Run(progress, should_stop, measures_memory=record is not None)
        check_target(output, [video, audio, options.style_video, options.reference_video])
        info = probe_video(video)
        with run.stage("listen", "listening to the speech"):
            waveform = read_audio(audio, SAMPLE_RATE)
            features = self.speech_encoder.encode(waveform)
        with run.stage("track", "following the face"):
            track, pts = follow_face(video, point=options.face_point, step=run.step)
        with run.stage("fit", "fitting the face"):
            face = estimate_face(video, track, self.mesh, step=run.step)
            source = face.geometry
            del track  # the longest arrays of a run
            num_valid = int(source.valid.sum())
            if options.reference_video is None and num_valid < MIN_FRAMES:
                raise MediaError(
                    f"{video} is too short to dub: {num_valid} frames show the face, and {MIN_FRAMES} are needed; "
                    "use a clip of one second or more"
                )
        with run.stage("geometry", "shaping the mouth"):
            timeline = plan_timeline(source.times, pts, len(waveform) / SAMPLE_RATE, options.length)
            driven = self.drive(face, features, timeline, options, run, video)
            del features
        reference_video = Path(options.reference_video or video)
        with run.stage("references", "choosing references"):
            references = self.gather_references(driven, reference_video, video, options, run)
        with run.stage("render", "rendering"):
            if record:
                record.begin(
                    Scene(
                        mesh=self.mesh, source=source, posed=driven.posed, style=driven.style, order=timeline.order,
                        references=references, waveform=waveform, video=Path(video), reference_video=reference_video,
                    )
                )  # fmt: skip
            passed = self._render(driven, references, timeline, video, audio, output, options, run, record)
        report = self._report(options, run, driven, references, timeline, passed, float(info.fps))
        if record:
            record.finish(report)
        return DubbingResult(
            video=output, num_frames=len(timeline.order), num_passed_through=passed, fps=float(info.fps),
            timings=run.timings, report=report,
        )  # fmt: skip

    def fit_style_video(self, video: Path, step: Step | None = None) -> FaceGeometry:
        """Follow and fit the face of a video that gives the style; `step` is told of frames."""
        track, _ = follow_face(video, step=step)
        return estimate_face(video, track, self.mesh, finds_occlusion=False, step=step).geometry

    def drive(
        self, face: FaceEstimate, features: SpeechFeatures, timeline: Timeline, options: DubbingOptions, run: Run,
        video: Path | None = None,
    ) -> DrivenGeometry:  # fmt: skip
        """Stage 1: speech and style to driven vertices, in the output's order; a video's own speech is evidence."""
        style_video = options.style_video or options.reference_video
        style_geometry = self.fit_style_video(Path(style_video), run.step) if style_video else face.geometry
        run.check()
        style = style_of(style_geometry.expression, style_geometry.valid, style_geometry.template, self.face_model)
        model, own = self.geometry_model, SpeakerCalibration()
        if self.speaker_calibration and (heard := style_video or video):
            model, own = self.speaker_calibration.calibrate(Path(heard), style_geometry, style, model, options)
        speech = predict_expression(
            model, features, torch.from_numpy(timeline.times - timeline.times[0]), style,
            style_strength=options.style_strength, mouth_amplitude=options.mouth_amplitude,
        ).numpy()  # fmt: skip
        source = face.geometry
        posed = replace(
            source,
            **{name: getattr(source, name)[timeline.order] for name in ("rotation", "translation", "scale", "valid")},
            expression=np.concatenate([speech, source.expression[timeline.order, speech.shape[1] :]], 1),
            times=timeline.times,
        )
        vertices = HeadVertices(self.face_model, posed.template, posed.expression)
        known = {"source": source, "style": style, "speaker_calibration": own, "occlusion": face.occlusion}
        return DrivenGeometry(posed=posed, head_vertices=vertices, **known)

    def gather_references(
        self, driven: DrivenGeometry, reference_video: Path, video: Path, options: DubbingOptions, run: Run
    ) -> ClipReferences:
        """Choose, read and encode the references."""
        is_same = reference_video == Path(video)
        geometry, occlusion = driven.source, driven.occlusion
        if not is_same:
            track, _ = follow_face(reference_video, step=run.step)
            other = estimate_face(reference_video, track, self.mesh, step=run.step)
            geometry, occlusion = other.geometry, other.occlusion
        posed = driven.posed
        demanded = lip_descriptors(driven.head_vertices, posed.template, posed.rotation)[posed.valid]
        references = ClipReferences(self.mesh, geometry, demanded, options.reference_strategy, occlusion)

        def frames() -> Iterator[Frame]:
            for frame in read_ahead(read_frames(reference_video, only=references.wanted)):
                run.step(frame.index, len(geometry))
                yield frame

        references.gather(frames(), self.renderer)
        return references

    def _render(
        self, driven: DrivenGeometry, references: ClipReferences, timeline: Timeline, video: Path, audio: Path,
        output: Path, options: DubbingOptions, run: Run, record: Observer | None,
    ) -> int:  # fmt: skip
        is_same = references.geometry is driven.source
        clip = ClipRenderer(
            self.renderer, self.mesh, driven.posed, driven.head_vertices, references,
            is_same_clip=is_same, source_indices=timeline.order, precision=fastest_precision(self.renderer),
            occlusion=driven.occlusion,
            source_vertices=HeadVertices(self.face_model, driven.source.template, driven.source.expression),
        )  # fmt: skip
        passed, images = 0, read_ahead(enumerate(read_in_order(video, timeline)))
        with (
            VideoWriter(output, source=video, audio=audio, crf=options.crf, end_pts=timeline.end_pts) as writer,
            closing(map_in_order(lambda item: (*item, clip.render(*item)), images, num_workers())) as frames,
        ):
            for position, image, rendered in frames:
                run.step(position, len(timeline.order))
                passed += not rendered.is_dubbed
                if record:
                    record.frame(position, image, rendered)
                writer.write(rendered.image, int(timeline.pts[position]))
            if passed == len(timeline.order):
                raise NoFaceError("the face is never turned to the camera; use a clip where it is seen from the front")
        return passed

    def _report(self, options, run, driven, references, timeline, passed, fps) -> dict:
        demanded = apertures_of(driven.head_vertices)
        return {
            "personatalk": VERSION,
            "torch": torch.__version__,
            "precision": str(fastest_precision(self.renderer)).removeprefix("torch."),
            "label": "AI MODIFIED",
            "options": {
                key: str(value) if isinstance(value, Path) else value for key, value in asdict(options).items()
            },
            "num_frames": len(timeline.order),
            "num_passed_through": passed,
            "num_occluded": int(driven.occlusion.is_occluded[timeline.order].sum()) if driven.occlusion else 0,
            "fps": fps,
            "timings_s": {name: round(value, 3) for name, value in run.timings.items()},
            "peak_memory_mb": run.peak_memory_mb,
            "face_scale_px": round(float(np.median(driven.source.scale)), 1),
            "lip_aperture": {"mean": round(float(demanded.mean()), 4), "deviation": round(float(demanded.std()), 4)},
            "speaker_calibration": driven.speaker_calibration.report(),
            "lip_references": references.lip_indices.tolist(),
            "face_references": references.face_indices.tolist(),
        }


def load_pipeline(checkpoints: Path = DEFAULT_FOLDER, device: str | None = None) -> DubbingPipeline:
    """Load all weights of a folder.

    Args:
        checkpoints: folder with face_model, speech_encoder, geometry and renderer.
        device: of stage 2, such as "cuda"; all else takes little time and stays on the CPU, the default.

    Raises:
        ValueError: the machine has no such device.
        CheckpointError: weights are missing or do not fit.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={device!r}: PyTorch finds no such device here")
    geometry_model = GeometryModel(load_config(GeometryModelConfig, checkpoints / "geometry.json"))
    load_into(geometry_model, checkpoints / "geometry.safetensors")
    renderer = DualAttentionRenderer(load_config(RendererConfig, checkpoints / "renderer.json"))
    load_into(renderer, checkpoints / "renderer.safetensors")
    face_model, encoder = FaceModel.load(checkpoints / "face_model.safetensors"), load_speech_encoder(checkpoints)
    speaker_calibration = SpeakerCalibrator(
        encoder=encoder, network=load_sync_network(checkpoints), face_model=face_model
    )
    return DubbingPipeline(face_model, encoder, geometry_model, renderer.to(device or "cpu"), speaker_calibration)
