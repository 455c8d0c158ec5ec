"""All texts that a visitor of the page reads."""

from __future__ import annotations

TITLE = "PersonaTalk"
INTRO = (
    "# PersonaTalk\n"
    "Give a clip of a person speaking and any speech: the mouth follows the new speech, in that person's own speaking "
    "style, with that person's own lips and teeth."
)
EXAMPLES_HEADING = "**No clip at hand?** Press an example: a finished dub."
EXAMPLE_NAMES = {
    "grid_speaker": "Real speaker",
    "grid_glasses": "Unseen in training",
    "rendered_head": "Rendered head",
    "painted_portrait": "Painted portrait",
    "rendered_turned": "Head turned by 25°",
    "rendered_glasses": "Glasses, in 720p",
}
EXAMPLE_NOTE = "Example, made with the default options."
EXAMPLE_BEFORE = "first “{name}” is made: {stage}"

# the steps
STEPS_LABEL = "Steps"
CLIP_LABEL = "1. Clip of the speaker"
STILL_LABEL = "1. Picture of the speaker"
STILL_BUTTON = "Or use a picture"
SPEECH_LABEL = "2. New speech"
SPEECH_FROM_VIDEO = "Or take the sound of a video"
TEXT_LABEL, VOICE_NOTE, SPEAK_BUTTON = "Or type what is to be said", "Voice:", "Speak"
CONSENT_LABEL = "3. The person shown agreed to this, or is synthetic, and I will say that the video is dubbed"
LIMITS_NOTE = (
    "Any resolution, the face seen from the front; the speech a sound file or a recording. Limit of each file:"
)
LIMITS_FORM = " {seconds}, {megabytes} MB."
RUN_HEADING = "**4. Preview two seconds, or dub all**"
PREVIEW_BUTTON = "Preview two seconds"
DUB_BUTTON = "Dub"
STOP_BUTTON = "Stop"

# faces
FACES_NOTE = "There are several faces. **Click the one to dub**, or choose its number; otherwise the largest is taken."
FACES_SEARCH = "Looking through the whole clip for everybody who is seen …"
FACES_PICTURE = "First frame of the clip, its faces numbered"
FACES_LABEL = "Face to dub"
FACE_CHOICE = "Face {number}"
FACE_LARGEST = " (the largest)"
PERSONS_BUTTON = "Who is in the clip?"
PERSONS_NOTE = "**Choose who speaks the new speech** of step 2."
PERSONS_LABEL = "Person to dub"
PERSON = "Person {number}"
PERSON_SEEN = "seen for {time}"
PERSON_SPEAKING, PERSON_SILENT = "speaking", "not speaking"
PERSON_UNUSABLE = "cannot be dubbed: {reason}"
REASONS = {
    "short": "seen for less than a second",
    "small": "less than 60 pixels wide",
    "turned": "turned away from the camera",
}
NOBODY_USABLE = "Nobody in this clip can be dubbed; the list says why."
NOBODY_SEEN = "no face was found in the clip; use one that shows a face from the front"
SPEECHES_LABEL = "Others speak too (optional)"
SPEECHES_NOTE = "All who get a speech are dubbed at once and heard together; step 3 then speaks of each of them."
SPEECH_OF_PERSON = "Speech of person {number}"
REFERENCES_OF_ONE = (
    "A clip with reference frames is of one person; please remove it from the options, or the speeches of the others."
)

