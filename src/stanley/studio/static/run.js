import { ask, colour, computations, duration, el, find, number, onTheme, poll, whole } from "./page.js";
import { CONFIG, MARKS, curves, faint, grid, layout, pixels, plane } from "./drawing.js";

const name = find("#run").dataset.name;
const here = `name=${encodeURIComponent(name)}`;

// The training: its state and its curves ------------------------------------------------------

let version = "";
let panels = [];
let events = [];
let entry = null;
const charts = new Map(); // title -> div

function showEntry() {
  const { status, recipe, sampler, step, steps, left, scores, checkpoint, error, why } = entry;
  const badge = find("#status");
  badge.className = `status ${status}`;
  badge.textContent = status;
  const facts = [recipe, sampler ? `sampler ${sampler}` : "", steps ? `step ${whole(step)} of ${whole(steps)}` : "", status === "running" && left ? `about ${duration(left)} left` : "", checkpoint !== null && checkpoint !== undefined ? `checkpoint of step ${whole(checkpoint)}` : "", ...(scores ?? []), entry.elsewhere ?? ""];
  find("#facts").textContent = facts.filter(Boolean).join(" · ");
  Object.assign(find("#progress"), { max: steps || 1, value: step || 0, hidden: status === "finished" });
  find("#stop").hidden = !entry.stoppable || status === "stopping";
  const still = ["interrupted", "diverged", "finished"].includes(status);
  find("#resume").hidden = !still;
  find("#resume").textContent = status === "finished" ? "Train on" : "Resume";
  find("#more").hidden = !still;
  find("#steps").placeholder = status === "finished" ? whole(2 * steps) : whole(steps || 0);
  const line = find("#problem");
  line.textContent = error || why || "";
  line.hidden = !line.textContent;
}

function showCurves() {
  find("#no-curves").hidden = panels.length > 0;
  find("#of-curves").hidden = panels.length === 0;
  const place = find("#curves");
  const titles = new Set(panels.map((panel) => panel.title));
  for (const [title, div] of charts) {
    if (!titles.has(title)) {
      window.Plotly.purge(div);
      div.parentElement.remove();
      charts.delete(title);
    }
  }
  let at = 0;
  for (const panel of panels) {
    let div = charts.get(panel.title);
    const last = panel.lines.map((line) => `${line.name} ${number(line.middle[line.middle.length - 1])}`).join(", ");
    if (!div) {
      div = el("div", { class: "chart", role: "img" });
      const names = panel.lines.length > 1 ? panel.lines.map((line) => el("span", { class: "key dot", style: `--key: var(--${line.colour})` }, line.name)) : [];
      place.append(el("figure", { class: "panel" }, el("figcaption", {}, panel.title, " ", ...names), div));
      charts.set(panel.title, div);
    }
    if (place.children[at] !== div.parentElement) place.insertBefore(div.parentElement, place.children[at] ?? null);
    at += 1;
    div.setAttribute("aria-label", `${panel.title} over the steps; at last ${last}`);
    curves(div, panel, events);
  }
  find("#events").replaceChildren(
    ...events.slice(-20).map((event) => el("li", { class: { quiet: "", warn: "warned" }[MARKS[event.kind]] ?? "wrong" }, `step ${whole(event.step)}: ${event.kind}${event.reason ? `, ${event.reason}` : ""}`)),
  );
}

function show(answer, error) {
  if (!answer) {
    const line = find("#problem");
    line.textContent = error.message;
    line.hidden = false;
    return;
  }
  const before = entry;
  entry = answer.run;
  showEntry();
  if (answer.damaged) {
    find("#problem").textContent = answer.damaged;
    find("#problem").hidden = false;
  }
  const changed = JSON.stringify(events) !== JSON.stringify(answer.events);
  events = answer.events;
  if (answer.panels) {
    panels = answer.panels;
    find("#constant").textContent = answer.constant.length ? `Constant: ${answer.constant.join(", ")}.` : "";
  }
  if (answer.panels || changed) showCurves();
  version = answer.version;
  find("#log-panel").hidden = answer.said.length === 0;
  find("#log").textContent = answer.said.join("\n");
  if (JSON.stringify(before?.checkpoints) !== JSON.stringify(entry.checkpoints)) showCheckpoints();
}

const again = poll(() => `/api/run?${here}&since=${version}`, 2, show);

