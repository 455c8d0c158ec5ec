"""Every English text of the page, in one place."""

from __future__ import annotations

TITLE = "PersonaTalk"
INTRO = (
    "# PersonaTalk\n"
    "Give a clip of a person speaking and any speech: the mouth follows the new speech, in that person's own way of "
    "speaking and with that person's own lips and teeth. Files stay on the machine that serves this page."
)
EXAMPLES_HEADING = "**No clip at hand?** Press an example: it shows a finished dub at once, and fills in steps 1 and 2."
EXAMPLE_NAMES = {"grid_speaker": "A real speaker", "rendered_head": "A rendered head"}
EXAMPLE_NOTE = "Example, made with the options as they are at the start."

# the steps
CLIP_LABEL = "1. Clip of the speaker"
SPEECH_LABEL = "2. New speech"
SPEECH_FROM_VIDEO = "Or take the sound of a video"
CONSENT_LABEL = "3. The person shown agreed to this, or is synthetic, and I will say that the video is dubbed"
LIMITS_NOTE = (
    "MP4, MOV, WebM and the like, any size of picture, the face seen from the front; speech as a sound file, or from "
    "your microphone. Clip and speech up to {seconds} and {megabytes} MB each."
)
RUN_HEADING = "**4. PanelContext at two seconds first, or dub all of it**"
PREVIEW_BUTTON = "Preview two seconds"
DUB_BUTTON = "Dub"
STOP_BUTTON = "Stop"

# faces
FACES_NOTE = "There are several faces. **Click the one to dub**, or choose its number; otherwise the largest is taken."
FACES_PICTURE = "First frame of the clip, its faces numbered"
FACES_LABEL = "Face to dub"
FACE_CHOICE = "Face {number}"
FACE_LARGEST = " (the largest)"

# options
OPTIONS_LABEL = "Options"
STYLE_LABEL, STYLE_INFO = "Speaking style", "0: an average speaker's; 1: this person's own; more: exaggerated"
AMPLITUDE_LABEL, AMPLITUDE_INFO = "Mouth amplitude", "below 1 the mouth opens less, above 1 more"
LENGTH_LABEL = "If clip and speech differ in length, the result is"
LENGTHS = [
    ("as long as the clip", "video"),
    ("as long as the speech: a long clip is cut, a short one goes back and forth", "audio"),
    ("as long as the speech: a short clip starts again", "loop"),
    ("as long as the speech: a short clip holds its last picture", "hold"),
]
STRATEGY_LABEL, STRATEGY_INFO = "Reference frames", "from which frames of the clip the lips are taken"
STRATEGIES = [
    ("cover the lip shapes that the speech asks for", "coverage"),
    ("the frames nearest to the average lip shape", "nearest"),
    ("evenly spaced by how far the mouth is open", "paper"),
    ("random", "random"),
]
STYLE_CLIP_LABEL = "Way of speaking from another clip (optional)"
REFERENCE_CLIP_LABEL = "Lips and way of speaking from another clip of the same person (optional)"
FACE_X_LABEL = "Face to dub: pixels from the left of the first frame"
FACE_Y_LABEL = "Face to dub: pixels from the top of the first frame"

# before the run
ESTIMATE_START = "Give a clip and a speech; the time that a dub takes is estimated here."
ESTIMATE = "**About {time}** for {frames} frames: an estimate from {source}."
ESTIMATE_MEASURED = "earlier runs on this machine"
ESTIMATE_BUILT_IN = "a two-core machine; yours may be faster or slower"
LONGER_SPEECH = (
    " The speech is {difference} longer than the clip: the picture ends first. *Options* can make it as long as the "
    "speech."
)
LONGER_CLIP = " The clip is {difference} longer than the speech: its end stays silent. *Options* can cut it."

# refusals
MISSING_TITLE = "One step is missing"
CLIP_MISSING = "Please give a clip of the speaker in step 1."
SPEECH_MISSING = "Please give the new speech in step 2: a sound file, or a recording from your microphone."
CONSENT_MISSING = "Please tick step 3 first: the person in the clip must have agreed to being dubbed."
REFUSED_TITLE = "Cannot dub this"
TOO_LONG = (
    "The {kind} is {length} long; this page takes up to {limit}. Cut it, or use the command line, which has no limit: "
    "python -m personatalk dub --help."
)
TOO_LARGE = "The {kind} is {size:.0f} MB large; this page takes up to {limit} MB. Export it smaller."
PREVIEW_WITHOUT_FACE = "No face is seen in the first two seconds, which is all that a preview looks at. Press Dub."
STOP_NOT_BY_MCP = "Runs that were started by MCP cannot be stopped by it."
FACE_NEEDS_BOTH = "Give both coordinates of the face, or neither."
BUSY_TITLE = "Too many at once"
BUSY = "Too many runs are waiting already ({count}). Please try again in a few minutes."
WAITING, WAITING_ONE = "waiting, {count} runs are before yours", "waiting, one run is before yours"
THE = "the {kind}"  # in place of a file's path
STOPPED_TITLE = "Stopped"
STOPPING = "Stopping …"
STOPPED = "Stopped: nothing was written."
FAILED = "Something went wrong inside. Please try another clip or speech; what happened is in the program's log."
STYLE_CLIP, REFERENCE_CLIP, CLIP, SPEECH, VIDEO = (
    "clip for the way of speaking", "reference clip", "clip", "speech", "video",
)  # fmt: skip

