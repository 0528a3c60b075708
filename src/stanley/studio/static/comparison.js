import { colour, computations, el, find, minus, number, onTheme, poll, runAddress, runsDone, whole } from "./page.js";
import { CONFIG, depth, faint, grid, layout, logarithmic, plane } from "./drawing.js";

const name = find("#comparison").dataset.name;
const here = `name=${encodeURIComponent(name)}`;
const COLOURS = ["blue", "vermilion", "green", "purple", "orange", "sky"];
const DASHES = ["solid", "dash", "dot", "dashdot"];

let told = null;
let panels = [];
const shown = new Map(); // arm -> checkbox

const arms = () => told.arms.filter((arm) => shown.get(arm).checked);
const paint = (arm) => COLOURS[told.arms.indexOf(arm) % COLOURS.length];
const dash = (arm) => DASHES[Math.floor(told.arms.indexOf(arm) / COLOURS.length) % DASHES.length];

function choices() {
  const place = find("#arms");
  for (const arm of told.arms) {
    const box = el("input", { type: "checkbox", checked: true, onchange: draw });
    shown.set(arm, box);
    place.append(el("label", { class: "check" }, box, el("span", { class: "key dot", style: `--key: var(--${paint(arm)})` }, arm)));
  }
  place.hidden = false;
}

function dots(div, score) {
  const rows = arms().filter((arm) => score.arms[arm]);
  const traces = [];
  const failed = [];
  rows.forEach((arm, row) => {
    const { values, mean, interval, failed: lost } = score.arms[arm];
    const known = Object.entries(values).filter(([, value]) => value !== null);
    const spread = (k) => row + (known.length > 1 ? 0.34 * (k / (known.length - 1) - 0.5) : 0);
    if (interval) traces.push({ x: interval, y: [row, row], mode: "lines", line: { width: 9, color: faint(paint(arm), 0.28) }, hovertemplate: "95 % interval of the mean: %{x:.4g}<extra></extra>" });
    traces.push({ x: known.map(([, value]) => value), y: known.map((_, k) => spread(k)), text: known.map(([seed]) => `seed ${seed}`), mode: "markers", marker: { size: 8, color: colour(paint(arm)) }, hovertemplate: "%{text}: %{x:.4g}<extra></extra>" });
    if (mean !== null) traces.push({ x: [mean, mean], y: [row - 0.32, row + 0.32], mode: "lines", line: { width: 2, color: colour("ink") }, hovertemplate: "mean %{x:.4g}<extra></extra>" });
    if (lost) failed.push({ x: 1, xref: "paper", xanchor: "right", y: row, text: `× ${lost} failed`, showarrow: false, font: { color: colour("bad") } });
  });
  // names are data: a chart would read them as marks of its own
  const longest = div.clientWidth < 500 ? 14 : 48;
  const plain = rows.map((arm) => (arm.length > longest ? `${arm.slice(0, longest)}…` : arm).replaceAll("&", "&amp;").replaceAll("<", "&lt;"));
  div.style.height = `${3 + 2.6 * rows.length}rem`;
  window.Plotly.react(div, traces, layout({
    annotations: failed,
    xaxis: score.log ? logarithmic(traces.flatMap(({ x }) => x)) : { nticks: div.clientWidth < 500 ? 4 : 7 },
    yaxis: { tickvals: rows.map((_, row) => row), ticktext: plain, range: [rows.length - 0.4, -0.6], showgrid: false, zeroline: false, tickfont: { color: colour("ink"), size: 13 } },
  }), CONFIG);
}

function table(score) {
  const rows = arms().filter((arm) => score.rows[arm]);
  const head = el("tr", {}, ...told.head.map((word) => el("th", { scope: "col" }, word)));
  return el("table", { class: "cards" }, el("thead", {}, head), el("tbody", {}, ...rows.map((arm) => el("tr", {}, ...score.rows[arm].map((text, k) => (k === 0 ? el("th", { scope: "row" }, text) : el("td", { "data-label": told.head[k] }, minus(text))))))));
}

function draw() {
  const place = find("#scores");
  told.scores.forEach((score, k) => {
    if (!place.children[k]) {
      const better = score.more ? "more is better" : "less is better";
      place.append(el("section", {}, el("h2", {}, score.words[0].toUpperCase() + score.words.slice(1), el("span", { class: "quiet small" }, ` · ${better}`)), el("div", { class: "panel" }, el("div", { class: "chart", role: "img", "aria-label": `${score.words} of every seed of every arm; the table below has the numbers` })), el("div", { class: "wide" })));
    }
    dots(find(".chart", place.children[k]), score);
    place.children[k].lastChild.replaceChildren(table(score));
  });
  learning();
  showPanels();
  find("#runs").replaceChildren(...arms().filter((arm) => told.runs[arm].length).map((arm) => el("p", {}, el("strong", {}, arm), ": ", ...told.runs[arm].flatMap(([words, run], k) => [k ? ", " : "", el("a", { href: runAddress(run) }, words)]))));
}

