// The playground's page: controls made of what the server says a sampler takes, chains drawn as they come.

import { colour, connection, el, find, number, onTheme, whole } from "./page.js";

const OUTSIDE = 65535, EDGE = 65534; // of a position in a frame
const OWN = ["blue", "vermilion", "green", "purple"]; // the colour of each sampler
const DASHES = [[], [6, 3], [2, 3], [9, 3, 2, 3]];
const STRIP = 0.14; // of a picture's side, for each marginal
const HISTORY = 300; // points of a line of a chart

const form = find("#wishes");
const still = matchMedia("(prefers-reduced-motion: reduce)");
const state = {
  hello: null, // densities, samplers and their fields, the first wishes
  wishes: null, // what is asked for, as plain values
  scene: null, // what is shown
  playing: !still.matches,
  halted: false, // by an error: chains stand still until it is mended
  panels: [], // cards, with their canvas and elements
  numbers: null,
  frame: null, // the last that came, not drawn yet
  shown: null, // the last that was drawn
  drawn: 0, steps: 0, times: [],
  history: { steps: [], b2: [], rhat: [], ess: [] }, // a step, and a value for each sampler
  changed: null, // the control that was changed last
};

// --- the socket

let socket = null;

function open() {
  const secure = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${secure}://${location.host}/playground/socket`);
  socket.binaryType = "arraybuffer";
  let lived = false;
  socket.addEventListener("message", ({ data }) => {
    lived = true;
    connection(true);
    if (typeof data === "string") told(JSON.parse(data));
    else arrived(data);
  });
  socket.addEventListener("close", ({ code }) => {
    if (code === 1013) return; // too many are open, as was told
    connection(false);
    setTimeout(open, lived ? 1000 : 3000);
  });
}

function say(message) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function told(message) {
  if (message.hello) greeted(message.hello);
  if (message.scene) begun(message.scene);
  if (message.numbers) counted(message.numbers);
  if (message.error) failed(message.error, message.panel);
}

function greeted(hello) {
  state.hello = hello;
  if (state.wishes === null) {
    state.wishes = { ...hello.play, ...remembered() };
    const asked = new URLSearchParams(location.search).get("density");
    if (asked !== null) state.wishes = { ...state.wishes, density: asked, coordinates: [0, 1] };
    fillForm();
    fillPanels();
  }
  setSpeed();
  watch();
}

/** The wishes that stand in the address, so that a page can be reloaded and handed on. */
function remembered() {
  try {
    const kept = JSON.parse(decodeURIComponent(location.hash.slice(1)));
    return Array.isArray(kept.samplers) ? kept : {};
  } catch {
    return {};
  }
}

let waiting;
function watch(changed = null) {
  if (changed !== null) state.changed = changed;
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    find("#busy").hidden = false;
    say({ do: "watch", play: state.wishes });
  }, changed === null ? 0 : 180);
}

function begun(scene) {
  state.scene = scene;
  state.frame = state.shown = null;
  state.halted = false;
  state.drawn = 0;
  forget();
  find("#busy").hidden = true;
  allRight();
  find("#source").textContent = `(${scene.source}${scene.note ? `; ${scene.note}` : ""})`;
  fillCoordinates();
  const bytes = Uint8Array.from(atob(scene.shades), (c) => c.charCodeAt(0));
  state.shades = bytes;
  for (const [k, panel] of state.panels.entries()) {
    panel.python.textContent = scene.panels[k]?.python ?? "";
    prepare(panel);
  }
  history.replaceState(null, "", `#${encodeURIComponent(JSON.stringify(state.wishes))}`);
  if (state.playing) say({ do: "run" });
  showPlaying();
}

function forget() {
  state.numbers = null;
  state.history = { steps: [], b2: [], rhat: [], ess: [] };
  drawCharts();
}

function failed(line, place) {
  find("#busy").hidden = true;
  const panel = place === null ? null : state.panels[place];
  const where = panel ? panel.error : find("#error");
  where.textContent = line;
  where.hidden = false;
  if (state.changed?.isConnected) {
    state.changed.setAttribute("aria-invalid", "true");
    if (panel) state.changed.setAttribute("aria-errormessage", panel.error.id);
  }
  state.halted = true;
  showPlaying();
}

