// Charts, those over time linked with the player: the line is its frame, a click moves the videos, a drag sets the loop.
// window.charts.mount(element, props, watch); the value is described in charts.py.

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 46, RIGHT = 8, AXIS = 20, DRAG_PX = 6;

const make = (name, attributes, parent) => {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  parent?.append(node);
  return node;
};
const box = (tag, className, parent, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  parent?.append(node);
  return node;
};
const seen = (values) => values.filter((value) => value !== null && Number.isFinite(value));
const paint = (colour) => (colour.startsWith("#") ? colour : `var(--chart-${colour})`);
const short = (value) => (value === null || value === undefined ? "–" : Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(3).replace(/0$/, ""));
function ticks(low, high, count) {
  const rough = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + 1e-9; at += step) found.push(Math.round(at / step) * step);
  return found;
}
const nearest = (times, time) => {
  let low = 0, high = times.length - 1;
  while (high - low > 1) { const middle = (low + high) >> 1; if (times[middle] <= time) low = middle; else high = middle; }
  return time - times[low] > times[high] - time ? high : low;
};

// --- one row: a title with a legend that reads the values under the line, and the drawing

function rangeOf(row) {
  if (row.stack) return [0, 1];
  const values = [...(row.lines || []).flatMap((line) => seen(line.values)), ...(row.area ? [...row.area.low, ...row.area.high] : []), ...(row.marks || []).map((mark) => mark.y)];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = 0.06 * (high - low || 1);
  return Number.isFinite(low) ? [row.from_zero ? Math.min(0, low) : low - margin, high + margin] : [0, 1];
}
function pathOf(xs, values, x, y) {
  let path = "", open = false;
  values.forEach((value, i) => {
    if (value === null) { open = false; return; }
    path += `${open ? "L" : "M"}${x(xs[i]).toFixed(1)} ${y(value).toFixed(1)}`;
    open = true;
  });
  return path;
}
const bandOf = (xs, low, high, x, y) => "M" + xs.map((at, i) => `${x(at).toFixed(1)} ${y(high[i]).toFixed(1)}`).join("L") + "L" + xs.map((at, i) => `${x(at).toFixed(1)} ${y(low[i]).toFixed(1)}`).reverse().join("L") + "Z";

function drawRow(holder, row, chart, width, isLast) {
  const title = box("div", "chart-title", holder);
  box("strong", "", title, row.unit ? `${row.label}, ${row.unit}` : row.label);
  const readers = [];
  for (const series of [...(row.lines || []), ...(row.stack || [])]) {
    const entry = box("span", "chart-key", title);
    box("i", "", entry).style.background = paint(series.colour);
    box("span", "", entry, series.name + " ");
    const value = box("b", "", entry);
    readers.push((i) => { value.textContent = row.stack ? `${Math.round(100 * series.values[i])} %` : short(series.values[i]); });
  }
  for (const band of row.bands || []) {
    const entry = box("span", "chart-key", title);
    box("i", "chart-band", entry).style.background = paint(band.colour);
    box("span", "", entry, band.name);
  }
  const height = row.height, svg = make("svg", {width, height: height + (isLast ? AXIS : 4), role: "img", "aria-label": row.label});
  holder.append(svg);
  const [low, high] = rangeOf(row);
  const x = (time) => LEFT + ((width - LEFT - RIGHT) * (time - chart.start)) / (chart.end - chart.start || 1);
  const y = (value) => 3 + (height - 6) * (1 - (value - low) / (high - low || 1));
  for (const at of row.area ? [] : ticks(low, high, 3)) {
    make("line", {x1: LEFT, x2: width - RIGHT, y1: y(at), y2: y(at), class: "chart-grid"}, svg);
    make("text", {x: LEFT - 5, y: y(at) + 4, class: "chart-tick", "text-anchor": "end"}, svg).textContent = row.stack ? `${Math.round(100 * at)} %` : short(at);
  }
  for (const at of ticks(chart.start, chart.end, Math.max(3, width / 90))) {
    make("line", {x1: x(at), x2: x(at), y1: 0, y2: height, class: "chart-grid"}, svg);
    if (isLast) make("text", {x: x(at), y: height + 14, class: "chart-tick", "text-anchor": "middle"}, svg).textContent = `${Math.round(100 * at) / 100} s`;
  }
  for (const band of row.bands || [])
    for (const [from, to] of band.spans) make("rect", {x: x(from), width: Math.max(1, x(to) - x(from)), y: 0, height, fill: paint(band.colour), class: "chart-span"}, svg);
  if (row.area) make("path", {d: bandOf(row.area.times, row.area.low, row.area.high, x, y), fill: paint(row.area.colour)}, svg);
  if (row.stack) {
    let floor = chart.times.map(() => 0);
    for (const series of row.stack) {
      const top = floor.map((value, i) => value + series.values[i]);
      make("path", {d: bandOf(chart.times, floor, top, x, y), fill: paint(series.colour), class: "chart-stack"}, svg);
      floor = top;
    }
  }
  for (const line of row.lines || []) make("path", {d: pathOf(chart.times, line.values, x, y), stroke: paint(line.colour), class: "chart-line", ...(line.dashed ? {"stroke-dasharray": "5 4"} : {})}, svg);
  for (const mark of row.marks || []) {
    const node = mark.square ? make("rect", {x: x(mark.x) - 5, y: y(mark.y) - 5, width: 10, height: 10}, svg) : make("circle", {cx: x(mark.x), cy: y(mark.y), r: 5}, svg);
    node.setAttribute("fill", paint(mark.colour));
    node.setAttribute("class", "chart-mark");
    make("title", {}, node).textContent = mark.name;
  }
  const loop = make("rect", {y: 0, height, class: "chart-loop", width: 0}, svg);
  const hover = make("line", {y1: 0, y2: height, class: "chart-hover", visibility: "hidden"}, svg);
  const cursor = make("line", {y1: 0, y2: height, class: "chart-cursor"}, svg);
  return {svg, x, readers, cursor, hover, loop, timeAt: (px) => chart.start + ((px - LEFT) / (width - LEFT - RIGHT)) * (chart.end - chart.start)};
}