# options
OPTIONS_LABEL = "Options"
STYLE_LABEL, STYLE_INFO = "Speaking style", "0: the average of all speakers; 1: this person's own; more: exaggerated"
EXPRESSION_LABEL = "Expression of the moment"
EXPRESSION_INFO = "1 keeps what lasts longer than a word: a smile, a tense lip. 0 drops it."
AMPLITUDE_LABEL, AMPLITUDE_INFO = "Mouth amplitude", "factor on the motion of the mouth"
LENGTH_LABEL = "If clip and speech differ in length, the result is"
LENGTHS = [
    ("as long as the clip", "video"),
    ("as long as the speech: a longer clip is cut, a shorter one plays back and forth", "audio"),
    ("as long as the speech: a shorter clip starts again", "loop"),
    ("as long as the speech: a shorter clip holds its last frame", "hold"),
]
STRATEGY_LABEL, STRATEGY_INFO = "Lip reference frames", "how the frames are selected whose lips are used"
STRATEGIES = [
    ("those that cover the driven lip shapes", "coverage"),
    ("those nearest to the mean driven lip shape", "nearest"),
    ("evenly spaced by lip aperture, as in the paper", "paper"),
    ("random", "random"),
]
STYLE_CLIP_LABEL = "Speaking style from another clip (optional)"
REFERENCE_CLIP_LABEL = "Reference frames and speaking style from another clip of the same person (optional)"
FACE_X_LABEL = "Face to dub: pixels from the left of the first frame"
FACES_GIVEN_LABEL, SPEECHES_GIVEN_LABEL = "Numbers of the persons to dub", "Speech of each, in the same order"
FACE_Y_LABEL = "Face to dub: pixels from the top of the first frame"

# before the run
ESTIMATE_START = "The time of a dub is estimated here."
ESTIMATE = "**About {time}** for {frames} frames: an estimate from {source}."
ESTIMATE_COMPILING = " The first run after installation takes some {time} more, once."
ESTIMATE_MEASURED = "earlier runs on this machine"
ESTIMATE_BUILT_IN = "a two-core machine; yours may be faster or slower"
LONGER_SPEECH = (
    " The speech is {difference} longer than the clip, so the picture ends first. *Options* can make it as long as the "
    "speech."
)
LONGER_CLIP = " The clip is {difference} longer than the speech, so its end is silent. *Options* can cut it."

# refusals
MISSING_TITLE = "One step is missing"
CLIP_MISSING = "Please give a clip or a picture of the speaker in step 1."
SPEECH_MISSING = "Please give the new speech in step 2: a sound file, or a recording from your microphone."
TEXT_MISSING = "Please type what is to be said."
TEXT_TOO_LONG = (
    "The text has {count} characters; up to {limit} can be spoken at once. Shorten it, or give a sound file in step 2."
)
TEXT_UNSPEAKABLE = "Nothing in this text can be spoken. Please type words."
CONSENT_MISSING = "Please tick step 3 first: the person in the clip must have agreed to being dubbed."
REFUSED_TITLE = "Cannot dub this"
TOO_LONG = (
    "{kind} is {length} long; this page takes up to {limit}. Cut it, or use the command line, which has no limit: "
    "python -m personatalk dub --help."
)
TOO_LARGE = "{kind} is {size:.0f} MB large; this page takes up to {limit} MB. Export it smaller."
PREVIEW_WITHOUT_FACE = "No face is seen in the part of the clip that a preview uses. Press Dub."
FACES_AND_SPEECHES = (
    "Give one to {most} different numbers of /faces, counted from 0, as a list such as [0, 2], and a speech for each "
    "in the same order."
)
STOP_NOT_BY_MCP = "Runs that were started by MCP cannot be stopped by it."
FACE_NEEDS_BOTH = "Give both coordinates of the face, or neither."
BUSY_TITLE = "Too many at once"
BUSY = "Too many runs are waiting already ({count}). Please try again in a few minutes."
WAITING, WAITING_ONE = "waiting, {count} runs are before yours", "waiting, one run is before yours"
GROWING = "What is finished so far; the rest is being rendered."
WAITING_TIME = ": about {time} until your turn"
RECALLING = "taking the face over from the run before"
STOPPED_TITLE = "Stopped"
STOPPING = "Stopping …"
STOPPED = "Stopped: nothing was written."
FAILED_TITLE = "Something went wrong"
FAILED = "An internal error happened; it is in the server's log. Please try another clip or speech."
# in place of a file's path
CLIP, SPEECH, SPEECH_OF, VIDEO = "the clip", "the speech", "the speech of person {number}", "the video"
STYLE_CLIP, REFERENCE_CLIP = "the style clip", "the reference clip"