function allRight() {
  for (const line of document.querySelectorAll("#error, .sampler .wrong")) line.hidden = true;
  for (const input of document.querySelectorAll("[aria-invalid]")) {
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-errormessage");
  }
}

// --- what is asked for

/** A number where one is written; else the text, about which the library has a line. */
function valueOf(text) {
  const told = text.trim();
  return /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(told) ? Number(told) : told;
}

const words = (name) => name.replaceAll(/[_-]/g, " ");

function fillForm() {
  const { wishes, hello } = state;
  const groups = new Map();
  for (const { name, group } of hello.densities) {
    if (!groups.has(group)) groups.set(group, el("optgroup", { label: group }));
    groups.get(group).append(el("option", { value: name }, name));
  }
  if (!hello.densities.some(({ name }) => name === wishes.density)) {
    groups.set("asked for", el("optgroup", { label: "asked for" }, el("option", { value: wishes.density }, wishes.density)));
  }
  form.elements.density.replaceChildren(...groups.values());
  form.elements.density.value = wishes.density;
  for (const name of ["width", "chains", "seed", "start"]) form.elements[name].value = wishes[name];
  [form.elements.x.value, form.elements.y.value] = wishes.point;
  showStart();
}

function showStart() {
  for (const part of form.querySelectorAll("[data-start]")) part.hidden = part.dataset.start !== state.wishes.start;
  const { density } = state.wishes;
  find("#about").textContent = state.hello.densities.find(({ name }) => name === density)?.about ?? "";
}

function fillCoordinates() {
  const { all_names: names, coordinates } = state.scene;
  find("#coordinates").hidden = names.length === 2;
  for (const [k, name] of ["across", "up"].entries()) {
    form.elements[name].replaceChildren(...names.map((label, i) => el("option", { value: i }, label)));
    form.elements[name].value = coordinates[k];
  }
}

form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", ({ target }) => {
  const { wishes } = state, { name, value } = target;
  if (name === "density") Object.assign(wishes, { density: value, coordinates: [0, 1] });
  else if (name === "across" || name === "up") {
    const place = name === "across" ? 0 : 1, chosen = Number(value);
    const other = wishes.coordinates[1 - place] === chosen ? wishes.coordinates[place] : wishes.coordinates[1 - place];
    wishes.coordinates = place === 0 ? [chosen, other] : [other, chosen];
  } else if (name === "x" || name === "y") wishes.point = [valueOf(form.elements.x.value), valueOf(form.elements.y.value)];
  else wishes[name] = name === "start" ? value : valueOf(value);
  showStart();
  watch(target);
});

// --- a card for each sampler

/** The values that the fields of a kind begin with; those that two kinds share carry over. */
function first(kind, before = {}) {
  const values = { kind };
  for (const field of state.hello.samplers[kind].fields) {
    if (field.type === "sampler") {
      const inside = before[field.name]?.kind ?? before.kind;
      const inner = field.choices.includes(inside) ? inside : field.choices[0];
      values[field.name] = first(inner, before[field.name] ?? before);
    } else {
      const known = before[field.name] ?? innermost(before)[field.name];
      values[field.name] = known !== undefined && fits(field, known) ? known : field.default;
    }
  }
  return values;
}

function innermost(values) {
  const inside = values.proposal ?? values.sampler;
  return inside === undefined ? values : innermost(inside);
}

function fits(field, value) {
  if (field.type === "choice") return field.choices.includes(value);
  if (field.name === "step_size") return false; // a variance for one kind, a time for another: see `changeKind`
  return true;
}

function fillPanels() {
  const cards = state.wishes.samplers.map((values, k) => card(values, k));
  state.panels = cards;
  find("#panels").replaceChildren(...cards.map(({ root }) => root));
  find("#add").hidden = cards.length >= OWN.length;
  find("#which").replaceChildren(...state.wishes.samplers.map((values, k) => el("li", {}, el("span", { class: "of", "aria-hidden": "true", style: `background: ${dashed(k)}` }), `${k + 1}: ${nameOf(values)}`)));
  for (const panel of cards) fit(panel);
}

/** The line of a sampler in the charts, as a background. */
function dashed(k) {
  let at = 0;
  const parts = DASHES[k].map((long, i) => `${i % 2 ? "transparent" : `var(--${OWN[k]})`} ${at}px ${(at += long)}px`);
  return parts.length ? `repeating-linear-gradient(to right, ${parts.join(", ")})` : `var(--${OWN[k]})`;
}

