"""The dubbing pipeline: calls the stages in the order of the data, reports progress, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from personatalk.casting import Listener, Role, choose_person, persons_report, roles_of
from personatalk.checkpoints import DEFAULT_FOLDER, load_config, load_into, weights_digest
from personatalk.concurrency import map_in_order, num_workers, read_ahead
from personatalk.devices import resolve_device
from personatalk.errors import CheckpointError, MediaError, NoFaceError, OptionError
from personatalk.face_rendering.clip_renderer import ClipRenderer, RenderedFrame
from personatalk.face_rendering.config import RendererConfig
from personatalk.face_rendering.inputs import device_of
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
from personatalk.kept_work import SUFFIX, KeptWork, NothingKept
from personatalk.kernels import compiling_ahead
from personatalk.media import Frame, VideoWriter, check_target, probe_video, read_audio, read_frames, what_is_lost
from personatalk.media.excerpt import cut_sound, mix_sounds
from personatalk.media.picture import Pixels, changes_between, with_changes
from personatalk.media.sameness import media_digest, same_media
from personatalk.media.sound import hints_about
from personatalk.media.still import is_still, still_clip
from personatalk.media.stream import StreamTarget
from personatalk.media.timeline import Timeline, plan_timeline, read_in_order
from personatalk.observer import Observer, scene_of
from personatalk.occlusion.network import OccluderNetwork, load_occluder_network
from personatalk.occlusion.search import estimate_face
from personatalk.options import DubbingOptions
from personatalk.persons.search import Cast, Person, find_persons
from personatalk.progress import Progress, Run
from personatalk.report import VERSION, dubbing_report
from personatalk.speech.encoders import SpeechEncoder, load_speech_encoder
from personatalk.speech.sync_network import load_sync_network
from personatalk.stages import (
    SAMPLE_RATE,
    DrivenGeometry,
    DubbingResult,
    FaceDub,
    Faces,
    SourceFace,
    Speech,
    at_paths,
)

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
        occluders: tells things before the face from the face; without it, those that stay are not found.
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
        occluders: OccluderNetwork | None = None,
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
        self.occluders = occluders.eval() if occluders is not None else None

    def dub(
        self,
        video: Path,
        audio: Path | Mapping[int, Path],
        output: Path,
        options: DubbingOptions | None = None,
        *,
        progress: Progress | None = None,
        should_stop: Callable[[], bool] | None = None,
        record: Observer | Sequence[Observer] | None = None,
        stretch: tuple[float, float] | None = None,
        resume: bool = False,
        stream: StreamTarget | None = None,
    ) -> DubbingResult:
        """Make the face of a video speak an audio file.

        Args:
            video: any clip of a person speaking, or a still image, which then stands as long as the speech lasts.
            audio: any speech; a video's sound may serve. To dub several faces at once, a speech for each of some
                numbers of `personatalk faces`; they are heard together.
            output: .mp4 to write.
            options: choices; see DubbingOptions.
            progress: told (share done, what is being done).
            should_stop: asked often; true ends the run with CancelledError and leaves no file.
            record: looks on; inspection.Recorder keeps everything for the researcher. Of several faces it sees the
                first; several observers see one each, in the order of the speeches.
            stretch: (start, end) s; only this part of the output is rendered and written, as it is in the whole.
            resume: keep what is finished in a folder beside the output, its name and ".unfinished", until all is
                done, and go on from what a run that was ended has left there.
            stream: a file, pipe or the like, not an input or the output, in which the video grows while it is rendered.

        Raises:
            PersonaTalkError: something that the caller can mend; the message says how.
        """
        options, video = options or DubbingOptions(), Path(video)
        check_refinement(options.refine)
        roles = roles_of(audio, options)
        sounds = [role.audio for role in roles]
        check_target(output, [video, *sounds, options.style_video, options.reference_video], stream=stream)
        observers = observers_of(record, len(roles))
        if observers and resume:
            raise OptionError("a run that is looked into cannot be resumed; leave out one of the two")
        asked = self._asked(video, roles, stretch) if resume else None
        with compiling_ahead(), keeping(output, asked) as kept, moving(video, sounds) as clip:
            run = Run(progress, should_stop, measures_memory=bool(observers), kept=kept)
            fps = float(probe_video(clip).fps)
            dubs, stretch = within(self.prepare(clip, roles, run), stretch)
            with run.stage("render", "rendering"), sound_of(sounds, stretch) as sound:
                for observer, dub in zip(observers, dubs, strict=False):
                    observer.begin(scene_of(self.mesh, dub))
                renderers = [self.clip_renderer(dub.faces, dub.driven, dub.bank) for dub in dubs]
                timeline = dubs[0].driven.timeline
                target = {"crf": options.crf, "end_pts": timeline.end_pts, "stream": stream}
                with VideoWriter(output, source=clip, audio=sound, **target) as writer:
                    is_dubbed = self.render(renderers, timeline, clip, writer, run, observers=observers)
            report = dubbing_report(dubs, is_dubbed, options, run, fps=fps, renderers=renderers)
            report["hints"] = hints_about(sounds)
            report["lost"] = what_is_lost(clip, *sounds, keeps_timeline=timeline.end_pts is None)
        for observer in observers:
            observer.finish(report)
        return DubbingResult(
            video=output,
            num_frames=len(is_dubbed),
            num_passed_through=report["num_passed_through"],
            fps=fps,
            timings=run.timings,
            driven_aperture=apertures_of(dubs[0].driven.head_vertices),
            report=report,
        )

    def _asked(self, video: Path, roles: Sequence[Role], stretch: tuple[float, float] | None) -> dict[str, str]:
        """All that a dub depends on: files by their content, choices, weights and versions."""
        options = roles[0].options
        others = [options.style_video, options.reference_video]
        files = {"the clip": [video], "the speech": [role.audio for role in roles], "the other videos": others}
        networks = (self.speech_encoder, self.geometry_model, self.renderer, self.interior, self.occluders)
        models = (self.face_model, *networks)
        network = self.calibrator.network if self.calibrator else None
        choices = [replace(role.options, style_video=None, reference_video=None) for role in roles]
        precision = fastest_precision(self.renderer)
        return {
            **{name: " ".join(content_of(path) for path in paths) for name, paths in files.items()},
            "the options": f"{choices} {stretch}",
            "the weights": weights_digest((*models, network)),
            "the program": f"{VERSION}, torch {torch.__version__}, {precision} on {device_of(self.renderer)}",
        }

    def prepare(self, video: Path, roles: Sequence[Role], run: Run) -> list[FaceDub]:
        """All that comes before the first frame is rendered, for each face that has a role."""
        choices = [role.options for role in roles]
        with run.stage("listen", "encoding the speech"):
            speeches = self.encode_speeches([role.audio for role in roles])
        faces = self.read_all_faces(video, choices, run)
        for face, chosen in zip(faces, choices, strict=True):
            if face.is_same_clip:
                check_length(face.source, "the face" if len(choices) == 1 else f"face {chosen.face}")
        with run.stage("geometry", "driving the geometry"):
            driven = [self.drive(*given, run) for given in zip(faces, speeches, choices, strict=True)]
        with run.stage("references", "selecting references"):
            known = list(zip(faces, driven, choices, strict=True))
            banks = [self.select_references(*given, run) for given in run.each(known)]
        parts = zip(roles, speeches, faces, driven, banks, strict=True)
        return [FaceDub(role=r, speech=s, faces=f, driven=d, bank=b) for r, s, f, d, b in parts]

    def encode_speeches(self, sounds: Sequence[Path]) -> list[Speech]:
        """Read and encode speeches that are heard together: each is silent from its end to that of the longest."""
        waveforms = [read_audio(sound, SAMPLE_RATE) for sound in sounds]
        longest = max(map(len, waveforms))
        padded = [np.pad(waveform, (0, longest - len(waveform))) for waveform in waveforms]
        return [Speech(waveform=waveform, features=self.speech_encoder.encode(waveform)) for waveform in padded]

    def encode_speech(self, audio: Path) -> Speech:
        """Read a sound file and encode its speech."""
        return self.encode_speeches([audio])[0]

    def read_faces(self, video: Path, options: DubbingOptions, run: Run) -> Faces:
        """Read the face of a clip, and those of the videos that give style and references, each video once."""
        return self.read_all_faces(video, [options], run)[0]

    def read_all_faces(self, video: Path, choices: Sequence[DubbingOptions], run: Run) -> list[Faces]:
        """Read several faces of a clip, one for each of some options that differ only in who is dubbed."""
        cast = self.find_cast(video, choices[0].tracker, run)
        with run.stage("fit", "fitting the face"):
            faces = run.kept.recall("faces", lambda: self._fit_faces(video, cast, choices, run))
        return at_paths(faces, video, choices[0])

    def find_cast(self, video: Path, tracker: str, run: Run) -> Cast:
        """Find who is seen in a clip that is to be dubbed."""
        with run.stage("track", "tracking the faces"):
            return run.kept.recall("cast", lambda: find_persons(video, self.face_model, tracker=tracker, step=run.step))

    def _fit_faces(self, video: Path, cast: Cast, choices: Sequence[DubbingOptions], run: Run) -> list[Faces]:
        """Fit the faces of a clip that were chosen, and track and fit those of the other videos."""
        options, persons = choices[0], [choose_person(cast, chosen, video, self.listener) for chosen in choices]
        sources = [
            replace(self._face_of(video, cast, person, options, run), persons=persons_report(cast, person))
            for person in run.each(persons)
        ]
        reference = self._other_face(options.reference_video, options, sources, run)
        style = self._other_face(options.style_video, options, [*sources, reference], run, finds_occlusion=False)
        own = [None if any(face is source for source in sources) else face for face in (reference, style)]
        return [Faces(source=face, reference=own[0] or face, style=own[1] or own[0] or face) for face in sources]

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
            network=self.occluders,
            step=run.step,
        )
        return SourceFace(
            video=video,
            geometry=found.geometry,
            occlusion=found.occlusion,
            pts=cast.pts,
            shots=cast.shots_of(person),
        )

    def _other_face(
        self,
        video: Path | None,
        options: DubbingOptions,
        known: Sequence[SourceFace | None],
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
        bank = ReferenceBank(self.mesh, faces.reference.geometry, candidates, faces.reference.occlusion)

        def frames() -> Iterator[Frame]:
            for frame in read_ahead(read_frames(faces.reference.video, only=candidates.frames)):
                run.step(frame.index, len(faces.reference.geometry))
                yield frame

        bank.gather(frames(), self.renderer)
        return bank

    def clip_renderer(self, faces: Faces, driven: DrivenGeometry, bank: ReferenceBank) -> ClipRenderer:
        """Make what renders one face in the frames of the output."""
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
        renderers: Sequence[ClipRenderer],
        timeline: Timeline,
        video: Path,
        writer: VideoWriter,
        run: Run,
        *,
        observers: Sequence[Observer] = (),
    ) -> np.ndarray:
        """Stage 2 over all frames, on all cores, written as they come.

        Args:
            renderers: one for each face; each works on what the one before has made of a frame.
            timeline: of the output.
            video: the source.
            writer: of the output.
            run: told of each frame.
            observers: each sees what one of the renderers makes, in their order.

        Returns:
            [N, faces] bool: whether a face is dubbed in each frame; if not, the source stands.

        Raises:
            NoFaceError: no face is dubbed in any frame.
        """

        def finish(item: tuple[int, Pixels]) -> tuple[int, Pixels, Pixels, np.ndarray, list[RenderedFrame]]:
            """Position, source, result, [faces] bool dubbed, what the observers see; nothing where it was kept."""
            position, source = item
            if known := run.kept.frame(position):
                return position, source, with_changes(source, known.changes), known.is_dubbed, []
            rendered, pixels = [], source
            for renderer in renderers:
                rendered.append(renderer.render(position, pixels))
                pixels = rendered[-1].pixels
            dubbed = np.array([each.is_dubbed for each in rendered])
            return position, source, pixels, dubbed, rendered[: len(observers)]

        is_dubbed = np.zeros((len(timeline.order), len(renderers)), bool)
        images = read_ahead(enumerate(read_in_order(video, timeline)))
        with closing(map_in_order(finish, images, num_workers())) as frames:
            for position, source, pixels, dubbed, seen in frames:
                run.step(position, len(is_dubbed))
                is_dubbed[position] = dubbed
                for observer, rendered in zip(observers, seen, strict=False):
                    observer.frame(position, source, rendered)
                run.kept.add_frame(position, dubbed, partial(changes_between, source, pixels))
                writer.write(pixels, int(timeline.pts[position]))
        if not is_dubbed.any():
            raise NoFaceError("the face is never turned to the camera; use a clip where it is seen from the front")
        return is_dubbed


def within(
    dubs: list[FaceDub], stretch: tuple[float, float] | None
) -> tuple[list[FaceDub], tuple[float, float] | None]:
    """The frames of some dubs in a stretch, (start, end) s, and from when to when they are; None stands for all."""
    if stretch is None:
        return dubs, None
    timeline = dubs[0].driven.timeline
    positions = timeline.positions(*stretch)
    stretch = timeline.seconds(positions)
    return [dub.part(positions, stretch) for dub in dubs], stretch


def observers_of(record: Observer | Sequence[Observer] | None, num_faces: int) -> Sequence[Observer]:
    """Who looks on at a dub, each at another face.

    Raises:
        ValueError: there are more of them than faces.
    """
    if record is None:
        return ()
    observers = record if isinstance(record, Sequence) else [record]
    if len(observers) > num_faces:
        raise ValueError(f"{len(observers)} observers cannot look at {num_faces} faces, one at each")
    return observers


def content_of(path: Path | None) -> str:
    """A digest of a file; "none" where there is none, which its reader will report."""
    return media_digest(Path(path)).hex() if path and Path(path).is_file() else "none"


@contextmanager
def keeping(output: Path, asked: dict[str, str] | None) -> Iterator[NothingKept]:
    """The finished work of a dub, in a folder beside its output that is removed when all is done.

    Args:
        output: of the dub.
        asked: all that it depends on; None keeps nothing.

    Raises:
        MediaError: the folder holds the work of another dub, or cannot be written.
    """
    if asked is None:
        yield NothingKept()
        return
    kept = KeptWork(output.with_name(output.name + SUFFIX), asked)
    try:
        yield kept
    except NoFaceError:
        kept.remove()  # it would come to the same end
        raise
    except BaseException:
        kept.close()
        raise
    kept.remove()


@contextmanager
def moving(video: Path, sounds: Sequence[Path]) -> Iterator[Path]:
    """The clip itself, or a still image made into one that lasts as long as the longest of some sounds."""
    if not is_still(video):
        yield video
        return
    longest = max(len(read_audio(sound, SAMPLE_RATE)) for sound in sounds)
    with still_clip(video, longest / SAMPLE_RATE) as clip:
        yield clip


@contextmanager
def sound_of(sounds: Sequence[Path], stretch: tuple[float, float] | None) -> Iterator[Path]:
    """The file whose sound goes into the output: the only one itself, a mix of several, or a stretch of either.

    What is made for this is removed afterwards.
    """
    with TemporaryDirectory(prefix="personatalk-") as folder:
        sound = sounds[0] if len(sounds) == 1 else mix_sounds(sounds, Path(folder) / "mix.wav")
        yield sound if stretch is None else cut_sound(sound, Path(folder) / "stretch.wav", *stretch)


def check_length(source: SourceFace, name: str) -> None:
    """Refuse a clip that is too short to give references to itself.

    Raises:
        MediaError: the face is seen for less than a second.
    """
    num_valid = int(source.geometry.valid.sum())
    if num_valid < MIN_FRAMES or num_valid * source.geometry.frame_s < MIN_SECONDS:
        raise MediaError(
            f"{source.video} is too short to dub: {num_valid} frames show {name}, and one second is needed "
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
        occluders=load_occluder_network(checkpoints),
    )
