"""How the page looks, and the little script that plays two videos in step."""

from __future__ import annotations

import gradio as gr

THEME = gr.themes.Soft(primary_hue="teal", font=["system-ui", "sans-serif"], font_mono=["monospace"])
CSS = """
.gradio-container {max-width: 1280px !important; margin: auto}
#consent input {border: 2px solid var(--body-text-color-subdued); min-width: 20px; min-height: 20px}
#pair {flex-wrap: nowrap}
#pair > * {min-width: 0 !important}
#inside .grid-wrap {max-height: none; min-height: 0}
#inside .grid-container {grid-template-columns: repeat(var(--grid-cols), minmax(0, 1fr))}
#inside .gallery-item, #inside .thumbnail-item {height: auto; aspect-ratio: auto}
#inside .thumbnail-item {display: flex; flex-direction: column}
#inside .gallery-item img {height: auto}
#inside .gallery-item .caption-label {
  position: static; max-width: 100%; white-space: normal; text-align: left; font-size: 11px; line-height: 1.3
}
#inside .table {overflow-x: auto; width: 100%; contain: inline-size}
#inside table {border-collapse: collapse; font-size: 13px}
#inside caption {text-align: left; font-weight: 600; padding: 6px 0}
#inside th, #inside td {text-align: left; padding: 4px 8px; border-bottom: 1px solid var(--border-color-primary)}
:focus-visible {outline: 3px solid var(--color-accent); outline-offset: 2px}
@media (max-width: 640px) {.gradio-container {padding: 8px !important}}
"""
# Play, pause or seek in one of the two videos moves the other; these events do not bubble, so they are captured.
# While both play, the follower runs a little faster or slower until it is level.
HEAD = """
<script>
(() => {
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
})();
</script>
"""
PLAY = """() => {
  const video = document.querySelector("#result video");
  if (!video) return;
  if (!video.paused) return void video.pause();
  if (video.ended) video.currentTime = 0;
  video.play();
}"""
