// The player: two videos in step, one frame that all tabs show, and a bar that moves them.
// window.player is what the components of the page use; see `mount` and `subscribe`.

const TELL_MS = 400; // while the video plays, the server hears of a new frame this often
const SETTLE_MS = 80; // after a jump, it hears when the bar has been still for so long
const LOOP_S = 1.0; // length of a loop that no plot was asked for
const EDGE_S = 0.02;

const state = {fps: 25, frames: 0, frame: 0, loop: null, example: null};
const listeners = new Set();
const asked = new URLSearchParams(location.search);
let askedFrame = asked.has("frame") ? Number(asked.get("frame")) : null;
let fresh = false; // a new result that nobody has moved or played
let tellServer = null;

const video = (id) => document.querySelector(`#${id} video:not(.growing *)`);
const pair = () => [video("result"), video("before")];
const isPlaying = () => Boolean(video("result") && !video("result").paused && !video("result").ended);
const lastFrame = () => Math.max(0, state.frames - 1);
const clamp = (frame) => Math.min(lastFrame(), Math.max(0, Math.round(Number.isFinite(frame) ? frame : 0)));
const timeOf = (frame) => (frame + 0.5) / state.fps;
const frameAt = (time) => Math.min(lastFrame(), Math.max(0, Math.floor(time * state.fps + 1e-3)));
const openTab = () => document.querySelector("#tabs > .tab-wrapper [role=tab][aria-selected=true]")?.dataset.tabId;
const draw = () => listeners.forEach((listener) => listener(state, isPlaying()));
const level = (other, time) => { other.currentTime = Math.min(time, (other.duration || 1e9) - EDGE_S); };

// --- the server is told of the frame, but not of every one

let lastTold = 0, settling = null;
function tell(now) {
  clearTimeout(settling);
  lastTold = performance.now();
  tellServer?.(state.frame, openTab() !== "result");
  if (!isPlaying()) remember();
  if (!now) settling = null;
}
function moved() {
  draw();
  if (isPlaying()) {
    if (performance.now() - lastTold > TELL_MS) tell();
  } else {
    clearTimeout(settling);
    settling = setTimeout(tell, SETTLE_MS);
  }
}

// --- deep links: ?example=…&panel=…&frame=…

function remember() {
  if (!state.frames) return;
  const link = new URL(location);
  link.searchParams.set("panel", openTab() || "result");
  link.searchParams.set("frame", state.frame);
  if (state.example) link.searchParams.set("example", state.example);
  else link.searchParams.delete("example");
  history.replaceState(history.state, "", link);
}
function follow(selector, done) {
  const found = document.querySelector(selector);
  if (found) return done(found);
  const watcher = new MutationObserver(() => {
    const late = document.querySelector(selector);
    if (late) { watcher.disconnect(); done(late); }
  });
  watcher.observe(document, {childList: true, subtree: true});
}
const word = (name) => (/^[\w-]+$/.test(asked.get(name) || "") ? asked.get(name) : null);
if (word("panel")) follow(`#tabs > .tab-wrapper [role=tab][data-tab-id="${word("panel")}"]`, (tab) => setTimeout(() => tab.click()));
if (word("example")) follow(`#example-${word("example")}`, (button) => setTimeout(() => button.click(), 300));

// --- moving

function seek(frame) {
  if (!state.frames) return;
  state.frame = clamp(frame);
  fresh = false;
  for (const one of pair()) if (one) level(one, timeOf(state.frame));
  moved();
}
function step(count) {
  video("result")?.pause();
  seek(state.frame + count);
}
function toggle() {
  const one = video("result");
  if (!one) return;
  if (!one.paused) return void one.pause();
  if (one.ended || state.frame >= lastFrame()) seek(state.loop ? state.loop[0] : 0);
  one.play();
}
function setLoop(first, last) {
  const [a, b] = [clamp(Math.min(first, last)), clamp(Math.max(first, last))];
  state.loop = b > a ? [a, b] : null;
  if (state.loop && (state.frame < a || state.frame > b)) seek(a);
  draw();
}
function clearLoop() { state.loop = null; draw(); }
function toggleLoop() {
  if (state.loop) return clearLoop();
  const half = Math.round((LOOP_S * state.fps) / 2);
  setLoop(state.frame - half, state.frame + half);
}

// --- the two videos follow one another; their events do not bubble, so they are captured

function onVideo(event) {
  const [after, before] = pair();
  if (!after || (event.target !== before && event.target !== after)) return;
  const leader = event.target, other = leader === after ? before : after;
  if (event.type === "loadeddata") {
    if (before) before.muted = true;
    if (state.frames) level(leader, timeOf(state.frame));
    return;
  }
  if (event.type === "play" && fresh) { fresh = false; level(leader, 0); }
  if (other) {
    if (before) before.muted = true;
    if (Math.abs(other.currentTime - leader.currentTime) > 0.3) level(other, leader.currentTime);
    if (event.type === "play" && other.paused && !other.ended) other.play().catch(() => {});
    if (event.type === "pause" && !leader.ended) { other.pause(); level(other, leader.currentTime); }
  }
  if (leader !== after && other) return;
  if (event.type === "play") requestAnimationFrame(playOn);
  if (event.type === "ended" && state.loop) { seek(state.loop[0]); after.play(); }
  const frame = after.ended ? lastFrame() : frameAt(after.currentTime);
  if (state.frames && (frame !== state.frame || event.type !== "seeked")) {
    state.frame = frame;
    moved();
  }
}
for (const type of ["play", "pause", "seeked", "ended", "loadeddata"]) document.addEventListener(type, onVideo, true);