# what the pipeline says, here for its translations
PIPELINE_SAYS = {
    "listen": "encoding the speech",
    "track": "tracking the faces",
    "fit": "fitting the face",
    "geometry": "driving the geometry",
    "references": "selecting references",
    "render": "rendering",
    "silent": "Nothing is heard in {name}, so the mouth stays at rest.",
    "cancelled": (
        "The channels of {name} cancel each other out when they are mixed, so hardly anything is left to move the "
        "mouth. Give a recording of one channel."
    ),
    "the_speech": "the new speech",
    "unseen": (
        "no face can be followed: it was found in {seen} of {frames} frames. Use a clip where one face is seen from "
        "the front, at least 60 pixels wide."
    ),
    "turned": "the face is never turned to the camera; use a clip where it is seen from the front",
    "outside": "the face lies outside the picture in all frames; use a clip that shows the whole mouth",
    "short": (
        "{video} is too short to dub: {frames} frames show {name}, and one second is needed ({least} frames or more); "
        "use a longer clip"
    ),
    "the_face": "the face",
    "text": "{file} is a text file, whatever its name says; give a video or audio file.",
    "image": "{file} is an image; give a video or audio file.",
    "image_for_clip": "{file} is an image; give a video file.",
    "empty": "{file} is empty (0 bytes); export or download it again.",
    "incomplete": "{file} is incomplete: its index is missing, as after a broken download; get the whole file.",
    "broken": "{file} is broken, or no video or audio file at all; export or download it again.",
    "broken_picture": "{file} is broken, or no image at all; export or download it again.",
    "large_picture": "{file} is larger than 4096 x 4096 pixels; give a smaller picture.",
    "no_frames": "{file} is broken: none of its frames can be decoded; export or download it again.",
    "no_video": "{file} holds sound but no video; give a video file.",
    "no_stream": "{file} has no video stream; give a video file.",
    "no_sound": "{file} has no sound in it; give a file with an audio stream.",
    "no_length": "The sound in {file} is 0 s long, or broken; give a recording that holds speech.",
    "unknown_video": "The video in {file} is of an unknown kind; export it as MP4.",
    "unknown_sound": "The sound in {file} is of an unknown kind; export it as WAV.",
    "unconverted_sound": "The sound in {file} cannot be converted ({reason}); export it as WAV.",
    "infinite_sound": "The sound in {file} is broken: some samples are not finite numbers; export it again.",
    "broken_sound": "The sound in {file} is 0 s long, or broken; give another recording.",
    "channels": "{file} has {count} channels of sound; give a file with at most {most}.",
    "unwritten": "{file} was not written: there was no frame to write.",
    "no_excerpt": "{file} has no frame between {start} and {end} s",
    "died": (
        "The process that worked on these files ended ({reason}): a file is broken in a way that its decoder does not "
        "survive, or memory ran out; export the clip and the speech again, or use shorter ones."
    ),
}