function kindSelect(kinds, kind, label, changed) {
  const select = el("select", { "aria-label": label }, ...kinds.map((name) => el("option", { value: name }, words(name))));
  select.value = kind;
  select.addEventListener("change", () => changed(select.value, select));
  return select;
}

function card(values, k) {
  const title = `Sampler ${k + 1}`, whole = nameOf(values);
  const change = (kind) => {
    const before = state.wishes.samplers[k];
    state.wishes.samplers[k] = keepStep(first(kind, before), before);
    fillPanels();
    find("select", state.panels[k].root).focus();
    watch();
  };
  const error = el("p", { class: "warning wrong", id: `wrong-${k}`, role: "alert", hidden: true });
  const canvas = el("canvas", { role: "img", "aria-label": `${title}: chains over the density` });
  const facts = el("dl");
  const lost = el("p", { class: "lost", role: "status" });
  const python = el("pre", { tabindex: "0" });
  const remove = el("button", { type: "button", "aria-label": `Remove ${title}`, title: "Remove this sampler", onclick: () => {
    state.wishes.samplers.splice(k, 1);
    fillPanels();
    watch();
    find("#add").focus();
  } }, "×");
  const root = el(
    "section", { class: "sampler", "aria-label": title, style: `--own: var(--${OWN[k]})` },
    el("div", { class: "head" }, el("h2", {}, whole), state.wishes.samplers.length > 1 ? remove : null),
    canvas,
    el("div", {}, facts, lost, error),
    el("div", {}, kindSelect(Object.keys(state.hello.samplers), values.kind, `${title}: kind`, change), el("p", { class: "formula" }, formula(values)), fieldsOf(values, `s${k}`, 0)),
    el("details", {}, el("summary", {}, "The same chains in Python"), python, el("button", { type: "button", onclick: ({ target }) => copy(python.textContent, target) }, "Copy")),
  );
  const panel = { root, canvas, facts, lost, error, python, place: k };
  canvas.addEventListener("click", (event) => startAt(panel, event));
  return panel;
}

/** The step size carries over where both kinds mean the same by it, a variance or a time. */
function keepStep(values, before) {
  const to = innermost(values), from = innermost(before);
  const meant = ({ kind }) => state.hello.samplers[kind].fields.find(({ name }) => name === "step_size")?.default;
  if (meant(to) !== undefined && meant(to) === meant(from)) to.step_size = from.step_size;
  return values;
}

/** `adjusted stanley` of a sampler in another. */
function nameOf(values) {
  const inside = values.proposal ?? values.sampler;
  return words(values.kind) + (inside === undefined ? "" : ` ${nameOf(inside)}`);
}

function formula(values) {
  const { about } = state.hello.samplers[values.kind], inside = values.proposal ?? values.sampler;
  return (inside === undefined ? about : `${about} Inside: ${formula(inside)}`).replaceAll(" - ", " − ");
}

const IN_SIGHT = 2; // fields before the rest, which is folded away

function fieldsOf(values, id, depth) {
  const shown = el("div", { class: "fields" }), rest = el("div", { class: "fields" });
  for (const [i, field] of state.hello.samplers[values.kind].fields.entries()) {
    const inside = field.type === "sampler";
    (inside || i < IN_SIGHT ? shown : rest).append(...fieldOf(field, values, `${id}-${field.name}`, depth));
  }
  if (rest.childElementCount > 0) shown.append(el("details", { class: "field full" }, el("summary", {}, "More fields"), rest));
  return shown;
}