// --- a plane: points in two directions, of which the one nearest to the pointer is named

function addKeys(title, groups) {
  for (const group of groups) {
    const entry = box("span", "chart-key", title);
    box("i", "", entry).style.background = paint(group.colour);
    box("span", "", entry, group.name);
  }
}
function drawPlane(holder, plane, {common = []}) {
  const width = Math.floor(holder.clientWidth), groups = [...common, ...plane.groups];
  const title = box("div", "chart-title", holder), height = Math.min(440, Math.round(0.7 * width));
  box("strong", "", title, plane.label);
  addKeys(title, plane.groups);
  const read = box("div", "chart-title chart-read", holder); // a line of its own, so that nothing moves
  const svg = make("svg", {width, height, role: "img", "aria-label": plane.label});
  holder.append(svg);
  const points = groups.flatMap((group) => group.points.map(([x, y], frame) => ({group, x, y, frame}))).filter((point) => point.x !== null);
  const range = (values) => { const [a, b] = [Math.min(...values), Math.max(...values)], m = 0.05 * (b - a || 1); return [a - m, b + m]; };
  const [[left, right], [low, high]] = [range(points.map((point) => point.x)), range(points.map((point) => point.y))];
  const x = (at) => LEFT + ((width - LEFT - RIGHT) * (at - left)) / (right - left);
  const y = (at) => (height - AXIS) * (1 - (at - low) / (high - low));
  for (const at of ticks(left, right, Math.max(3, width / 120))) {
    make("line", {x1: x(at), x2: x(at), y1: 0, y2: height - AXIS, class: "chart-grid"}, svg);
    make("text", {x: x(at), y: height - 5, class: "chart-tick", "text-anchor": "middle"}, svg).textContent = short(at);
  }
  for (const at of ticks(low, high, 5)) {
    make("line", {x1: LEFT, x2: width - RIGHT, y1: y(at), y2: y(at), class: "chart-grid"}, svg);
    make("text", {x: LEFT - 5, y: y(at) + 4, class: "chart-tick", "text-anchor": "end"}, svg).textContent = short(at);
  }
  for (const point of points)
    make("circle", {cx: x(point.x), cy: y(point.y), r: point.group.size, ...(point.group.hollow ? {fill: "none", stroke: paint(point.group.colour), "stroke-width": 2} : {fill: paint(point.group.colour), class: "chart-dot"})}, svg);
  const moving = groups.find((group) => group.by_frame), now = make("circle", {r: 6, class: "chart-now", visibility: "hidden"}, svg);
  if (moving) now.style.fill = paint(moving.colour);
  const ring = make("circle", {r: 10, class: "chart-ring", visibility: "hidden"}, svg);
  const nearestOf = (candidates, event) => {
    const place = svg.getBoundingClientRect(), [px, py] = [event.clientX - place.left, event.clientY - place.top];
    const away = (point) => Math.hypot(x(point.x) - px, y(point.y) - py);
    return candidates.reduce((best, point) => (away(point) <= away(best) ? point : best));
  };
  svg.onpointermove = (event) => {
    const found = nearestOf(points, event);
    for (const [key, value] of Object.entries({cx: x(found.x), cy: y(found.y), visibility: "visible"})) ring.setAttribute(key, value);
    read.textContent = `${found.group.name}: ${short(found.x)}, ${short(found.y)}`;
  };
  svg.onpointerleave = () => { ring.setAttribute("visibility", "hidden"); read.textContent = ""; };
  if (moving) svg.onclick = (event) => window.player.seek(nearestOf(points.filter((point) => point.group === moving), event).frame);
  for (const axis of plane.axes) box("div", "chart-title", holder, axis);
  return (frame) => {
    const point = moving?.points[Math.min(frame, moving.points.length - 1)] ?? [null];
    now.setAttribute("visibility", point[0] === null ? "hidden" : "visible");
    if (point[0] !== null) { now.setAttribute("cx", x(point[0])); now.setAttribute("cy", y(point[1])); }
  };
}