async function act(path, fields, words) {
  const line = find("#said");
  try {
    await ask(path, { name, ...fields });
    line.textContent = words;
  } catch (error) {
    line.textContent = error.message;
  }
  line.hidden = false;
  again();
}
find("#stop").addEventListener("click", () => act("/api/stop", {}, "It saves a checkpoint and stops."));
find("#resume").addEventListener("click", () => {
  const typed = find("#steps").value.trim();
  const steps = typed || (entry.status === "finished" ? String(2 * entry.steps) : "");
  act("/api/resume", { steps }, "It goes on from its newest checkpoint.");
  find("#steps").value = "";
});

// What a checkpoint holds ---------------------------------------------------------------------

let model = null; // the last answer to a look, with its arrays
let chains = null;
let chainsStep = null; // of the checkpoint that they were drawn from
let busy = null; // what is asked for now
let next = null; // what is asked for after it
let follows = true; // the slider stands at the newest checkpoint
let newer = false; // there is one that was not looked at, as something else is asked for

const socket = computations(`/ws/run?${here}`, told);

function request(fields) {
  if (busy !== null && busy.do !== "draw" && fields.do !== busy.do && !fields.now) next = fields;
  else {
    busy = fields;
    next = null;
    socket.ask(fields);
  }
  find("#halt").disabled = false;
}

function step() {
  const kept = entry?.checkpoints ?? [];
  return follows ? null : (kept[Number(find("#slider").value)] ?? null);
}

function showCheckpoints() {
  const kept = entry.checkpoints ?? [];
  const slider = find("#slider");
  find("#checkpoints").hidden = kept.length < 2;
  const at = follows ? kept.length - 1 : Math.max(0, kept.indexOf(model?.step ?? -1));
  slider.max = Math.max(0, kept.length - 1);
  slider.value = at;
  showStep();
  if (kept.length && follows) {
    newer = true;
    lookAtNewest();
  }
}

function lookAtNewest() {
  if (!newer || !follows || busy !== null) return;
  newer = false;
  request({ do: "look", step: null, first: model === null });
}

function showStep() {
  const kept = entry.checkpoints ?? [];
  const at = Number(find("#slider").value);
  const words = `Checkpoint of step ${whole(kept[at] ?? 0)}${at === kept.length - 1 ? ", the newest" : ""}`;
  find("#checkpoint").textContent = words;
  find("#slider").setAttribute("aria-valuetext", words);
}

let settling;
find("#slider").addEventListener("input", () => {
  follows = Number(find("#slider").value) === (entry.checkpoints ?? []).length - 1;
  showStep();
  clearTimeout(settling);
  settling = setTimeout(() => request({ do: "look", step: step(), first: true, now: true }), 250);
});

const typed = (id, usual) => {
  const text = find(id).value.trim().replaceAll(",", "");
  if (text === "") return usual;
  return /^\d+$/.test(text) ? Number(text) : text; // what is no number is for the server to refuse
};

function draw() {
  const fields = { do: "draw", step: step(), start: find("#from").value, seed: typed("#seed", 0) };
  if (typed("#num", null) !== null) fields.chains = typed("#num", null);
  if (typed("#chain-steps", null) !== null) fields.steps = typed("#chain-steps", null);
  request(fields);
}
find("#draw").addEventListener("submit", (event) => {
  event.preventDefault();
  find("#cannot").hidden = true;
  draw();
});
find("#halt").addEventListener("click", () => {
  next = null;
  socket.stop();
});

function told(message) {
  const trying = busy !== null && ["inpaint", "denoise", "score", "held-out"].includes(busy.do);
  const line = find(trying ? "#working" : "#going");
  if (message.error || message.lost) {
    const problem = find(trying ? "#refused" : "#cannot");
    problem.textContent = message.error ?? "The connection was lost; ask again.";
    problem.hidden = false;
    if (trying && busy.do === "held-out") noPictures(message.error);
    finished();
  } else if (message.done) {
    const first = busy?.do === "look" && busy.first;
    const image = model?.image;
    finished();
    if (first && next === null) {
      if (image && !find("#choices").childElementCount) next = { do: "draw-then-choose" };
      else draw();
    }
    if (next?.do === "draw-then-choose") {
      next = null;
      draw();
      next = { do: "held-out" };
    } else if (next !== null && busy === null) request(next);
  } else if (message.kind === "look") showModel(message);
  else if (message.kind === "chains") {
    line.textContent = message.words;
    if (trying) showDraws(message.arrays.x);
    else {
      chains = message.arrays.x;
      chainsStep = model?.step ?? null;
      find("#fresh-of").textContent = find("#fresh-of-2").textContent = "";
      showChains();
    }
  } else if (message.kind === "held-out") choose(message.arrays.images);
  else if (message.kind === "mean") picture("mean", message.arrays.x);
  else if (message.kind === "noisy") picture("noisy", message.arrays.x);
  else if (message.kind === "score") showScore(message);
  if (!message.lost) lookAtNewest();
}