function fieldOf(field, values, id, depth) {
  const set = (value, control) => {
    values[field.name] = value;
    watch(control);
  };
  const label = el("label", { for: id }, words(field.name));
  const hint = el("span", { class: "hint", id: `${id}-hint` }, field.about.replace(", or threshold.quantile Q", "")); // the list beside it says so
  const described = { id, "aria-describedby": `${id}-hint` };
  const whole = (...parts) => [el("div", { class: "field" }, label, ...parts, hint)];
  const text = (value, change, more = {}) => {
    const input = el("input", { inputmode: "decimal", value: value ?? "", ...more });
    input.addEventListener("change", () => change(input.value, input));
    return input;
  };
  const read = (told) => (told.trim() === "" && field.empty ? null : valueOf(told));

  if (field.type === "sampler") {
    const select = kindSelect(field.choices, values[field.name].kind, words(field.name), (kind) => {
      values[field.name] = keepStep(first(kind, values[field.name]), values[field.name]);
      fillPanels();
      document.getElementById(id)?.focus();
      watch();
    });
    select.removeAttribute("aria-label");
    select.id = id;
    return [el("div", { class: "field full" }, label, select), fieldsOf(values[field.name], id, depth + 1)];
  }
  if (field.type === "choice") {
    const select = kindSelect(field.choices, values[field.name], "", set);
    select.removeAttribute("aria-label");
    for (const [name, value] of Object.entries(described)) select.setAttribute(name, value);
    return whole(select);
  }
  if (field.type === "flag") {
    const box = el("input", { type: "checkbox", ...described, checked: values[field.name] });
    box.addEventListener("change", () => set(box.checked, box));
    return [el("div", { class: "field" }, el("label", { class: "check", for: id }, box, words(field.name)), hint)];
  }
  if (field.type === "threshold") {
    const now = values[field.name], quantile = typeof now === "object";
    const how = el("select", { "aria-label": `${words(field.name)} is` }, el("option", { value: "quantile" }, "quantile"), el("option", { value: "number" }, "number"));
    how.value = quantile ? "quantile" : "number";
    const input = text(quantile ? now.quantile : now, (told, control) => set(how.value === "quantile" ? { quantile: valueOf(told) } : valueOf(told), control), described);
    how.addEventListener("change", () => {
      input.value = how.value === "quantile" ? 0.9 : 2;
      set(how.value === "quantile" ? { quantile: 0.9 } : 2, input);
    });
    return whole(el("span", { class: "two" }, how, input));
  }
  if (field.type === "numbers") {
    return whole(text(values[field.name].join(", "), (told, control) => set(told.split(",").map(valueOf), control), described));
  }
  const input = text(values[field.name], (told, control) => set(read(told), control), described);
  if (field.name !== "step_size") return whole(input);
  const slide = el("input", { type: "range", min: -4, max: 1, step: 0.02, value: Math.log10(values[field.name]) || -1, "aria-label": "step size, as a slider" });
  slide.addEventListener("input", () => {
    input.value = Number((10 ** slide.value).toPrecision(2));
    set(Number(input.value), input);
  });
  input.addEventListener("change", () => (slide.value = Math.log10(Number(input.value)) || -1));
  return whole(input, slide);
}

