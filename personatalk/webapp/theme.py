"""Colours, CSS and scripts of the page: two videos in step, and names of pictures for screen readers."""

from __future__ import annotations

import json

from gradio.themes import Color, Soft

from personatalk.webapp import strings

# Teal with darker middle tones than usual: text in it, or on it, has a contrast of at least 4.5 (WCAG 2 AA).
TEAL = Color(
    *("#f0fdfa", "#ccfbf1", "#99f6e4", "#5eead4", "#0f766e", "#0f766e", "#0f766e", "#115e59", "#134e4a", "#114440"),
    "#042f2e",
    name="teal",
)
THEME = Soft(primary_hue=TEAL, font=["system-ui", "sans-serif"], font_mono=["monospace"]).set(
    body_text_color_subdued="*neutral_500",
    input_placeholder_color="*neutral_500",
    input_placeholder_color_dark="*neutral_400",
    checkbox_label_text_color_selected_dark="white",
)
CSS = """
.gradio-container {max-width: 1280px !important; margin: auto; overflow: clip !important}
.dark {--color-accent: #2dd4bf}
.dark :is(#geometry-curves, #style-curves, #style-map, #references-timeline, #strategies, #attention-time) img {
  filter: invert(.93) hue-rotate(180deg)
}
#consent input {border: 2px solid var(--body-text-color-subdued); min-width: 20px; min-height: 20px}
#clip .or, #speech .or, #options .or, #speech time, #speech .playback {color: var(--body-text-color-subdued)}
#examples button {display: flex; flex-direction: row; gap: 12px; justify-content: flex-start; padding: 6px 12px}
#examples img {width: 56px; height: 56px; border-radius: 8px; object-fit: cover}
#pair {flex-wrap: nowrap}
#pair > * {min-width: 0 !important}
#status {min-height: 28px}
#frame-slider, .form:has(> #frame-slider) {position: sticky; top: 0; z-index: 60}
#inside .picture .image-container {padding-top: 34px}
#inside .grid-wrap {max-height: none; min-height: 0}
#inside .grid-container {
  grid-template: none / repeat(var(--grid-cols), minmax(0, 1fr)); grid-auto-rows: auto
}
#inside .gallery-item, #inside .thumbnail-item {height: auto; aspect-ratio: auto}
#inside .thumbnail-item {display: flex; flex-direction: column}
#inside .gallery-item img {height: auto}
#inside .gallery-item .caption-label {
  position: static; max-width: 100%; white-space: normal; text-align: left; font-size: 11px; line-height: 1.3;
  opacity: 1
}
#inside .table {overflow-x: auto; width: 100%; contain: inline-size}
#inside table {border-collapse: collapse; border: 0; font-size: 13px}
#inside caption {text-align: left; font-weight: 600; padding: 6px 0}
#inside th, #inside td {text-align: left; padding: 4px 8px; border: 0}
#inside tr {border-bottom: 1px solid var(--border-color-primary)}
:focus-visible {outline: 3px solid var(--color-accent); outline-offset: 2px}
@media (max-width: 640px) {
  .gradio-container {padding: 8px !important}
  #controls button {min-width: 0 !important; padding: 8px 10px; font-size: 15px}
}
"""
PICTURE_NAMES = {
    "face-picture": strings.FACES_PICTURE,
    "geometry-picture": strings.GEOMETRY_PICTURE,
    "geometry-curves": strings.GEOMETRY_CURVES,
    "style-curves": strings.STYLE_CURVES,
    "style-map": strings.STYLE_MAP,
    "style-face": strings.STYLE_FACE,
    "references-timeline": strings.REFERENCES_TIMELINE,
    "strategies": strings.REFERENCES_COMPARED,
    "attention-colours": strings.ATTENTION_COLOURS,
    "attention-lip": strings.ATTENTION_LIP,
    "attention-prior": strings.ATTENTION_PRIOR,
    "attention-face": strings.ATTENTION_FACE,
    "attention-time": strings.ATTENTION_TIME,
}
# Gradio gives pictures no alternative text, and does not mark its messages as live regions.
NAMING = """
  const names = NAMES;
  const name = () => {
    for (const [id, text] of Object.entries(names))
      for (const picture of document.querySelectorAll(`#${id} img`)) {
        if (picture.alt !== text) picture.alt = text;
        picture.closest("button")?.setAttribute("aria-label", text);
      }
    for (const empty of document.querySelectorAll(".empty[aria-label]")) empty.setAttribute("role", "img");
    for (const id of ["status", "estimate"]) document.getElementById(id)?.setAttribute("role", "status");
  };
  new MutationObserver(name).observe(document, {childList: true, subtree: true});
"""
# Play, pause or seek in one of the two videos moves the other; these events do not bubble, so they are captured.
# While both play, the follower runs a little faster or slower until it is level.
FOLLOWING = """
  const video = (id) => document.querySelector(`#${id} video`);
  const pair = () => [video("result"), video("before")];
  const level = (other, time) => { other.currentTime = Math.min(time, (other.duration || 1e9) - 0.02); };
  const follow = (event) => {
    const [after, before] = pair();
    if (!before || !after || (event.target !== before && event.target !== after)) return;
    const leader = event.target, other = leader === after ? before : after;
    before.muted = true;
    if (Math.abs(other.currentTime - leader.currentTime) > 0.3) level(other, leader.currentTime);
    if (event.type === "play" && other.paused && !other.ended) other.play().catch(() => {});
    if (event.type === "pause" && !leader.ended) { other.pause(); level(other, leader.currentTime); }
  };
  for (const type of ["play", "pause", "seeked"]) document.addEventListener(type, follow, true);
  setInterval(() => {
    const [after, before] = pair();
    if (!before || !after || after.paused || before.paused) return;
    const behind = after.currentTime - before.currentTime;
    if (Math.abs(behind) > 0.4) level(before, after.currentTime);
    else before.playbackRate = after.playbackRate * (1 + Math.max(-0.5, Math.min(0.5, 3 * behind)));
  }, 100);
"""
# What the 3-D view can expect of this browser, as a class of the whole document.
WEBGL = """
  const canvas = document.createElement("canvas");
  const gl = canvas.getContext("webgl2") || canvas.getContext("webgl");
  if (!gl) document.documentElement.classList.add("webgl-missing");
  else {
    const names = gl.getExtension("WEBGL_debug_renderer_info");
    const renderer = gl.getParameter(names ? names.UNMASKED_RENDERER_WEBGL : gl.RENDERER);
    if (/swiftshader|llvmpipe|softpipe|software|basic render/i.test(renderer))
      document.documentElement.classList.add("webgl-software");
    gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
"""
# Not in CSS, whose rules Gradio lets begin below the document.
WEBGL_STYLE = """
  #webgl-missing, #webgl-software {display: none}
  .webgl-missing #webgl-missing, .webgl-software #webgl-software {display: block}
"""
SCRIPTS = (NAMING.replace("NAMES", json.dumps(PICTURE_NAMES)), FOLLOWING, WEBGL)
HEAD = "".join(f"<script>(() => {{{script}}})();</script>" for script in SCRIPTS) + f"<style>{WEBGL_STYLE}</style>"
PLAY = """() => {
  const video = document.querySelector("#result video");
  if (!video) return;
  if (!video.paused) return void video.pause();
  if (video.ended) video.currentTime = 0;
  video.play();
}"""
# The slider of the research panels moves both videos to its frame.
SEEK = """(frame, fps) => {
  for (const id of ["result", "before"]) {
    const video = document.querySelector(`#${id} video`);
    if (!video) continue;
    video.pause();
    video.currentTime = Math.min((frame + 0.5) / fps, (video.duration || 1e9) - 0.02);
  }
}"""
