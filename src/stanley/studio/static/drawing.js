// Pictures, points over a landscape, and charts in the colours of the style.

import { colour, number } from "./page.js";

/** [r, g, b] of a colour of the style. */
export function rgb(name) {
  const text = colour(name);
  const hex = text.slice(1);
  return [0, 2, 4].map((k) => parseInt(hex.slice(k, k + 2), 16));
}

/** Bytes (C, H, W) from `at` on as the pixels of an ImageData. */
export function pixels({ values, shape }, k = 0) {
  const [channels, height, width] = shape.slice(-3);
  const area = height * width;
  const at = k * channels * area;
  const image = new ImageData(width, height);
  for (let p = 0; p < area; p += 1) {
    for (let c = 0; c < 3; c += 1) image.data[4 * p + c] = values[at + (channels === 3 ? c * area : 0) + p];
    image.data[4 * p + 3] = 255;
  }
  return image;
}

/** A grid of pictures (N, C, H, W) in one canvas, each pixel a pixel; the style enlarges it. */
export function grid(canvas, images, columns) {
  const [count, , height, width] = images.shape;
  const across = Math.min(columns ?? Math.ceil(Math.sqrt(count)), Math.max(1, count));
  const rows = Math.max(1, Math.ceil(count / across));
  const gap = 2;
  const size = [across * (width + gap) - gap, rows * (height + gap) - gap];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  const context = canvas.getContext("2d");
  for (let k = 0; k < count; k += 1) context.putImageData(pixels(images, k), (k % across) * (width + gap), Math.floor(k / across) * (height + gap));
  canvas.style.setProperty("--ratio", `${size[0]} / ${size[1]}`);
}

/** Numbers at round distances between two ends. */
function ticks(low, high, about = 6) {
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high; k += 1) found.push(Number((k * step).toPrecision(12)));
  return found;
}

const DEPTH = 4;
/** Values (rows from the bottom up) as an image: a colour where they are 0, paper beyond `top`. */
function shades({ values, shape }, top) {
  const [rows, columns] = shape;
  const low = rgb("landscape");
  const paper = rgb("paper");
  const image = new ImageData(columns, rows);
  for (let r = 0; r < rows; r += 1) {
    for (let c = 0; c < columns; c += 1) {
      const t = 1 - Math.exp((-DEPTH * values[r * columns + c]) / top);
      const at = 4 * ((rows - 1 - r) * columns + c);
      for (let k = 0; k < 3; k += 1) image.data[at + k] = low[k] + t * (paper[k] - low[k]);
      image.data[at + 3] = 255;
    }
  }
  const made = document.createElement("canvas");
  [made.width, made.height] = [columns, rows];
  made.getContext("2d").putImageData(image, 0, 0);
  return made;
}

/** A density as a landscape: how far below its largest value it is, in nats. */
export function depth({ values, shape }) {
  const most = values.reduce((a, b) => Math.max(a, b), 0);
  return { shape, values: Float32Array.from(values, (q) => Math.log(most / Math.max(q, 1e-30))) };
}

/** Points over a landscape, in a canvas that fills its place.
 *  layers: [{points: {values, shape: [n, d]}, colour, size, ring}] */