function playOn() {
  if (!isPlaying()) return draw();
  const frame = frameAt(video("result").currentTime);
  if (state.loop && frame > state.loop[1]) {
    for (const one of pair()) if (one) level(one, timeOf(state.loop[0]));
  } else if (frame !== state.frame) {
    state.frame = frame;
    moved();
  }
  requestAnimationFrame(playOn);
}
// While both play, the follower runs a little faster or slower until it is level.
setInterval(() => {
  const [after, before] = pair();
  if (!before || !after || after.paused || before.paused) return;
  const behind = after.currentTime - before.currentTime;
  if (Math.abs(behind) > 0.4) level(before, after.currentTime);
  else before.playbackRate = after.playbackRate * (1 + Math.max(-0.5, Math.min(0.5, 3 * behind)));
}, 100);

// --- keys: arrows step wherever nothing else uses them

const USES_KEYS = "input, textarea, select, video, [contenteditable], [role=tab], [role=slider], [role=listbox], [role=radio]";
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !state.frames) return;
  const target = event.target, inBar = target.closest?.("#time-bar");
  if (event.key === "Escape" && state.loop) return clearLoop();
  if (inBar && event.key === "[") return setLoop(state.frame, state.loop ? state.loop[1] : lastFrame());
  if (inBar && event.key === "]") return setLoop(state.loop ? state.loop[0] : 0, state.frame);
  const isRange = target.matches?.("#time-bar input");
  if (!isRange && (target.closest?.(USES_KEYS) || document.querySelector("dialog[open], .preview"))) return;
  const count = {ArrowLeft: -1, ArrowRight: 1}[event.key];
  if (count) { event.preventDefault(); step(event.shiftKey ? 10 * count : count); }
  if (event.key === " " && (target === document.body || isRange)) { event.preventDefault(); toggle(); }
});

// --- the bar

function mountBar(element, props, trigger, watch) {
  window.translate(element);
  const one = (name) => element.querySelector(name);
  const [play, range, place, loop] = [".play", "input", "output", ".loop"].map(one);
  const texts = JSON.parse(one(".time-bar").dataset.texts);
  for (const key in texts) texts[key] = window.said(texts[key]);
  play.onclick = toggle;
  one(".back").onclick = () => step(-1);
  one(".on").onclick = () => step(1);
  loop.onclick = toggleLoop;
  range.oninput = () => { video("result")?.pause(); seek(Number(range.value)); };
  tellServer = (frame, wanted) => {
    props.value = {...props.value, frame};
    if (wanted) trigger("input");
  };
  listeners.add((now, playing) => {
    const has = now.frames > 0;
    for (const control of [play, range, one(".back"), one(".on"), loop]) control.disabled = !has;
    range.max = Math.max(1, now.frames - 1);
    range.value = now.frame;
    const seconds = (now.frame / now.fps).toFixed(2);
    place.textContent = has ? texts.place.replace("{frame}", now.frame).replace("{last}", now.frames - 1).replace("{seconds}", seconds) : texts.empty;
    range.setAttribute("aria-valuetext", place.textContent);
    play.setAttribute("aria-label", playing ? texts.pause : texts.play);
    play.dataset.playing = playing;
    loop.setAttribute("aria-pressed", Boolean(now.loop));
    const [a, b] = now.loop || [0, -1], last = Math.max(1, now.frames - 1);
    one(".stretch").style.cssText = now.loop ? `left: ${(100 * a) / last}%; width: ${(100 * (b - a)) / last}%` : "display: none";
  });
  const take = () => {
    const value = props.value || {};
    Object.assign(state, {fps: value.fps || 25, frames: value.frames || 0, example: value.example || null, loop: null});
    state.frame = clamp(value.frame);
    fresh = true;
    if (askedFrame !== null && state.frames) {
      state.frame = clamp(askedFrame);
      askedFrame = null;
      fresh = false;
    }
    for (const one of pair()) if (one && one.readyState) level(one, timeOf(state.frame));
    draw();
    if (!state.frames) return;
    tell();
    document.dispatchEvent(new Event("result"));
  };
  watch("value", take);
  take();
}
document.addEventListener("click", (event) => {
  if (event.target.closest?.("#tabs [role=tab]")) setTimeout(remember, 200);
});

window.player = {
  state, seek, step, toggle, setLoop, clearLoop, mountBar, isPlaying, timeOf, frameAt, video,
  subscribe: (listener) => { listeners.add(listener); listener(state, isPlaying()); },
};
