import { ask, comparisonAddress, duration, el, find, minus, number, poll, runAddress, runsDone, whole } from "./page.js";

const rows = new Map(); // name -> {row, said}
const body = find("#entries");
const WORDS = { unreadable: "cannot be read" };

function cell(label, attributes, ...children) {
  return el("td", { "data-label": label, ...attributes }, ...children);
}

function progress(entry) {
  if (entry.kind === "comparison") {
    return cell("Progress", {}, runsDone(entry), el("div", { class: "quiet small" }, (entry.arms ?? []).join(" · ")));
  }
  if (!entry.steps) return cell("", {});
  const left = entry.status === "running" && entry.left ? `about ${duration(entry.left)} left` : "";
  const kept = entry.status === "interrupted" && entry.checkpoint !== null ? `checkpoint of step ${whole(entry.checkpoint)}` : "";
  return cell(
    "Progress",
    {},
    `${whole(entry.step)} of ${whole(entry.steps)} steps`,
    entry.status === "finished" ? null : el("progress", { max: entry.steps, value: entry.step, "aria-label": `progress of ${entry.name}` }),
    el("div", { class: "quiet small" }, left || kept),
  );
}

function actions(entry) {
  const made = [];
  const button = (word, path) =>
    el("button", { type: "button", "data-do": word, "aria-label": `${word} ${entry.name}`, onclick: () => act(path, entry.name) }, word);
  if (entry.stoppable && entry.status !== "stopping") made.push(button("Stop", "/api/stop"));
  else if (entry.kind === "run" && ["interrupted", "diverged"].includes(entry.status)) made.push(button("Resume", "/api/resume"));
  return cell("", { class: "actions" }, ...made);
}

function cells(entry) {
  const address = entry.kind === "run" ? runAddress(entry.name) : comparisonAddress(entry.name);
  const link = ["failed", "unreadable", "starting"].includes(entry.status) && !entry.steps ? entry.name : el("a", { href: address }, entry.name);
  const error = entry.error || entry.why;
  return [
    el(
      "th",
      { scope: "row" },
      link,
      el("div", { class: "quiet small" }, entry.kind === "comparison" ? `comparison of ${entry.recipe ?? ""}` : (entry.recipe ?? "")),
      error ? el("div", { class: "warning small" }, error) : null,
    ),
    cell("Status", {}, el("span", { class: `status ${entry.status}` }, WORDS[entry.status] ?? entry.status)),
    cell("Sampler", {}, entry.kind === "run" ? (entry.sampler ?? "") : ""),
    progress(entry),
    cell("Energy gap", { class: "number" }, entry.kind === "run" && entry.gap !== undefined && entry.gap !== null ? number(entry.gap) : ""),
    cell("Scores", {}, ...(entry.scores ?? []).map((score) => el("div", {}, minus(score)))),
    actions(entry),
  ];
}

function show(answer, error) {
  const line = find("#problem");
  line.hidden = !error;
  line.textContent = error ? error.message : "";
  if (!answer) return;
  const names = new Set(answer.entries.map((entry) => entry.name));
  for (const [name, { row }] of rows) {
    if (!names.has(name)) {
      row.remove();
      rows.delete(name);
    }
  }
  answer.entries.forEach((entry, k) => {
    const said = JSON.stringify(entry);
    let known = rows.get(entry.name);
    if (!known) rows.set(entry.name, (known = { row: el("tr", {}), said: "" }));
    if (known.said !== said) {
      const focused = known.row.contains(document.activeElement) ? document.activeElement.dataset.do ?? "link" : null;
      known.row.replaceChildren(...cells(entry));
      known.said = said;
      // whoever is in a row with the keyboard stays in it
      if (focused) (find(`[data-do="${focused}"]`, known.row) ?? find("button, a", known.row))?.focus();
    }
    if (body.children[k] !== known.row) body.insertBefore(known.row, body.children[k] ?? null);
  });
  if (find("#none").hidden && answer.entries.length === 0) find("#new").open = true;
  find("#none").hidden = answer.entries.length > 0;
  find("#list").hidden = answer.entries.length === 0;
  find("#partly").hidden = answer.whole;
}

async function act(path, name) {
  const line = find("#said");
  try {
    await ask(path, { name });
    line.textContent = path === "/api/stop" ? `${name} saves a checkpoint and stops.` : `${name} goes on from its checkpoint.`;
  } catch (error) {
    line.textContent = error.message;
  }
  line.hidden = false;
  again();
}

const again = poll("/api/runs", 2, show);

const form = find("#start");
const recipe = find("#recipe");
let proposed = "";
function propose() {
  const chosen = recipe.selectedOptions[0];
  // the flags of a command line are fields here
  find("#about").textContent = chosen.dataset.about.replaceAll(/--(\S+) (\S+)/g, "$1=$2");
  form.elements.steps.placeholder = chosen.dataset.steps;
  const name = form.elements.name;
  if (name.value !== proposed) return;
  let free = recipe.value;
  for (let k = 2; rows.has(free); k += 1) free = `${recipe.value}-${k}`;
  name.value = proposed = free;
}
recipe.addEventListener("change", propose);
find("#new").addEventListener("toggle", propose);
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const refused = find("#refused");
  const button = find("button", form);
  button.disabled = true;
  try {
    const fields = Object.fromEntries(new FormData(form));
    const { name } = await ask("/api/start", fields);
    refused.hidden = true;
    find("#said").textContent = `${name} starts.`;
    find("#said").hidden = false;
    proposed = form.elements.name.value = "";
    await again();
    propose();
  } catch (error) {
    refused.textContent = error.message;
    refused.hidden = false;
  }
  button.disabled = false;
});
