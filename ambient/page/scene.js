// What the stream tells: its state and the way there, layers with levels and reasons, mistakes of the scene file.

const $ = (id) => document.getElementById(id);
const HUSH_DB = -65; // quieter layers are shown as resting
const KINDS = { bed: "continuous", scatter: "single sounds" };
const FAMILIES = { geo: "earth and weather", bio: "living things", anthro: "people and machines" };
const MOST_NOTES = 8;
let drawn = null;

export const pretty = (name) => String(name ?? "").replaceAll(/[_.]/g, " ");

// Sounds from free text are layers for as long as they wait or sound, called “the text” and a number.
const isAsked = (name) => name.startsWith("“");
const asked = new Map(); // name → whether it was heard

export function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function showDescription() {
  $("layers").replaceChildren();
  drawn = null;
}

export function showStatus(stream, status) {
  const layers = status.layers ?? [];
  const shared = sharedPhrases(layers);
  set($("state"), pretty(status.state));
  set($("note"), standing(status, shared));
  showLayers(layers, shared);
  watchAsked(layers);
  showProblems(status.scene_problems ?? []);
  showPlace(stream, status);
  const number = (value, digits, unit) => (value == null ? "–" : `${value.toFixed(digits).replace("-", "−")}${unit}`);
  set($("ahead"), number(status.seconds_ahead, 0, " s"));
  set($("speed"), number(status.speed, status.speed < 10 ? 1 : 0, "× real time"));
  set($("loudness"), number(status.loudness_lufs, 0, " LUFS"));
}

function standing(status, shared) {
  if (status.playing === false) return status.model_ready ? "preparing the first sounds" : "loading the model";
  if (status.resting) return "resting until somebody listens";
  if (!blending(status)) return shared.join(" · ");
  return `coming from ${pretty(status.previous)}, ${Math.round(100 * status.blend)} %`;
}

const blending = (status) => status.previous && status.blend < 1;

// ---- layers

// "0.65 leaves, night + 0.35 breeze, night": texts with their weights, each a list of phrases.
function parts(prompt) {
  return prompt.split(/ \+ (?=\d\.\d\d )/).map((part) => {
    const [, weight, text] = part.match(/^(?:(\d\.\d\d) )?(.*)$/s);
    return { weight: weight && Number(weight), phrases: text.split(", ") };
  });
}

// What all beds end with (place, time of day) is said once, in the title.
function sharedPhrases(layers) {
  const beds = layers.filter((l) => l.kind === "bed");
  const now = beds.filter((l) => !l.muted); // those that are kept ready for another state end otherwise
  const texts = (now.length ? now : beds).flatMap((l) => parts(l.prompt).map((p) => p.phrases));
  if (texts.length < 2) return [];
  let count = 0;
  while (texts.every((t) => t.length > count + 1 && t.at(-1 - count) === texts[0].at(-1 - count))) count += 1;
  return count ? texts[0].slice(-count) : [];
}

function brief(prompt, shared) {
  return parts(prompt)
    .map(({ weight, phrases }) => {
      const own = [...phrases];
      while (own.length > 1 && shared.includes(own.at(-1))) own.pop();
      return weight ? `${own.join(", ")} ${Math.round(100 * weight)} %` : own.join(", ");
    })
    .join(" · ");
}

// Whether two prompts are the same words, in shares that the ear takes for the same.
function alike(one, other) {
  const shares = new Map();
  for (const [sign, prompt] of [[1, one], [-1, other]]) {
    for (const { weight, phrases } of parts(prompt)) {
      const text = phrases.join(", ");
      shares.set(text, (shares.get(text) ?? 0) + sign * (weight ?? 1));
    }
  }
  return [...shares.values()].every((difference) => Math.abs(difference) < 0.3);
}

function newRow(layer) {
  const row = document.createElement("li");
  row.dataset.name = layer.name;
  row.innerHTML =
    '<div class="head"><span class="name"></span><span class="kind"></span><span class="heard"></span></div>' +
    '<p class="prompt"></p>' +
    '<div class="meter" role="meter" aria-valuemin="-60" aria-valuemax="0"><i></i></div><p class="why"></p>';
  const part = (name) => row.querySelector(`.${name}`);
  row.parts = Object.fromEntries(["name", "kind", "heard", "prompt", "meter", "why"].map((name) => [name, part(name)]));
  row.classList.toggle("asked", isAsked(layer.name));
  row.parts.name.textContent = isAsked(layer.name) ? layer.name.replace(/ \d+$/, "") : pretty(layer.name);
  row.parts.meter.setAttribute("aria-label", `Level of ${pretty(layer.name)}`);
  return row;
}

function showLayers(layers, shared) {
  const list = $("layers");
  const rows = new Map([...list.children].map((row) => [row.dataset.name, row]));
  for (const layer of layers) {
    let row = rows.get(layer.name);
    if (!row) list.append((row = newRow(layer)));
    rows.delete(layer.name);
    showLayer(row.parts, layer, shared);
    row.classList.toggle("quiet", isQuiet(layer));
  }
  for (const row of rows.values()) row.remove();
}

const isQuiet = (layer) => layer.muted || layer.level_db < HUSH_DB;

