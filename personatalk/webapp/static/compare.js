// Before and after in other ways than beside each other: a wipe over one picture, and the mouth at twice its size.
// window.compare.mount(element, props, watch); the value is {"mouth": [[x, y, width] px, ...] or null}.

const GAIN = 2, WIDE = 1.9, HIGH = 1.25; // pixels for one of the video; size of the cut in widths of the mouth

function mount(element, props, watch) {
  window.translate(element);
  const pair = () => document.getElementById("pair");
  const range = element.querySelector("input"), missing = element.querySelector(".no-mouth");
  const cuts = [["before", ".mouth-before"], ["result", ".mouth-after"]].map(([id, name]) => [id, element.querySelector(name)]);
  const wipe = (percent) => {
    range.value = percent;
    pair()?.style.setProperty("--wipe", `${percent}%`);
  };
  range.oninput = () => wipe(Number(range.value));
  document.addEventListener("pointermove", (event) => { // dragging over the picture moves the line
    const block = pair();
    if (event.buttons !== 1 || block?.dataset.view !== "wipe" || !block.contains(event.target)) return;
    const place = block.getBoundingClientRect();
    wipe(Math.round((100 * (event.clientX - place.left)) / place.width));
  });
  const draw = () => {
    if (pair()?.dataset.view !== "mouth") return;
    const places = props.value?.mouth, {frame} = window.player.state;
    missing.hidden = Boolean(places);
    if (!places) return;
    const [x, y, width] = places[Math.min(frame, places.length - 1)];
    const size = Math.max(...places.map((place) => place[2])); // the same for all frames, so that nothing zooms
    for (const [id, canvas] of cuts) {
      const video = window.player.video(id);
      if (!video?.videoWidth) continue;
      const [w, h] = [WIDE * size, HIGH * size];
      [canvas.width, canvas.height] = [Math.round(GAIN * w), Math.round(GAIN * h)];
      canvas.getContext("2d").drawImage(video, x - w / 2, y - h / 2, w, h, 0, 0, canvas.width, canvas.height);
    }
  };
  window.player.subscribe(draw);
  for (const type of ["seeked", "loadeddata"]) document.addEventListener(type, draw, true);
  watch("value", draw);
  wipe(50);
  window.compare.view = (view) => { pair().dataset.view = view; element.firstElementChild.dataset.view = view; draw(); };
}

window.compare = {mount, view: () => {}};