# what the research panels show, here for its translations; lines are joined
INSPECTION_SAYS = {
    "listening": "listening to the speech",
    "tracking": "tracking the face",
    "stage_1": "stage 1: driving the geometry",
    "references": "choosing and encoding references",
    "stage_2": "stage 2: rendering and writing",
    "all": "all",
    "too_short": "speech and face overlap for too short a time",
    "thousandths": "thousandths of the IOD",
    "jitter_driven": "lip jitter, driven",
    "jitter_source": "mean second difference over time; the source's own lips {jitter}",
    "deviation_ratio": "lip aperture, deviation ratio",
    "of_the_source": "of the source's",
    "moves_less": "below 1 the mouth moves less than the source's",
    "seam": "seam",
    "of_the_gradient": "of the source's gradient",
    "seam_meaning": "gradient across the mask's edge, {count} frames; 1 is no visible seam",
    "switching": "switching of {kind} references",
    "per_frame": "of the weight, per frame",
    "weight_moves": "share of the weight that moves to other references",
    "measured_mouth": "measured mouth",
    "aperture_measured": "lip aperture, measured",
    "correlation": "correlation",
    "aperture_meaning": "of the lip aperture in the dub with the driven one; 1 is perfect",
    "jitter_measured": "lip jitter, measured",
    "jitter_meaning": "mean second difference over time of the lips in the dub",
    "sync_offset": "sync offset, {which} mouth",
    "sync_confidence": "sync confidence, {which} mouth",
    "offset_meaning": "of the mouth after the sound; negative before it",
    "log_odds": "log odds",
    "confidence_meaning": "of that offset against the others; the offset is reliable from about 6 on",
    "identity": "identity",
    "embeddings": "distance of embeddings",
    "identity_meaning": ("dub to its source frame; between frames of the source {distance}; from .6 on another person"),
    "driven": "driven",
    "measured": "measured",
    "lip": "lip",
    "passed_through": "this frame was left as it is: no usable face",
    "lip_attention": "Lip-Attention gives {share} of frame {frame}: where (yellow)",
    "face_attention": "Face-Attention gives {share} of frame {frame}: where (yellow)",
    "of_it": "{share} of it from frame {frame}",
    "traced": "frame {frame} of the dub",
    "traced_source": "frame {frame} of the dub: this pixel is the source's own",
    "sampled": "{share} from {kind} frame {frame}, learnt step {x}, {y} px",
    "prior_source": "source of frame {frame}",
    "prior": "predicted from all references, at half the renderer's size",
    "prior_nothing": "nothing was predicted: references of another video, or too few frames",
    "prior_uncertainty": "its uncertainty",
    "prior_result": "result",
    "template": "template: neutral face of this person",
    "estimated": "estimated from the source",
    "driven_mesh": "driven by the speech",
    "dub_at": "the dub at {seconds} s (frame {frame})",
    "reference": "frame {frame} at {seconds} s, aperture {aperture}",
    "reference_nearest": "{reference}; nearest to {share} of driven mouths ({distance} IOD)",
    "reference_chosen": "{reference}; chosen {reason} ({distance} IOD)",
    "coverage": "so that every driven mouth has a near one",
    "paper": "evenly by lip aperture",
    "random": "at random",
    "nearest": "nearest to the mean of the driven mouths",
    "axis": "axis {number}, {share} of the differences between speakers; {direction}: {first}, {second}",
    "trait": "{amount} {trait} (r {correlation})",
    "to_the_right": "to the right",
    "up": "up",
    "more": "more",
    "less": "less",
    "mean_aperture": "mean lip aperture",
    "aperture_deviation": "deviation of lip aperture",
    "mean_width": "mean mouth width beyond rest",
    "width_deviation": "deviation of mouth width",
    "drawn_back": "lips drawn back",
    "lowered": "lips lowered",
    "gone": "{file} is gone; its frames {frames} cannot be shown",
}
COLUMNS = {
    "stage": "stage",
    "seconds": "seconds",
    "share": "share",
    "ms_per_frame": "ms per frame",
    "peak_memory_mb": "peak memory, MB",
    "strategy": "strategy",
    "mean_distance": "mean distance",
    "p95_distance": "95 % of distances below",
    "min_aperture": "least aperture",
    "max_aperture": "largest aperture",
    "shared_frames": "shared with this dub",
    "name": "name",
    "value": "value",
    "unit": "unit",
    "meaning": "meaning",
}