function finished() {
  busy = null;
  find("#halt").disabled = true;
}

const columnName = (k) => model.columns?.[k] ?? `x${k + 1}`;

function showModel(message) {
  model = message;
  if (chains !== null && chainsStep !== model.step) find("#fresh-of").textContent = find("#fresh-of-2").textContent = ` · of step ${whole(chainsStep)}`;
  find("#cannot").hidden = true;
  find("#without").textContent = message.without ?? "";
  const flat = message.shape.length === 1 && message.shape[0] === 2;
  find("#plane").hidden = !flat;
  find("#pictures").hidden = !message.image;
  find("#play").hidden = message.image || !message.density;
  find("#try").hidden = !message.image || !message.density;
  find("#vectors").hidden = message.image || flat;
  find("#bank-panel").hidden = message.chains === 0;
  find("#held-out-panel").hidden = message.chains > 0 || !held;
  find("#num").placeholder = message.image ? "16" : "500";
  find("#chain-steps").placeholder = whole(message.steps);
  find("#from").disabled = message.chains === 0;
  if (message.image && message.chains > 0) grid(find("#bank"), message.arrays.bank);
  if (flat) {
    find(".key.landscape").hidden = message.arrays.landscape === undefined;
  } else if (!message.image) {
    const names = Array.from({ length: Math.min(message.shape[0], 12) }, (_, k) => columnName(k));
    for (const [id, at] of [["#across", 0], ["#up", Math.min(1, names.length - 1)]]) {
      if (!find(id).options.length) {
        find(id).append(...names.map((text, k) => new Option(text, k)));
        find(id).value = at;
      }
    }
    find("#columns-left").hidden = message.shape[0] <= 12;
    find("#columns-left").textContent = `The first 12 of ${message.shape[0]} columns.`;
  }
  showChains();
}

function showChains() {
  if (model === null) return;
  if (model.image) {
    if (chains) grid(find("#fresh"), chains);
  } else if (model.shape[0] === 2) showPlane();
  else showVectors();
}

function showPlane() {
  const layers = [];
  if (find("#show-data").checked) layers.push({ points: model.arrays.data, colour: "quiet", size: 1.1 });
  if (find("#show-bank").checked) layers.push({ points: model.arrays.bank, colour: "ink", size: 2.2, ring: true });
  if (find("#show-chains").checked && chains) layers.push({ points: chains, colour: "vermilion", size: 2.4 });
  plane(find("#landscape"), { box: model.box, landscape: model.arrays.landscape, top: model.nats, names: [columnName(0), columnName(1)] }, layers);
}
for (const id of ["#show-data", "#show-bank", "#show-chains"]) find(id).addEventListener("change", showPlane);

const column = ({ values, shape: [count, d] }, k) => Array.from({ length: count }, (_, n) => values[n * d + k]);

let drawnAt = 0;
let later;
function showVectors() {
  // charts of a few thousand bars and dots: ten a second are enough
  clearTimeout(later);
  const wait = drawnAt + 100 - performance.now();
  if (wait > 0) {
    later = setTimeout(showVectors, wait);
    return;
  }
  drawnAt = performance.now();
  const sets = [["data", model.arrays.data, "quiet"], ["chains", chains, "vermilion"]].filter(([, points]) => points?.shape[0]);
  const place = find("#marginals");
  const shown = Math.min(model.shape[0], 12);
  for (let k = 0; k < shown; k += 1) {
    if (!place.children[k]) place.append(el("figure", { class: "panel" }, el("figcaption", {}, columnName(k)), el("div", { class: "chart low", role: "img", "aria-label": `Histogram of ${columnName(k)}, data and chains` })));
    const ends = column(model.arrays.data.shape[0] ? model.arrays.data : model.arrays.bank, k).sort((a, b) => a - b);
    const low = ends[Math.floor(0.002 * ends.length)];
    const high = ends[Math.floor(0.998 * (ends.length - 1))];
    const size = (high - low) / 30 || 1;
    const traces = sets.map(([title, points, paint]) => ({ type: "histogram", x: column(points, k), name: title, histnorm: "probability density", xbins: { start: low - 4 * size, end: high + 4 * size, size }, marker: { color: faint(paint, 0.55) }, hovertemplate: "%{y:.3g}" }));
    window.Plotly.react(place.children[k].lastChild, traces, layout({ barmode: "overlay", yaxis: { nticks: 4 }, xaxis: { range: [low - 4 * size, high + 4 * size], nticks: 5 } }), CONFIG);
  }
  showPair(sets);
}