function learning() {
  const curves = told.along.arms;
  const many = arms().filter((arm) => curves[arm].length > 1);
  find("#along-part").hidden = many.length === 0;
  if (!many.length) return;
  const traces = [];
  const every = many.flatMap((arm) => curves[arm].flatMap(([, values]) => values));
  const log = Math.min(...every) > 0 && Math.max(...every) > 8 * Math.min(...every);
  for (const arm of many) {
    const steps = curves[arm].map(([step]) => step);
    const edge = { x: steps, mode: "lines", line: { width: 0 }, hoverinfo: "skip" };
    if (many.length <= 5) traces.push({ ...edge, y: curves[arm].map(([, v]) => Math.min(...v)) }, { ...edge, y: curves[arm].map(([, v]) => Math.max(...v)), fill: "tonexty", fillcolor: faint(paint(arm), 0.15) });
    traces.push({ x: steps, y: curves[arm].map(([, v]) => v.reduce((a, b) => a + b, 0) / v.length), mode: "lines+markers", line: { width: 1.8, color: colour(paint(arm)), dash: dash(arm) }, marker: { size: 5 }, hovertemplate: "%{x:,}: %{y:.4g}<extra></extra>" });
  }
  window.Plotly.react(find("#along"), traces, layout({ xaxis: { title: { text: told.along.of }, type: told.along.of === "iteration" ? "linear" : "log", nticks: 7 }, yaxis: { title: { text: told.along.score }, ...(log ? logarithmic(every) : {}) } }), CONFIG);
}

function showPanels() {
  for (const { figure, canvas, message } of panels) {
    figure.hidden = shown.has(message.title) && !shown.get(message.title).checked;
    if (figure.hidden) continue;
    const { density, samples, images } = message.arrays;
    if (images) grid(canvas, images, 6);
    else plane(canvas, { box: message.box, landscape: density && depth(density), top: 8, names: message.names }, samples ? [{ points: samples, colour: "vermilion", size: 1.4 }] : []);
  }
}

const socket = computations(`/ws/comparison?${here}`, (message) => {
  if (message.error || message.lost) {
    find("#cannot").textContent = message.error ?? "The connection was lost; load the page again.";
    find("#cannot").hidden = false;
    find("#working").hidden = true;
  } else if (message.done) find("#working").textContent = "Of every arm the seed with its median score; dots are fresh chains, blue is where the energy is low.";
  else {
    const canvas = el("canvas", { class: message.arrays.images ? "pixels" : "square", role: "img", "aria-label": `What ${message.title} ends with: ${message.note}` });
    const figure = el("figure", { class: "panel" }, el("figcaption", {}, message.title, el("span", { class: "quiet small" }, ` · ${minus(message.note)}`)), canvas);
    find("#panels").append(figure);
    panels.push({ figure, canvas, message });
    showPanels();
  }
});

/** The runs of a comparison that is not finished, each with its own page. */
function soFar({ so_far: runs = [], hidden }) {
  find("#so-far").hidden = runs.length === 0;
  const focused = document.activeElement.closest("#so-far a")?.href;
  find("#so-far tbody").replaceChildren(...runs.map((run) => el(
    "tr",
    {},
    el("th", { scope: "row" }, el("a", { href: runAddress(run.name) }, run.name.slice(`${name}/runs/`.length))),
    el("td", { "data-label": "Status" }, el("span", { class: `status ${run.status}` }, run.status)),
    el("td", { "data-label": "Progress" }, run.steps ? `${whole(run.step)} of ${whole(run.steps)} steps` : ""),
    el("td", { class: "number", "data-label": "Energy gap" }, run.gap === undefined || run.gap === null ? "" : number(run.gap)),
  )));
  // whoever is in the table with the keyboard stays in it
  if (focused) [...document.querySelectorAll("#so-far a")].find((link) => link.href === focused)?.focus();
  find("#hidden-runs").textContent = hidden ? `${whole(hidden)} more are not shown.` : "";
}

function show(answer, error) {
  const line = find("#problem");
  line.hidden = !error;
  line.textContent = error ? error.message : "";
  if (!answer) return;
  const { status, recipe, done } = answer.entry;
  const goesOn = { finished: "", running: "" }[status] ?? " · the same stanley compare goes on with it";
  find("#status").className = `status ${status}`;
  find("#status").textContent = status;
  find("#facts").textContent = `comparison of ${recipe} · ${runsDone(answer.entry)}${answer.runs && done > Object.values(answer.runs).flat().length ? ", with those for tuning" : ""}${goesOn}`;
  soFar(answer);
  if (answer.scores.length === 0 || (told && told.changed === answer.changed)) return;
  const first = told === null;
  told = answer;
  if (!first) return location.reload();
  choices();
  find("#read").hidden = false;
  find("#learned").hidden = find("#more").hidden = false;
  find("#words").replaceChildren(...told.words.map((words) => el("li", {}, words)));
  find("#failures").replaceChildren(...told.failures.map((words) => el("li", { class: "wrong" }, words)));
  draw();
  socket.ask({ do: "panels" });
}
poll(`/api/comparison?${here}`, 5, show);
onTheme(() => told && draw());
addEventListener("resize", () => told && showPanels());