# the result
BEFORE_LABEL, AFTER_LABEL = "Before", "Dubbed"
SUMMARY = "{frames} frames at {fps:g} fps, dubbed in {seconds:.1f} s."
SUMMARY_PASSED = "Frames without a usable face, passed through: {count}."
SUMMARY_IN_SYNC = "Lip sync: good, {offset} (confidence {confidence:.1f})."
SUMMARY_OFF_SYNC = "Lip sync: {offset} (confidence {confidence:.1f})."
SUMMARY_NO_SYNC = "Lip sync: unclear (confidence {confidence:.1f}); noisy or very short speech can be the reason."
SUMMARY_NOT_JUDGED = "Lip sync: not measured, as face and speech are there together for too short a time."
SYNC_LATE, SYNC_EARLY = "the mouth is {ms:.0f} ms after the sound", "the mouth is {ms:.0f} ms before the sound"
SUMMARY_STYLE = "Speaking style: {whose}, calibrated on {seconds} of own speech."
SUMMARY_STYLE_PICTURE = (
    "Speaking style: {whose}, from the picture alone; no speech of its own was found to fit the face."
)
STYLE_OWN, STYLE_OTHER = "this person's own", "that of the other clip"
SUMMARY_STYLE_AVERAGE = "Speaking style: the average of all speakers, as chosen in the options."
SUMMARY_STYLE_SCALED = "Speaking style: {whose} at {strength:.0%}, as chosen in the options."
SUMMARY_SILENT = "No voice was found in the new speech, so the mouth stays at rest. Please listen to step 2."
SUMMARY_SHOTS = "Shots that do not show this person, left as they are: {count}."
SUMMARY_PAINTED = "Frames whose mouth no reference shows so far open, so that its inside is made up: {share:.0%}."
SUMMARY_OCCLUDED = "Frames with a hand or another thing in front of the face, which was kept: {count}."
WARNING = "⚠️ {text}"
WARN_SHUT = (
    "The mouth is hardly seen open in the clip, so lips and teeth of open mouths are guessed. A clip in which the "
    "person speaks, or a reference clip in the options, helps."
)
WARN_TURNED = (
    "The head is turned {degrees:.0f}° away from the camera most of the time, so lips are less exact. A clip seen from "
    "the front helps."
)
WARN_SMALL = (
    "The face is only {pixels:.0f} pixels wide, so that little of the mouth can be seen. A clip with a larger face, or "
    "not made smaller, helps."
)
SUMMARY_OF_PERSON = "Person {number}: {text}"
SUMMARY_PREVIEW = "Preview of two seconds, as they will be in the dub."
SUMMARY_PREVIEW_LONG = (
    "Preview of two seconds. Style and reference frames come from the clip's first ten seconds; a dub uses all of it."
)
JUDGING = "measuring lip sync"
PREPARING_KERNELS = "{stage}; preparing kernels (first run after installation)"
SUMMARY_LABEL = "What was done"
NO_RESULT = "The result appears here."
VIEW_LABEL = "How before and after are compared"
VIEWS = [("Side by side", "side"), ("Wipe", "wipe"), ("Mouth, 2×", "mouth")]
SHOWN_PERSON = "Person shown in the charts and panels"
WIPE_LABEL = "Left of the line: before; right of it: dubbed"
NO_MOUTH = "Where the mouth is, is known once a dub has found a face."
DOWNLOAD_VIDEO, DOWNLOAD_REPORT = "Video (MP4)", "Report (JSON)"
MAKERS = {"side": "Both (MP4)", "webp": "Both (WebP)", "gif": "Both (GIF)", "zip": "Everything (ZIP)"}
DOWNLOAD_MADE = "{name} ({megabytes:.1f} MB)"
GONE_TITLE = "No longer there"
FILES_GONE = "The files of this result were deleted after an hour. Please dub again."
REPORT_LABEL = "Report (JSON)"
FOOTER = (
    "Files stay on the machine that serves this page, are deleted when you close it, after one hour at the latest, and "
    "are never logged. Do not use this to deceive: say that a video is dubbed wherever you show it."
)


