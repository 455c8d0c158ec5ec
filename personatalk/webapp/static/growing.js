// The video of a dub under way: it plays in the result's place, and the finished file takes over where it is.
// window.growing.mount(element, props, watch); the value is {"address": path on the server or null}.
// A browser that cannot play it shows nothing of it.

const SWAP_MS = 20_000; // that the finished file may take to be loaded

let shown = null; // the box with the video
let loading = null; // a video of which no picture is there yet

function end() {
  for (const video of [loading, shown?.querySelector("video")]) {
    if (!video) continue;
    video.pause();
    video.removeAttribute("src");
    video.load(); // closes the connection
  }
  shown?.remove();
  shown = loading = null;
}

function begin(address, label) {
  end();
  const video = document.createElement("video");
  const root = (window.gradio_config?.root || location.origin).replace(/\/$/, "");
  Object.assign(video, {controls: true, playsInline: true, preload: "auto", src: root + address});
  video.setAttribute("aria-label", label);
  video.addEventListener("error", () => { if (video === loading || shown?.contains(video)) end(); });
  video.addEventListener("loadeddata", () => { if (video === loading) show(video, label); }, {once: true});
  loading = video;
}

function show(video, label) {
  const box = document.createElement("div"), words = document.createElement("p");
  box.className = "growing";
  words.textContent = label;
  words.setAttribute("role", "status");
  box.append(words, video);
  document.getElementById("result").append(box);
  [shown, loading] = [box, null];
  document.dispatchEvent(new Event("growing"));
  box.scrollIntoView({block: "nearest"});
  const isQuiet = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (!isQuiet && box.checkVisibility()) video.play().catch(() => {}); // a browser may want a click first
}

// The finished video is there: go on at the same place, playing or not.
function handOver() {
  if (!shown) return end();
  const box = shown, deadline = performance.now() + SWAP_MS;
  const swap = () => {
    if (shown !== box) return;
    const after = window.player.video("result"), video = box.querySelector("video");
    if (!(after?.readyState >= 2) && performance.now() < deadline) return void setTimeout(swap, 50);
    const time = video.currentTime, isPlaying = !video.paused && !video.ended;
    end();
    if (!time || !after) return;
    window.player.seek(window.player.frameAt(time));
    if (isPlaying) after.play().catch(() => {});
  };
  swap();
}
document.addEventListener("result", handOver);

function mount(element, props, watch) {
  const label = window.said(element.querySelector("[data-label]").dataset.label);
  watch("value", () => (props.value?.address ? begin(props.value.address, label) : end()));
}

window.growing = {mount};