function showLayer({ kind, prompt, meter, why }, layer, shared) {
  const level = Math.max(-60, Math.min(0, layer.level_db));
  const quiet = isQuiet(layer);
  set(kind, [KINDS[layer.kind], FAMILIES[layer.family], layer.role].filter(Boolean).join(" · "));
  if (prompt.title !== layer.prompt) prompt.title = layer.prompt;
  const now = brief(layer.prompt, shared);
  const old = layer.heard && !quiet && !alike(layer.heard, layer.prompt);
  set(prompt, old ? `${now} (coming; still heard: ${brief(layer.heard, shared)})` : now);
  set(why, (layer.why ?? []).join(" · ").replaceAll(/([ =]) -(?=\d)/g, "$1 −"));
  meter.firstChild.style.transform = `scaleX(${quiet ? 0 : (level + 60) / 60})`;
  meter.setAttribute("aria-valuenow", level.toFixed(0));
  meter.setAttribute("aria-valuetext", quiet ? "silent" : `${level.toFixed(0)} decibels`);
}

// A single sound begins: its layer says where.
function glimpse(layer, where) {
  const mark = $("layers").querySelector(`[data-name="${CSS.escape(layer)}"] .heard`);
  if (!mark) return;
  mark.textContent = where || "now";
  mark.classList.add("now");
  clearTimeout(mark.hiding);
  mark.hiding = setTimeout(() => mark.classList.remove("now"), 2500);
}

// What was asked for and is gone without having been heard could not be made.
function watchAsked(layers) {
  const now = layers.map((layer) => layer.name).filter(isAsked);
  for (const [name, heard] of asked) {
    if (now.includes(name)) continue;
    asked.delete(name);
    if (heard) continue;
    set($("ask-answer"), "");
    note(name.replace(/ \d+$/, ""), "could not be made");
  }
  for (const name of now) if (!asked.has(name)) asked.set(name, false);
}

function place({ distance_m: distance, azimuth_deg: azimuth }) {
  if (distance == null) return "";
  const side = azimuth == null ? "" : azimuth < -20 ? " to the left" : azimuth > 20 ? " to the right" : " ahead";
  return `${Math.round(distance)} m${side}`;
}

// ---- what happened

export function happened(kind, what) {
  if (kind === "transition") {
    note(what.from ? `${pretty(what.from)} → ${pretty(what.to)}` : pretty(what.to), what.why);
  } else if (kind === "error") {
    set($("ask-answer"), "");
    note("Not possible", what.message);
  } else if (what.kind === "event") {
    note(pretty(what.name));
  } else if (what.kind === "oneshot") {
    const layer = what.layer ?? what.name;
    if (isAsked(layer)) {
      asked.set(layer, true);
      set($("ask-answer"), "");
      note(layer.replace(/ \d+$/, ""), place(what));
    }
    glimpse(layer, place(what));
  } else if (what.kind === "reload") {
    note("The scene was changed");
  } else if (what.kind === "fault") {
    note("Repaired", what.name);
  }
}

function note(what, why = "") {
  const list = $("log");
  list.querySelector(".none")?.remove();
  const row = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString([], { timeStyle: "short" });
  const text = document.createElement("span");
  text.textContent = what;
  row.append(time, text);
  if (why?.length) {
    const reason = document.createElement("em");
    reason.textContent = [why].flat().join(" · ").replaceAll("_", " ");
    row.append(reason);
  }
  list.prepend(row);
  while (list.children.length > MOST_NOTES) list.lastChild.remove();
}

// ---- the scene file

function showProblems(problems) {
  $("problems-card").hidden = !problems.length;
  const list = $("problems");
  if (list.told === problems.join("\n")) return;
  list.told = problems.join("\n");
  list.replaceChildren(
    ...problems.map((problem) => {
      const row = document.createElement("li");
      row.textContent = problem;
      return row;
    }),
  );
}

// ---- states

async function showPlace(stream, status) {
  const { state } = status;
  for (const button of $("states").children) {
    const here = button.dataset.name === state;
    button.classList.toggle("here", here);
    button.setAttribute("aria-current", here ? "true" : "false");
  }
  const key = `${stream}/${state}`;
  if (drawn !== key) {
    drawn = key;
    const response = await fetch(`/diagram/${encodeURIComponent(stream)}.svg?state=${encodeURIComponent(state)}`);
    if (!response.ok || drawn !== key) return;
    const drawing = new DOMParser().parseFromString(await response.text(), "image/svg+xml").documentElement;
    if (drawing.nodeName !== "svg") return;
    drawing.setAttribute("role", "img");
    drawing.setAttribute("aria-label", `States of ${pretty(stream)}; now ${pretty(state)}`);
    // The policy would block them all the same, but newer browsers complain of it.
    for (const script of drawing.querySelectorAll("script")) script.remove();
    $("diagram").replaceChildren(document.importNode(drawing, true));
    $("diagram").hidden = false;
  }
  for (const node of $("diagram").querySelectorAll("[data-state]")) {
    node.classList.toggle("leaving", Boolean(blending(status)) && node.dataset.state === status.previous);
    if (node.dataset.state === state) node.style.setProperty("--blend", blending(status) ? status.blend : 1);
    else node.style.removeProperty("--blend");
  }
}