export function plane(canvas, { box, landscape, top, names }, layers) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (width === 0) return;
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const [left, right, bottom, upper] = box;
  const frame = { x: 46, y: 8, w: width - 54, h: height - 44 };
  const across = (x) => frame.x + ((x - left) / (right - left)) * frame.w;
  const up = (y) => frame.y + frame.h - ((y - bottom) / (upper - bottom)) * frame.h;
  context.fillStyle = colour("paper");
  context.fillRect(frame.x, frame.y, frame.w, frame.h);
  context.save();
  context.beginPath();
  context.rect(frame.x, frame.y, frame.w, frame.h);
  context.clip();
  if (landscape) context.drawImage(shades(landscape, top), frame.x, frame.y, frame.w, frame.h);
  for (const { points, colour: paint, size, ring } of layers) {
    const [count, d] = points.shape;
    context.fillStyle = context.strokeStyle = colour(paint);
    context.lineWidth = 1;
    const radius = size * Math.min(1, Math.max(0.6, frame.w / 480));
    for (let k = 0; k < count; k += 1) {
      const x = across(points.values[k * d]);
      const y = up(points.values[k * d + 1]);
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      if (ring) context.stroke();
      else context.fill();
    }
  }
  context.restore();
  context.strokeStyle = colour("line");
  context.strokeRect(frame.x + 0.5, frame.y + 0.5, frame.w, frame.h);
  context.fillStyle = colour("quiet");
  context.font = "12px system-ui, sans-serif";
  context.textAlign = "center";
  for (const x of ticks(left, right)) context.fillText(number(x), across(x), frame.y + frame.h + 15);
  context.fillText(names[0], frame.x + frame.w / 2, height - 5);
  context.textAlign = "right";
  for (const y of ticks(bottom, upper)) context.fillText(number(y), frame.x - 6, up(y) + 4);
  context.save();
  context.translate(11, frame.y + frame.h / 2);
  context.rotate(-Math.PI / 2);
  context.textAlign = "center";
  context.fillText(names[1], 0, 0);
  context.restore();
}

/** An axis of orders of magnitude with plain numbers: 1, 2, 5, 10 and so on, or powers of ten where
 *  there are many of them. */
export function logarithmic(values) {
  const known = values.filter((v) => v > 0);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const few = Math.log10(high / low) > 2.2 ? [1] : [1, 2, 5];
  const tickvals = [];
  for (let k = Math.floor(Math.log10(low)) - 1; k <= Math.ceil(Math.log10(high)); k += 1) tickvals.push(...few.map((m) => m * 10 ** k));
  return { type: "log", tickvals, ticktext: tickvals.map(number) };
}

const FONT = { family: "system-ui, sans-serif", size: 12 };

export function layout(more = {}) {
  const axis = { gridcolor: colour("grid"), zerolinecolor: colour("line"), linecolor: colour("line"), automargin: true };
  const { xaxis = {}, yaxis = {}, ...rest } = more;
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { ...FONT, color: colour("quiet") },
    margin: { l: 8, r: 10, t: 8, b: 8 },
    showlegend: false,
    hoverlabel: { bgcolor: colour("soft"), bordercolor: colour("line"), font: { ...FONT, color: colour("ink") } },
    xaxis: { ...axis, ...xaxis },
    yaxis: { ...axis, ...yaxis },
    ...rest,
  };
}

export const CONFIG = { displayModeBar: false, responsive: true };

/** A colour of the style, thinner. */
export function faint(name, share) {
  return `rgba(${rgb(name).join(",")},${share})`;
}

/** Events by which a run lost nothing. */
export const MARKS = { resumed: "quiet", reconfigured: "quiet", warned: "warn" };

/** Lines with their bands, and a vertical line at every event. */
export function curves(div, { lines, axis, log }, events) {
  const traces = [];
  for (const line of lines) {
    if (line.low) {
      const edge = { x: line.step, mode: "lines", line: { width: 0 }, hoverinfo: "skip", connectgaps: false };
      traces.push({ ...edge, y: line.low }, { ...edge, y: line.high, fill: "tonexty", fillcolor: faint(line.colour, 0.22) });
    }
    traces.push({ x: line.step, y: line.middle, name: line.name, mode: "lines", line: { width: 1.6, color: colour(line.colour) }, hovertemplate: "step %{x:,}: %{y:.4g}" });
  }
  const marks = events.map(({ step, kind }) => ({
    type: "line", x0: step, x1: step, y0: 0, y1: 1, yref: "paper",
    line: { color: colour(MARKS[kind] ?? "bad"), width: 1.3, dash: kind in MARKS ? "dot" : "solid" },
  }));
  const values = lines.flatMap((line) => [...line.middle, ...(line.low ?? []), ...(line.high ?? [])]);
  const shapes = { shapes: marks, xaxis: { rangemode: "tozero", nticks: 5 }, yaxis: { title: { text: axis, font: FONT, standoff: 6 }, ...(log ? logarithmic(values) : { nticks: 5 }) } };
  window.Plotly.react(div, traces, layout(shapes), CONFIG);
}