function showPair(sets) {
  const [a, b] = [Number(find("#across").value), Number(find("#up").value)];
  const few = ([, points]) => points.shape[0] < 300; // they are not hidden by many, and are larger
  const traces = [...sets].sort((one, other) => few(one) - few(other)).map(([title, points, paint]) => ({ x: column(points, a), y: column(points, b), name: title, mode: "markers", marker: { size: few([title, points]) ? 6 : title === "data" ? 3 : 4, color: faint(paint, few([title, points]) ? 0.9 : title === "data" ? 0.5 : 0.75) }, hoverinfo: "skip" }));
  window.Plotly.react(find("#pair"), traces, layout({ xaxis: { title: { text: columnName(a) } }, yaxis: { title: { text: columnName(b) } } }), CONFIG);
}
for (const id of ["#across", "#up"]) find(id).addEventListener("change", showVectors);

// A picture to try it on ----------------------------------------------------------------------

let held = null; // held-out pictures
let chosen = null; // {values, shape: [C, H, W]}
let mask = null; // bytes (H, W), 1 where it is unknown

function noPictures(words) {
  find("#no-data").textContent = words ?? "";
  find("#no-data").hidden = !words;
  find("#refused").hidden = true;
}

function choose(images) {
  const [count, ...shape] = images.shape;
  const size = shape.reduce((a, b) => a * b, 1);
  find("#working").textContent = "\u00a0";
  held = images;
  grid(find("#held-out"), { values: images.values, shape: [Math.min(16, count), ...shape] });
  find("#held-out-panel").hidden = model.chains > 0;
  find("#choices").replaceChildren(
    ...Array.from({ length: count }, (_, k) => {
      const values = images.values.slice(k * size, (k + 1) * size);
      const canvas = el("canvas", { class: "pixels", width: shape[2], height: shape[1], "aria-hidden": "true" });
      canvas.getContext("2d").putImageData(pixels({ values, shape }), 0, 0);
      const button = el("button", { type: "button", "aria-label": `Held-out picture ${k + 1}`, "aria-pressed": "false", onclick: () => take({ values, shape }, button) }, canvas);
      return button;
    }),
  );
  find("#choices").firstChild?.click();
}

function take(image, button = null) {
  for (const other of find("#choices").children) other.setAttribute("aria-pressed", String(other === button));
  chosen = image;
  if (mask === null || mask.length !== image.shape[1] * image.shape[2]) mask = new Uint8Array(image.shape[1] * image.shape[2]);
  showPicture();
}