// --- the whole chart

function mount(element, props, watch) {
  window.translate(element);
  const holder = element.querySelector(".chart");
  let rows = [], planes = [], hovered = null, pressed = null, drawnWidth = 0;
  const chart = () => props.value;
  const linked = () => chart()?.linked !== false;
  const timeNow = () => { const {frame, fps} = window.player.state; return chart().times[Math.min(frame, chart().times.length - 1)] ?? frame / fps; };
  const place = () => {
    for (const show of planes) show(window.player.state.frame);
    if (!chart() || !rows.length) return;
    const {loop, fps} = window.player.state, at = hovered ?? (linked() ? timeNow() : null);
    const index = at === null ? null : nearest(chart().times, at);
    for (const row of rows) {
      const now = linked() ? row.x(timeNow()) : -10;
      row.cursor.setAttribute("x1", now); row.cursor.setAttribute("x2", now);
      row.hover.setAttribute("visibility", hovered === null ? "hidden" : "visible");
      if (hovered !== null) { row.hover.setAttribute("x1", row.x(hovered)); row.hover.setAttribute("x2", row.x(hovered)); }
      const [a, b] = linked() && loop ? [row.x(loop[0] / fps), row.x((loop[1] + 1) / fps)] : [0, 0];
      row.loop.setAttribute("x", a); row.loop.setAttribute("width", Math.max(0, b - a));
      if (index !== null) row.readers.forEach((read) => read(index));
    }
  };
  const draw = () => {
    holder.replaceChildren();
    [rows, planes] = [[], []];
    const value = chart(), width = Math.floor(holder.clientWidth);
    drawnWidth = width;
    if (!value || width < 60) return;
    (value.rows || []).forEach((row, i) => rows.push(drawRow(holder, row, value, width, i === value.rows.length - 1)));
    if (value.planes) {
      if (value.common) addKeys(box("div", "chart-title", holder), value.common);
      const grid = box("div", "chart-planes", holder), cells = value.planes.map(() => box("div", "", grid));
      planes = value.planes.map((plane, i) => drawPlane(cells[i], plane, value));
    }
    for (const row of rows) listen(row);
    place();
  };
  const listen = (row) => {
    const at = (event) => Math.min(chart().end, Math.max(chart().start, row.timeAt(event.clientX - row.svg.getBoundingClientRect().left)));
    row.svg.onpointermove = (event) => { hovered = at(event); place(); };
    row.svg.onpointerleave = () => { hovered = null; place(); };
    row.svg.onpointerdown = (event) => { pressed = linked() && event.button === 0 ? {x: event.clientX, time: at(event)} : null; };
    row.svg.onpointerup = (event) => {
      if (!pressed) return;
      const {seek, setLoop, frameAt} = window.player;
      if (Math.abs(event.clientX - pressed.x) > DRAG_PX) setLoop(frameAt(pressed.time), frameAt(at(event)));
      else seek(nearest(chart().times, at(event)));
      pressed = null;
    };
  };
  window.player.subscribe(place);
  new ResizeObserver(() => { if (Math.floor(holder.clientWidth) !== drawnWidth) draw(); }).observe(holder);
  watch("value", draw);
  draw();
}

window.charts = {mount};