def spoken_time(seconds: float) -> str:
    """Format a duration as a person would say it."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{round(seconds)} s"
    return f"{seconds / 60:.0f} min" if seconds % 60 < 1 or seconds > 600 else f"{seconds / 60:.1f} min"


def rough_time(seconds: float) -> str:
    """Format an estimated duration, which is not known to a tenth of a second."""
    return spoken_time(max(1, round(seconds))).replace(".0 s", " s")


# the time bar
TIME_BAR = "Time"
TIME_LABEL = "Frame shown in all tabs"
PLAY, PAUSE = "Play", "Pause"
FRAME_BACK, FRAME_ON = "One frame back", "One frame on"
LOOP = "Loop"
LOOP_HELP = (
    "Repeat a second around this frame. Keys on the bar: [ and ] set where the loop begins and ends, Escape ends it"
)
PLACE, NO_FRAMES = "{frame} of {last} · {seconds} s", "no result yet"
RESULT_LABEL = "Result"

# the research panels
# charts
CHART_HELP = "Click a chart to go there, drag over it to repeat a stretch."
CHART_SOURCE, CHART_ASKED, CHART_SEEN = "the clip", "asked for", "seen in the dub"
CHART_APERTURE, CHART_WIDTH, CHART_SPEECH = "lip aperture", "mouth width", "new speech"
CHART_CLOSED, CHART_VOICE, CHART_OTHERS = "lips shut", "voice", "others"
CHART_TURNS = {"yaw": "yaw", "pitch": "pitch", "roll": "roll"}
CHART_TURN, CHART_DEGREES, CHART_SIZE, CHART_EYES = (
    "head turn",
    "degrees",
    "size of the face",
    "outer eye corners apart",
)
CHART_COEFFICIENT, CHART_DEVIATIONS = "coefficient {number}", "standard deviations"
CHART_SHARES = {
    "lip": "lip references, by frame; {change:.1%} of the weight changes per frame",
    "face": "face references, by frame; {change:.1%} of the weight changes per frame",
}
CHART_REFERENCE = {
    "lip": "lip reference, frame {frame} at {seconds:.2f} s",
    "face": "face reference, frame {frame} at {seconds:.2f} s",
}
CHART_SPEAKERS, CHART_THIS, CHART_DRIVEN = "{count} training speakers", "this speaker", "driven geometry"
CHART_DISTANCE, CHART_SELECTED = "driven mouth to the nearest reference", "selected"
CHART_REFERENCE_APERTURE = "in the clip that gives the references"

GEOMETRY_LABEL = "Geometry"
MESHES_LABEL, MODEL_LABEL, CURVES_LABEL, OVERLAY_LABEL = "Meshes", "3-D", "Pose and expression", "Over the clip"
GEOMETRY_NOTE = (
    "The face mesh has 478 vertices. **Estimated** is the geometry fitted to the clip; **driven** is the geometry that "
    "stage 1 predicts from the new speech: lips, jaw and cheeks move, the head pose stays that of the clip."
)
GEOMETRY_PICTURE = "The chosen frame: template, estimated and driven mesh over it, and the dub"
GEOMETRY_MODEL = "Estimated and driven geometry, animated; the 3-D view turns with the mouse or a finger"
WEBGL_MISSING = (
    "This browser offers no WebGL, so the 3-D view would stay empty and a film is shown. *All frames (GLB)* opens in "
    "other programs."
)
WEBGL_SOFTWARE = "This browser draws WebGL in software: the 3-D view is slow, so a film is shown first."
MODEL_VIEW = "Shown as"
MODEL_VIEWS = [("3-D view", "model"), ("film", "film")]
SURFACE = "Surface (lines and expression: film only)"
SURFACES = [("clip", "texture"), ("lines", "wireframe"), ("expression", "expression"), ("grey", "grey")]
TURNTABLE = "Template, estimated and driven face, turning"
GEOMETRY_OVERLAY_BUTTON = "Make a video of the mesh over the clip"
GEOMETRY_OVERLAY = "Driven mesh over the clip"
GEOMETRY_CURVES = "Head pose, and the expression coefficients that vary most"
DOWNLOAD_GLB, DOWNLOAD_PLY, DOWNLOAD_NPZ = "All frames (GLB)", "This frame (PLY)", "All frames (NPZ)"

STYLE_TAB = "Style"
MOUTH_LABEL, MAP_LABEL, ON_FACE_LABEL = "Mouth over time", "Among speakers", "On the face"
STYLE_NOTE = (
    "The style is the mean and the standard deviation of this person's expression in the clip; stage 1 is conditioned "
    "on it."
)
STYLE_MAP = "This clip among the speakers of the training set"
STYLE_FACE = "Mean and standard deviation of the mouth shape, drawn on the face"
STYLE_CURVES = "Lip aperture and mouth width over time, with the sound"

REFERENCES_LABEL = "References"
LIPS_LABEL, FACE_LABEL, TIMELINE_LABEL, STRATEGIES_LABEL = "Lips", "Face", "In the clip", "Strategies"
REFERENCES_NOTE = (
    "The new mouth's pixels come from these frames. Another strategy only shows what it would have selected."
)
REFERENCES_STRATEGY = "Lip references selected by"
OWN = "own"
SHOWN_STRATEGIES = [("this dub", OWN), *STRATEGIES]
REFERENCES_LIP, REFERENCES_FACE = "Lip references", "Face references"
REFERENCES_LIP_SHOWN = "**Lip references**: of the dub's {total}, the {shown} that serve most frames"
REFERENCES_FACE_SHOWN = (
    "**Face references**, for light and skin: {shown} of the dub's {total}; a frame attends to those near in time, "
    "at least {gap:.2f} s away"
)
REFERENCES_TIMELINE = "Time of the references in the clip"
REFERENCES_COMPARED = "Lip references that each strategy selects: mouth width across, lip aperture upwards, IOD."
REFERENCES_TABLE = "Strategies compared, without rendering"

ATTENTION_LABEL = "Attention"
TRACE_LABEL, LIP_LABEL, PRIOR_LABEL, OVER_TIME_LABEL = "Where from", "Lips", "Texture prior", "Over time"
ATTENTION_KIND = "Attention of"
ATTENTION_KINDS = [("lips and face", "both"), ("lips", "lip"), ("face", "face")]
ATTENTION_COLOURS = "The reference with the largest weight at each pixel. Click a pixel to see where it was sampled"
ATTENTION_X, ATTENTION_Y = "Pixel from the left", "from the top"
ATTENTION_TRACE = "Where that pixel was sampled in each reference, and with which weight"
ATTENTION_LIP = "Lip-Attention: weight of each reference (yellow: larger); below it the reference"
ATTENTION_FACE = "Face-Attention: weight of each reference (yellow: larger); below it the reference"
ATTENTION_PRIOR = "Texture prior: the colours that all references together predict for this frame (yellow: uncertain)"
ATTENTION_TIME = "Attention weights over time"

FIGURES_LABEL = "Figures"
PICTURES_LABEL, STAGES_LABEL, MERITS_LABEL = "Stage by stage", "Time and memory", "Quality"
STAGE_PICTURES = "What each stage made of the chosen frame"
STAGE_SOURCE = "1. The clip"
STAGE_FIT = "2. The geometry fitted to it"
STAGE_DRIVEN = "3. The geometry that the new speech drives"
STAGE_PRIOR = "4. The texture that all references predict"
STAGE_ATTENTION = "5. From which reference each pixel is sampled"
STAGE_DUB = "6. The dub"
STAGES_TABLE, FIGURES_TABLE = "Time and memory of each stage", "Figures of this dub"
SEEN_BUTTON = "Measure the dubbed video too (tracks its face, which takes as long as for the clip)"
SEEN_TABLE = "Figures of the mouth in the dubbed video, tracked anew"