async function copy(text, button) {
  await navigator.clipboard.writeText(text);
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

find("#add").addEventListener("click", () => {
  const kinds = Object.keys(state.hello.samplers), used = state.wishes.samplers.map(({ kind }) => kind);
  const kind = ["mala", ...kinds].find((name) => kinds.includes(name) && !used.includes(name));
  state.wishes.samplers.push(keepStep(first(kind), state.wishes.samplers[0]));
  fillPanels();
  find("select", state.panels.at(-1).root).focus();
  watch();
});

/** All chains start where the picture was clicked. */
function startAt(panel, event) {
  const { scene } = state;
  if (scene === null || !scene.can_start_at_a_point) return;
  const { left, top, width, height } = panel.canvas.getBoundingClientRect();
  const side = 1 - STRIP;
  const across = (event.clientX - left) / width / side, down = ((event.clientY - top) / height - STRIP) / side;
  if (across > 1 || down < 0) return;
  const [l, r, b, t] = scene.window;
  const point = [l + (r - l) * across, t - (t - b) * down].map((v) => Number(v.toPrecision(4)));
  Object.assign(state.wishes, { start: "point", point });
  fillForm();
  watch();
}

// --- movement

function showPlaying() {
  find("#run").textContent = state.playing && !state.halted ? "Pause" : "Play";
}

find("#run").addEventListener("click", () => {
  state.playing = state.halted || !state.playing;
  state.halted = false;
  showPlaying();
  state.times = [];
  say({ do: state.playing ? "run" : "pause" });
});
find("#step").addEventListener("click", () => {
  state.playing = state.halted = false;
  showPlaying();
  say({ do: "step" });
});
find("#reset").addEventListener("click", () => {
  state.halted = false;
  showPlaying();
  forget();
  state.drawn = 0;
  say({ do: "reset" });
  if (state.playing) say({ do: "run" });
});
find("#speed").addEventListener("change", setSpeed);

function setSpeed() {
  const [steps, frames] = find("#speed").value.split(" ").map(Number);
  state.times = [];
  say({ do: "speed", steps, frames });
}

// --- frames

let asked = false;

function arrived(data) {
  state.frame = data;
  if (!asked) {
    asked = true;
    requestAnimationFrame(drawFrame);
  }
}

/** Draw the frame that came last, and say so, for the next one. */
function drawFrame(now) {
  asked = false;
  const { frame: data, scene } = state;
  if (data === null || scene === null) return;
  state.frame = null;
  state.shown = data;
  const [frame, step] = new Uint32Array(data, 0, 2);
  say({ do: "drawn", frame });
  for (const panel of state.panels) drawPart(panel, data);
  state.steps = step;
  state.drawn += 1;
  find("#panels").dataset.frames = state.drawn;
  find("#panels").dataset.step = step;
  state.times.push(now);
  if (state.times.length > 60) state.times.shift();
  if (state.drawn % 10 === 0 || !state.playing) showPace();
}

/** The panel's part of a frame. */
function drawPart(panel, data) {
  const [, , chains, count] = new Uint32Array(data, 0, 4);
  if (panel.place >= count) return;
  const at = 16 + panel.place * 4 * Math.ceil((5 * chains) / 4);
  drawChains(panel, new Uint16Array(data, at, chains), new Uint16Array(data, at + 2 * chains, chains), new Uint8Array(data, at + 4 * chains, chains));
}

function showPace() {
  const { times } = state;
  const rate = times.length > 5 && state.playing ? (1000 * (times.length - 1)) / (times.at(-1) - times[0]) : null;
  find("#pace").textContent = `step ${whole(state.steps)}` + (rate === null ? "" : ` · ${Math.round(rate)} frames a second`);
}

/** The size of a picture in pixels of the screen, whose strips hold the marginals. */
function fit(panel) {
  const ratio = Math.min(2, devicePixelRatio || 1), side = Math.max(120, Math.round(panel.canvas.clientWidth * ratio));
  panel.canvas.width = panel.canvas.height = side;
  panel.ratio = ratio;
  panel.side = Math.round(side * (1 - STRIP));
  panel.strip = side - panel.side;
  panel.context = panel.canvas.getContext("2d", { alpha: false });
  prepare(panel);
}

/** The density in shades, and the chains of the last frame on it. */
function prepare(panel) {
  const { context, side, strip, canvas } = panel;
  if (context === undefined) return;
  context.fillStyle = colour("raised");
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (state.scene === null) return;
  const n = state.scene.side, small = new ImageData(n, n);
  const low = rgb("under-low"), high = rgb("under-high");
  for (let i = 0; i < n * n; i++) {
    const share = state.shades[i] / 255;
    for (let c = 0; c < 3; c++) small.data[4 * i + c] = low[c] + (high[c] - low[c]) * share;
    small.data[4 * i + 3] = 255;
  }
  const source = new OffscreenCanvas(n, n);
  source.getContext("2d").putImageData(small, 0, 0);
  const large = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true });
  large.imageSmoothingQuality = "high";
  large.drawImage(source, 0, 0, side, side);
  const under = large.getImageData(0, 0, side, side);
  context.putImageData(under, 0, strip);
  panel.under = new Uint32Array(under.data.buffer);
  panel.image = context.createImageData(side, side);
  panel.pixels = new Uint32Array(panel.image.data.buffer);
  panel.colours = colours();
  drawMarginals(panel);
  if (state.shown !== null) drawPart(panel, state.shown);
}

function rgb(name) {
  const told = colour(name);
  return [1, 3, 5].map((i) => parseInt(told.slice(i, i + 2), 16));
}

/** A colour of a pixel for each γ of a frame. */
function colours() {
  const from = rgb("g0"), to = rgb("g1");
  return Array.from({ length: 256 }, (_, i) => from.map((v, c) => Math.round(v + (to[c] - v) * (i / 255))));
}

const COVER = 0.72; // how much of what is below a chain hides