# the result
BEFORE_LABEL, AFTER_LABEL = "Before", "Dubbed"
PLAY_BUTTON = "Play or pause both, in step"
SUMMARY = "{frames} frames at {fps:g} a second, done in {seconds:.1f} s."
SUMMARY_PASSED = "{count} frames show no usable face and were left as they are."
SUMMARY_SILENT = "No voice was heard in the new speech, so the mouth stays at rest. Please listen to step 2."
SUMMARY_PREVIEW = (
    "Preview of two seconds. Lips and style come from these two seconds alone; a dub looks over the whole clip."
)
SUMMARY_LABEL = "What was done"
NO_RESULT = "The result appears here."
DOWNLOAD_VIDEO, DOWNLOAD_REPORT = "Download video (MP4)", "Download report (JSON)"
REPORT_LABEL = "Report (JSON)"
FOOTER = (
    "Uploads, recordings and results lie in a temporary folder that is yours alone. They are deleted when you close "
    "the page, after one hour at the latest, and are never logged. Do not use this to deceive: say that a video is "
    "dubbed wherever you show it."
)


def spoken_time(seconds: float) -> str:
    """Say a time as a person would."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{round(seconds)} s"
    return f"{seconds / 60:.0f} min" if seconds % 60 < 1 or seconds > 600 else f"{seconds / 60:.1f} min"


def rough_time(seconds: float) -> str:
    """Say an estimate, which is not known to a tenth of a second."""
    return spoken_time(max(1, round(seconds))).replace(".0 s", " s")


# the research panels
INSIDE_HEADING = "## PanelContext inside"
INSIDE_EMPTY = "Dub something, preview it, or see an example; then each panel below shows what happened inside."
INSIDE_GONE = "The files of this result were deleted after an hour. Dub again to look inside."
INSIDE_READY = "Open a panel to see what happened inside."
TIME_LABEL = "Frame to look at; all panels follow"
TIME_OF = "Frame to look at, {fps:g} a second; all panels follow"
SECONDS_AXIS = "seconds"

GEOMETRY_LABEL = "Geometry"
GEOMETRY_NOTE = (
    "The face mesh has 478 vertices. **Estimated** is what was measured in the clip; **driven** is what stage 1 makes "
    "of the new speech: only lips, jaw and cheeks move, the head's pose stays the clip's."
)
GEOMETRY_PICTURE = "The frame under the slider: template, estimated and driven mesh over it, and the dub"
GEOMETRY_MODEL = "Estimated (left) and driven (right), moving: turn them with the mouse or a finger"
GEOMETRY_TEXTURED = "Textured from the video"
GEOMETRY_OVERLAY_BUTTON = "Make a video of the mesh over the clip"
GEOMETRY_OVERLAY = "Driven mesh over the clip"
GEOMETRY_CURVES = "Pose of the head, and the coefficients that move most"
DOWNLOAD_GLB, DOWNLOAD_PLY, DOWNLOAD_NPZ = "All frames (GLB)", "This frame (PLY)", "All frames (NPZ)"

STYLE_LABEL = "Speaking style"
STYLE_NOTE = (
    "The style is the mean and the deviation of how this person's mouth moves in the clip; stage 1 is driven by it."
)
STYLE_MAP = "This clip among the speakers of the training set"
STYLE_FACE = "Mean and deviation of the mouth's shape, drawn on the face"
STYLE_CURVES = "Mouth over time against the sound"

REFERENCES_LABEL = "Reference frames"
REFERENCES_NOTE = (
    "The pixels of the new mouth come from these frames of the clip. A caption says the frame's number and why it was "
    "chosen. Another strategy shows what it would have chosen; the dub itself stays as it is."
)
REFERENCES_STRATEGY = "Show the lip references of"
REFERENCES_OWN = ("this dub", "own")
REFERENCES_LIP = "Lip references: from one fixed set for the clip, the 16 asked for most"
REFERENCES_FACE = "Face references: light and skin, those near in time; 16 of them shown"
REFERENCES_TIMELINE = "Where the references of this dub lie in the clip"
REFERENCES_COMPARED = "What each strategy chooses"
REFERENCES_TABLE = "Strategies compared, without rendering"

ATTENTION_LABEL = "Attention maps"
ATTENTION_KIND = "Attention of"
ATTENTION_KINDS = [("lips and face", "both"), ("lips: Lip-Attention", "lip"), ("face: Face-Attention", "face")]
ATTENTION_COLOURS = "Which reference each pixel comes from. Click a pixel to see where it was taken"
ATTENTION_X, ATTENTION_Y = "Pixel from the left", "from the top"
ATTENTION_TRACE = "Where that pixel was taken from, and how much of it"
ATTENTION_LIP = "Lip-Attention: weight of each reference, yellow is more; below it the reference itself"
ATTENTION_FACE = "Face-Attention: weight of each reference, yellow is more; below it the reference itself"
ATTENTION_PRIOR = "What all references together predict of this frame's colours; yellow is uncertain"
ATTENTION_TIME = "Weights over time"

STAGES_LABEL = "Stages and figures"
STAGES_COLUMNS = ("stage", "seconds", "share", "ms a frame", "peak memory, MB")
STAGES_TABLE, FIGURES_TABLE = "Time and memory of each stage", "Figures of this dub"
SEEN_BUTTON = "Measure the finished video too (follows the face in it, as long as in the clip)"
SEEN_TABLE = "Figures of the mouth that is seen in the finished video"
