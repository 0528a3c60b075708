// What the scripts of all pages share: elements, numbers, questions to the server, lost connections.

/** An element; text is text, never HTML, whatever it is called. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const find = (selector, inside = document) => inside.querySelector(selector);

/** Three significant digits, as the tables of the command line have them. */
export function number(value) {
  if (value === null || value === undefined) return "–";
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(3))).replace("-", "−");
}

/** What the server wrote, with the sign that `number` has. */
export const minus = (text) => text.replaceAll(/(^|[ [])-(?=[0-9])/g, "$1−");

export const whole = (value) => value.toLocaleString("en-US");

export function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86400).toFixed(1)} days`;
}

export const runAddress = (name) => `/run?name=${encodeURIComponent(name)}`;
export const comparisonAddress = (name) => `/comparison?name=${encodeURIComponent(name)}`;

/** `3 of 12 runs done` of a comparison; after one that had more runs the rest is not known. */
export function runsDone({ done = 0, planned, at_most, status }) {
  if (status === "finished" || !planned || done > planned) return `${whole(done)} run${done === 1 ? "" : "s"} done`;
  return `${whole(done)} of ${at_most ? "at most " : ""}${whole(planned)} runs done`;
}

/** Ask the server; an error is the one line that it says. */
export async function ask(path, body) {
  const request = body === undefined ? {} : { method: "POST", body: body instanceof Blob ? body : JSON.stringify(body) };
  let response;
  try {
    response = await fetch(path, { ...request, cache: "no-store" });
  } catch {
    connection(false);
    throw Object.assign(new Error("the studio does not answer; is it still running?"), { lost: true });
  }
  connection(true);
  const kind = response.headers.get("content-type") ?? "";
  const answer = kind.includes("json") ? await response.json() : { error: (await response.text()).trim() };
  if (!response.ok) throw new Error(answer.error ?? `the studio answered ${response.status}`);
  return answer;
}

/** Say that the connection is lost, and that it is back. */
export function connection(there) {
  const line = find("#connection");
  if (there === line.hidden) return;
  line.hidden = there;
  line.textContent = there ? "" : "Connection lost: what you see is no longer live. Trying again …";
}

/** Ask for the same every so many seconds, while the page is looked at, and show each answer. */
export function poll(path, seconds, show) {
  let timer;
  async function once() {
    clearTimeout(timer);
    try {
      show(await ask(typeof path === "function" ? path() : path));
    } catch (error) {
      if (!error.lost) show(null, error); // else the page says so at its top
    }
    timer = setTimeout(once, document.hidden ? 15000 : seconds * 1000);
  }
  document.addEventListener("visibilitychange", () => document.hidden || once());
  once();
  return once;
}

/** A socket that is opened when it is needed, and again after it was lost.
 *  `told` gets plain messages; arrays of a binary one are in `arrays`, by name. */
export function computations(path, told) {
  let socket = null;
  async function open() {
    if (socket !== null && socket.readyState === WebSocket.OPEN) return socket;
    const address = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
    socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.addEventListener("message", ({ data }) => told(typeof data === "string" ? JSON.parse(data) : unpacked(data)));
    return new Promise((resolve, reject) => {
      const opened = socket;
      let wasOpen = false;
      opened.addEventListener("open", () => {
        wasOpen = true;
        connection(true);
        resolve(opened);
      });
      opened.addEventListener("close", () => {
        if (socket === opened) socket = null;
        if (wasOpen) told({ lost: true });
        reject(new Error("the studio does not answer; is it still running?"));
      });
    });
  }
  return {
    async ask(request) {
      try {
        (await open()).send(JSON.stringify(request));
      } catch (error) {
        connection(false);
        told({ error: error.message });
      }
    },
    stop() {
      if (socket !== null && socket.readyState === WebSocket.OPEN) socket.send('{"do": "stop"}');
    },
  };
}

const TYPES = { uint8: Uint8Array, float32: Float32Array, int32: Int32Array };

/** A binary message: the length of its JSON, the JSON, then its arrays one after the other. */
export function unpacked(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const message = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let at = 4 + length;
  const arrays = {};
  for (const { name, type, shape } of message.arrays) {
    const size = shape.reduce((a, b) => a * b, 1);
    arrays[name] = { values: new TYPES[type](buffer, at, size), shape };
    at += Math.ceil((size * TYPES[type].BYTES_PER_ELEMENT) / 4) * 4;
  }
  return { ...message, arrays };
}

/** A colour of the style, as it is now. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** Call it again whenever the system goes from light to dark or back. */
export function onTheme(draw) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