function drawChains(panel, x, y, gamma) {
  const { pixels, under, side, image, colours: lut, context, strip, ratio } = panel;
  if (pixels === undefined) return;
  pixels.set(under);
  const data = image.data, dot = ratio > 1.2 ? 3 : 2, most = side - dot, scale = most / EDGE;
  for (let i = 0; i < x.length; i++) {
    if (x[i] === OUTSIDE) continue;
    const [r, g, b] = lut[gamma[i]];
    const left = Math.round(x[i] * scale), top = Math.round(most - y[i] * scale);
    for (let v = top; v < top + dot; v++) {
      let at = 4 * (v * side + left);
      for (let u = 0; u < dot; u++, at += 4) {
        data[at] += (r - data[at]) * COVER;
        data[at + 1] += (g - data[at + 1]) * COVER;
        data[at + 2] += (b - data[at + 2]) * COVER;
      }
    }
  }
  context.putImageData(image, 0, strip);
}

/** Bars of the chains and the line of the density, above the picture and beside it. */
function drawMarginals(panel) {
  const { context, side, strip, canvas, place } = panel, { scene } = state;
  if (scene === null) return;
  const found = state.numbers?.panels[place]?.histograms ?? null;
  context.save();
  context.beginPath(); // the width of a line must not reach into the square of the chains
  context.rect(0, 0, canvas.width, strip);
  context.rect(side, strip, strip, side);
  context.clip();
  context.fillStyle = colour("raised");
  context.fillRect(0, 0, canvas.width, canvas.height);
  const room = strip - 4 * panel.ratio, bars = colour("bars"), ink = colour("ink");
  for (const [k, exact] of scene.marginals.entries()) {
    const n = exact.length, highest = 1.35 * Math.max(...exact), wide = side / n;
    const height = (v) => Math.min(room, (room * v) / highest);
    const corner = (i, v) => (k === 0 ? [i * wide, strip - v] : [side + v, strip + side - i * wide]);
    if (found !== null) {
      context.fillStyle = bars;
      for (const [i, share] of found[k].entries()) {
        const tall = height(share);
        if (k === 0) context.fillRect(i * wide, strip - tall, wide - 0.5, tall);
        else context.fillRect(side, strip + side - (i + 1) * wide, tall, wide - 0.5);
      }
    }
    context.strokeStyle = ink;
    context.lineWidth = 1.4 * panel.ratio;
    context.beginPath();
    for (let i = 0; i < n; i++) {
      const tall = height(exact[i]);
      context.lineTo(...corner(i, tall));
      context.lineTo(...corner(i + 1, tall));
    }
    context.stroke();
  }
  context.restore();
}

// --- numbers

function counted(numbers) {
  state.numbers = numbers;
  const { history: kept } = state;
  if (numbers.step > 0 && kept.steps.at(-1) !== numbers.step) {
    kept.steps.push(numbers.step);
    for (const name of ["b2", "rhat", "ess"]) kept[name].push(numbers.panels.map((panel) => panel[name]));
    if (kept.steps.length > HISTORY) for (const name of Object.keys(kept)) kept[name] = kept[name].filter((_, i) => i % 2 === 1);
  }
  for (const [k, panel] of state.panels.entries()) {
    if (numbers.panels[k] === undefined) continue;
    showNumbers(panel, numbers.panels[k]);
    drawMarginals(panel);
  }
  drawCharts();
  showPace();
}

function showNumbers(panel, told) {
  const chains = state.scene.chains, never = "never rejects";
  const facts = [
    ["acceptance", told.acceptance === null ? "–" : told.acceptance.toFixed(2), told.acceptance === null ? never : ""],
    ["mean γ", told.gamma === null ? "1" : told.gamma.toFixed(2)],
    ["b²", number(told.b2)],
    ["R̂", told.rhat === null ? "–" : told.rhat.toFixed(3)],
    ["ESS", told.ess === null ? "–" : whole(Math.round(told.ess))],
    ["∇U a chain", whole(told.gradients)],
    ["diverged", whole(told.diverged)],
    ["out of view", whole(told.outside)],
  ];
  panel.facts.replaceChildren(...facts.map(([name, value, title]) => el("div", title ? { title } : {}, el("dt", {}, name), el("dd", {}, value))));
  const line = told.diverged === 0 ? "" : `${whole(told.diverged)} of ${whole(chains)} chains have diverged; try a smaller step size.`;
  if (panel.lost.textContent !== line) panel.lost.textContent = line;
  const kind = state.scene.panels[panel.place].sampler;
  panel.canvas.setAttribute("aria-label", `Sampler ${panel.place + 1}, ${kind}: ${whole(chains)} chains over the density ${state.scene.density} after ${whole(state.numbers.step)} steps. ` + facts.map(([name, value]) => `${name} ${value}`).join(", "));
}