const SCALE = 12;
function showPicture() {
  if (!chosen) return;
  const [, height, width] = chosen.shape;
  const canvas = find("#paint");
  [canvas.width, canvas.height] = [width * SCALE, height * SCALE];
  canvas.style.setProperty("--ratio", `${width} / ${height}`);
  const context = canvas.getContext("2d");
  const small = el("canvas", { width, height });
  small.getContext("2d").putImageData(pixels(chosen), 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  context.fillStyle = faint("vermilion", 0.85);
  mask.forEach((unknown, k) => unknown && context.fillRect((k % width) * SCALE, Math.floor(k / width) * SCALE, SCALE, SCALE));
}

function paint(event) {
  if (!chosen || !(event.buttons & 1)) return;
  event.preventDefault();
  const [, height, width] = chosen.shape;
  const place = find("#paint").getBoundingClientRect();
  const [x, y] = [((event.clientX - place.left) / place.width) * width, ((event.clientY - place.top) / place.height) * height];
  const radius = Number(find("#brush").value);
  for (let r = 0; r < height; r += 1) {
    for (let c = 0; c < width; c += 1) if ((c + 0.5 - x) ** 2 + (r + 0.5 - y) ** 2 <= radius ** 2) mask[r * width + c] = 1;
  }
  showPicture();
}
find("#paint").addEventListener("pointerdown", (event) => {
  find("#paint").setPointerCapture(event.pointerId);
  paint(event);
});
find("#paint").addEventListener("pointermove", paint);

const PARTS = {
  left: (x) => x < 0.5,
  right: (x) => x >= 0.5,
  top: (_, y) => y < 0.5,
  bottom: (_, y) => y >= 0.5,
  middle: (x, y) => Math.abs(x - 0.5) < 0.22 && Math.abs(y - 0.5) < 0.22,
  none: () => false,
};
for (const button of document.querySelectorAll("[data-mask]")) {
  button.addEventListener("click", () => {
    if (!chosen) return;
    const [, height, width] = chosen.shape;
    const inside = PARTS[button.dataset.mask];
    mask.forEach((_, k) => (mask[k] = inside(((k % width) + 0.5) / width, (Math.floor(k / width) + 0.5) / height) ? 1 : 0));
    showPicture();
  });
}

function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

function use(fields) {
  find("#refused").hidden = true;
  if (!chosen) {
    find("#refused").textContent = "Choose a picture first.";
    find("#refused").hidden = false;
    return;
  }
  for (const id of ["#noisy-panel", "#draws-panel", "#mean-panel", "#verdict"]) find(id).hidden = true;
  find("#working").textContent = "…";
  request({ step: step(), picture: base64(chosen.values), now: true, ...fields });
}
find("#inpaint").addEventListener("click", () => use({ do: "inpaint", mask: base64(mask ?? new Uint8Array()) }));
find("#denoise").addEventListener("click", () => use({ do: "denoise", noise: Number(find("#noise").value), given: find("#is-noisy").checked ? "noisy" : "clean" }));
find("#is-noisy").addEventListener("change", () => (find("#denoise").textContent = find("#is-noisy").checked ? "Take the noise away" : "Add noise and take it away"));
find("#score").addEventListener("click", () => use({ do: "score" }));
find("#noise").addEventListener("input", () => (find("#noise-said").textContent = `Noise ${Number(find("#noise").value).toFixed(2)}`));

function picture(id, images) {
  find(`#${id}-panel`).hidden = false;
  grid(find(`#${id}`), images);
}

function showDraws(images) {
  picture("draws", images);
}

function showScore(message) {
  find("#verdict").hidden = false;
  find("#working").textContent = "\u00a0";
  const words = [`U = ${number(message.energy)} nats, |∇U| = ${number(message.gradient)}.`];
  if (message.percentile !== null) words.push(`${number(message.percentile)} % of ${whole(message.n)} held-out pictures have a lower energy; 50 % would be usual.`);
  if (message.rarity !== null) words.push(`By its energies at ten noise levels it is rarer than ${number(message.rarity)} % of them.`);
  if (message.without) words.push(`It is not ranked, ${message.without}.`);
  find("#verdict-words").textContent = words.join(" ");
  const values = [...message.arrays.energies.values];
  find("#energies").hidden = values.length === 0;
  if (values.length === 0) return;
  const line = { type: "line", x0: message.energy, x1: message.energy, y0: 0, y1: 1, yref: "paper", line: { color: colour("vermilion"), width: 2.5 } };
  const traces = [{ type: "histogram", x: values, nbinsx: 40, marker: { color: faint("quiet", 0.6) }, hovertemplate: "%{y} pictures" }];
  window.Plotly.react(find("#energies"), traces, layout({ shapes: [line], xaxis: { title: { text: "energy U; the line is this picture" } }, yaxis: { title: { text: "held-out pictures" } } }), CONFIG);
}

async function send(file) {
  const refused = find("#refused");
  refused.hidden = true;
  try {
    const { pixels: text } = await ask(`/api/picture?shape=${model.shape.join(",")}`, file);
    take({ values: Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), shape: model.shape });
  } catch (error) {
    refused.textContent = error.message;
    refused.hidden = false;
  }
}
find("#file").addEventListener("change", ({ target }) => target.files[0] && send(target.files[0]));
const area = find("#try");
area.addEventListener("dragover", (event) => event.preventDefault());
area.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files[0]) send(event.dataTransfer.files[0]);
});

onTheme(() => {
  showCurves();
  showChains();
  showPicture();
});
addEventListener("resize", () => model && !model.image && model.shape[0] === 2 && showPlane());