// beyond `most` a line leaves its chart, whose scale would else be that of chains that run away
const CHARTS = {
  b2: { at: "#chart-b2", limit: 0.01, most: 100, of: (v) => v },
  rhat: { at: "#chart-rhat", limit: 0.01, most: 100, of: (v) => v - 1 },
  ess: { at: "#chart-ess", limit: 400, most: Infinity, of: (v) => v },
};

function drawCharts() {
  for (const [name, chart] of Object.entries(CHARTS)) drawChart(find(chart.at), name, chart);
}

/** A line for each sampler; both axes are logarithms. */
function drawChart(canvas, name, { limit, most, of }) {
  const ratio = Math.min(2, devicePixelRatio || 1);
  canvas.width = Math.round(canvas.clientWidth * ratio);
  canvas.height = Math.round(canvas.clientHeight * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  const wide = canvas.clientWidth, high = canvas.clientHeight;
  const left = 44, right = wide - 8, top = 8, bottom = high - 22;
  const { steps } = state.history;
  const lines = state.history[name].map((row) => row.map((v) => (v === null ? null : Math.max(of(v), 1e-6))));
  const all = lines.flat().filter((v) => v !== null);
  const low = Math.log10(Math.min(limit, ...all)) - 0.1, up = Math.log10(Math.max(limit, Math.min(most, Math.max(...all)))) + 0.1;
  const last = Math.log10(Math.max(10, steps.at(-1) ?? 10)), from = Math.log10(Math.max(1, steps[0] ?? 1));
  const across = (step) => left + ((right - left) * (Math.log10(step) - from)) / (last - from || 1);
  const along = (v) => bottom - ((bottom - top) * (Math.log10(v) - low)) / (up - low);
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.lineWidth = 1;
  for (let p = Math.ceil(low); p <= up; p++) {
    line(context, [left, along(10 ** p)], [right, along(10 ** p)], colour("grid"));
    context.fillStyle = colour("quiet");
    context.textAlign = "right";
    context.fillText(p < -3 || p > 4 ? `1e${p}` : `${Number((10 ** p).toFixed(4))}`, left - 6, along(10 ** p));
  }
  context.setLineDash([3, 3]);
  line(context, [left, along(limit)], [right, along(limit)], colour("quiet"));
  context.setLineDash([]);
  if (!Number.isInteger(Math.log10(limit))) { // else an axis has the number
    context.fillStyle = colour("quiet");
    context.textAlign = "right";
    context.fillText(`${limit}`, left - 6, along(limit));
  }
  context.textAlign = "center";
  context.fillStyle = colour("quiet");
  for (let p = Math.ceil(from); p <= last; p++) context.fillText(whole(10 ** p), across(10 ** p), bottom + 12);
  context.textAlign = "right";
  context.fillText("steps", right, high - 6);
  context.save();
  context.beginPath();
  context.rect(left, top - 2, right - left + 2, bottom - top + 4);
  context.clip();
  context.lineWidth = 2;
  const count = state.scene?.panels.length ?? 0;
  for (let k = 0; k < count; k++) {
    context.strokeStyle = colour(OWN[k]);
    context.setLineDash(DASHES[k]);
    context.beginPath();
    let pen = false;
    for (const [i, step] of steps.entries()) {
      const v = lines[i][k] ?? null;
      if (v !== null) pen ? context.lineTo(across(step), along(v)) : context.moveTo(across(step), along(v));
      pen = v !== null;
    }
    context.stroke();
  }
  context.restore();
  const latest = lines.at(-1) ?? [];
  const values = latest.map((v, k) => `sampler ${k + 1}: ${number(v)}`).join(", ");
  canvas.setAttribute("aria-label", `${find("figcaption", canvas.parentElement).textContent}. ${values || "nothing yet"}`);
}

function line(context, from, to, style) {
  context.strokeStyle = style;
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(...to);
  context.stroke();
}

// --- the page

let resized;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => {
    for (const panel of state.panels) fit(panel);
    drawCharts();
  }, 150);
});
onTheme(() => {
  for (const panel of state.panels) prepare(panel);
  drawCharts();
});
showPlaying();
open();
