// The listening page: one WebSocket for sound, state and control; everything that is shown comes from the stream.

import { ElementPlayer, WorkletPlayer, chooseCodecs, hasWorklet, parseFrame } from "./player.js";
import { Spectrogram } from "./spectrogram.js";

const $ = (id) => document.getElementById(id);
const BUFFER_MS = 700;
const HUSH_DB = -65; // quieter layers are shown as resting

// What tests and the curious may read.
const facts = (window.ambient = {
  state: "idle", // idle, waiting, playing
  scene: null,
  framesPlayed: 0,
  underruns: 0,
  gaps: 0,
  skips: 0,
  buffered: 0,
  rms: null,
  codec: null,
  connected: false,
  reconnects: 0,
});

let stream = null;
let socket = null;
let retries = 0;
let wanted = false; // whether the listener wants to hear
let description = null;
let player = null;
let resume = null;
let touched = {}; // when each slider was last moved
const spectrogram = new Spectrogram($("spectrogram"));

// ---- connection

function connect() {
  const name = stream;
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const ws = new WebSocket(`${scheme}://${location.host}/ws/v1/${encodeURIComponent(name)}`, "soundscape.v1");
  socket = ws;
  ws.binaryType = "arraybuffer";
  ws.onopen = async () => {
    const codecs = await wantedCodecs();
    const payload = { protocol: 1, client_id: "page", role: "controller", codecs, rates: [48000], channels: 2 };
    send("hello", { ...payload, buffer_ms: BUFFER_MS, ...(resume && { resume }) }, ws);
  };
  ws.onmessage = ({ data }) => {
    if (ws !== socket) return;
    if (typeof data !== "string") return hear(data);
    const { type, payload } = JSON.parse(data);
    handlers[type]?.(payload);
  };
  ws.onclose = () => {
    if (ws !== socket) return;
    facts.connected = false;
    facts.reconnects += 1;
    link("lost", "reconnecting");
    // The more often it failed the longer, and never all listeners at once.
    const pause = Math.min(8, 0.4 * 1.7 ** retries++) * (0.6 + 0.8 * Math.random());
    setTimeout(() => ws === socket && connect(), pause * 1000);
  };
}

function send(type, payload, to = socket) {
  if (to?.readyState === WebSocket.OPEN) to.send(JSON.stringify({ type, payload }));
}

async function wantedCodecs() {
  return wanted && player instanceof WorkletPlayer ? chooseCodecs() : [];
}

function hear(data) {
  const frame = parseFrame(data);
  if (frame && wanted) player?.push(frame);
}

function link(kind, text) {
  $("link").dataset.kind = kind;
  if ($("link-text").textContent !== text) $("link-text").textContent = text;
}

const handlers = {
  hello(payload) {
    retries = 0;
    facts.connected = true;
    handlers.format(payload);
    link("live", "live");
  },
  format(payload) {
    facts.codec = payload.codec;
    if (payload.codec) player?.configure?.(payload.codec, payload.codec_header);
  },
  state: showStatus,
  transition(payload) {
    const way = payload.from ? `${pretty(payload.from)} → ${pretty(payload.to)}` : pretty(payload.to);
    note(way, payload.why);
  },
  event(payload) {
    if (payload.kind === "event") note(pretty(payload.name));
    if (payload.kind === "oneshot") glimpse(payload.layer ?? payload.name, place(payload));
    if (payload.kind === "fault") note("Repaired", payload.name);
  },
  error({ message }) {
    note("Not possible", message);
  },
  draining() {
    link("lost", "server restarts");
  },
};

// ---- playing

async function play() {
  wanted = true;
  phase("waiting");
  player ??= hasWorklet()
    ? new WorkletPlayer(measure)
    : new ElementPlayer(`/listen/${encodeURIComponent(stream)}.mp3`, measure);
  player.setVolume(Number($("volume").value));
  try {
    await player.start();
  } catch (error) {
    if (!(player instanceof WorkletPlayer)) throw error;
    player = new ElementPlayer(`/listen/${encodeURIComponent(stream)}.mp3`, measure);
    await player.start();
  }
  resume = null;
  const codecs = await wantedCodecs();
  if (codecs.length) send("format", { codecs, buffer_ms: BUFFER_MS });
  if ("mediaSession" in navigator) {
    navigator.mediaSession.metadata = new MediaMetadata({ title: pretty(stream), artist: "Ambient" });
    navigator.mediaSession.setActionHandler("play", play);
    navigator.mediaSession.setActionHandler("pause", pause);
  }
}

async function pause() {
  wanted = false;
  phase("idle");
  resume = null;
  await player?.stop();
  send("format", { codecs: [] });
}

function phase(name) {
  facts.state = name;
  document.body.dataset.phase = name;
  const button = $("play");
  button.setAttribute("aria-pressed", String(name !== "idle"));
  button.setAttribute("aria-label", name === "idle" ? "Play" : "Pause");
}

function measure(stats) {
  if (!wanted) return;
  Object.assign(facts, stats);
  if (stats.epoch != null) resume = { epoch: stats.epoch, sample_index: stats.expected };
  phase(stats.playing ? "playing" : "waiting");
  $("buffer").textContent = `${stats.buffered.toFixed(2)} s`;
  $("latency").textContent = `${(stats.buffered + (player.outputLatency || 0) + 0.06).toFixed(2)} s`;
  $("dropouts").textContent = String(stats.underruns);
}

function animate(now) {
  if (facts.state === "playing" && player?.analyser && !document.hidden) spectrogram.draw(player.analyser, now);
  requestAnimationFrame(animate);
}

// ---- what the stream tells

const pretty = (name) => String(name ?? "").replaceAll(/[_.]/g, " ");

function place({ distance_m: distance, azimuth_deg: azimuth }) {
  if (distance == null) return "";
  const side = azimuth == null ? "" : azimuth < -20 ? " to the left" : azimuth > 20 ? " to the right" : " ahead";
  return `${Math.round(distance)} m${side}`;
}

function showStatus(status) {
  facts.scene = status.state;
  const ready = status.playing !== false;
  const blending = status.previous && status.blend < 1;
  const title = pretty(status.state);
  if ($("state").textContent !== title) $("state").textContent = title;
  const shared = sharedPhrases(status.layers ?? []);
  $("note").textContent = !ready
    ? status.model_ready ? "preparing the first sounds" : "loading the model"
    : blending ? `coming from ${pretty(status.previous)}, ${Math.round(100 * status.blend)} %` : shared.join(" · ");
  if (facts.connected) link(ready ? "live" : "wait", ready ? "live" : "preparing");
  showLayers(status.layers ?? [], shared);
  for (const [name, value] of Object.entries(status.params ?? {})) showParam(name, value);
  showPlace(status.state);
  $("ahead").textContent = status.seconds_ahead == null ? "–" : `${status.seconds_ahead.toFixed(0)} s`;
  $("speed").textContent = status.speed == null ? "–" : `${status.speed.toFixed(status.speed < 10 ? 1 : 0)}× real time`;
  $("loudness").textContent = status.loudness_lufs == null ? "–" : `${status.loudness_lufs.toFixed(0).replace("-", "−")} LUFS`;
}

// "0.65 leaves, night + 0.35 breeze, night": texts with their weights, each a list of phrases.
function parts(prompt) {
  return prompt.split(/ \+ (?=\d\.\d\d )/).map((part) => {
    const [, weight, text] = part.match(/^(?:(\d\.\d\d) )?(.*)$/s);
    return { weight: weight && Number(weight), phrases: text.split(", ") };
  });
}

// What all beds end with (place, time of day) is said once, in the title.
function sharedPhrases(layers) {
  const texts = layers.filter((l) => l.kind === "bed").flatMap((l) => parts(l.prompt).map((p) => p.phrases));
  if (texts.length < 2) return [];
  let count = 0;
  while (texts.every((t) => t.length > count + 1 && t.at(-1 - count) === texts[0].at(-1 - count))) count += 1;
  return count ? texts[0].slice(-count) : [];
}

function brief(prompt, shared) {
  const ending = shared.join(", ");
  return parts(prompt)
    .map(({ weight, phrases }) => {
      const common = ending && phrases.slice(-shared.length).join(", ") === ending;
      const text = (common ? phrases.slice(0, -shared.length) : phrases).join(", ");
      return weight ? `${text} ${Math.round(100 * weight)} %` : text;
    })
    .join(" · ");
}

function showLayers(layers, shared) {
  const list = $("layers");
  for (const layer of layers) {
    let row = list.querySelector(`[data-name="${CSS.escape(layer.name)}"]`);
    if (!row) {
      row = document.createElement("li");
      row.dataset.name = layer.name;
      row.innerHTML =
        '<div class="head"><span class="name"></span><span class="prompt"></span><span class="heard"></span></div>' +
        '<div class="meter" role="meter" aria-valuemin="-60" aria-valuemax="0"><i></i></div><p class="why"></p>';
      row.querySelector(".name").textContent = pretty(layer.name);
      row.querySelector(".meter").setAttribute("aria-label", `Level of ${pretty(layer.name)}`);
      list.append(row);
    }
    const level = Math.max(-60, Math.min(0, layer.level_db));
    const quiet = layer.muted || layer.level_db < HUSH_DB;
    row.classList.toggle("quiet", quiet);
    const prompt = row.querySelector(".prompt");
    if (prompt.title !== layer.prompt) prompt.title = layer.prompt;
    set(prompt, brief(layer.prompt, shared));
    set(row.querySelector(".why"), (layer.why ?? []).join(" · "));
    const meter = row.querySelector(".meter");
    meter.firstChild.style.transform = `scaleX(${quiet ? 0 : (level + 60) / 60})`;
    meter.setAttribute("aria-valuenow", level.toFixed(0));
    meter.setAttribute("aria-valuetext", quiet ? "silent" : `${level.toFixed(0)} decibels`);
  }
  for (const row of [...list.children]) if (!layers.some((l) => l.name === row.dataset.name)) row.remove();
}

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
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

function note(what, why = "") {
  const list = $("log");
  list.querySelector(".none")?.remove();
  const row = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString([], { timeStyle: "short" });
  const text = document.createElement("span");
  text.textContent = what;
  row.append(time, text);
  if (why) {
    const reason = document.createElement("em");
    reason.textContent = (Array.isArray(why) ? why.join(" · ") : why).replaceAll("_", " ");
    row.append(reason);
  }
  list.prepend(row);
  while (list.children.length > 8) list.lastChild.remove();
}

// ---- what the listener may do

function buildControls() {
  $("params").replaceChildren(...description.params.map(slider));
  $("params-card").hidden = !description.params.length;
  $("events").replaceChildren(...description.events.map((name) => chip(name, () => send("fire", { event: name }))));
  $("events-card").hidden = !description.events.length;
  $("states").replaceChildren(...description.states.map((name) => chip(name, () => send("state", { state: name }))));
  $("layers").replaceChildren();
}

function chip(name, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = pretty(name);
  button.dataset.name = name;
  button.addEventListener("click", () => {
    act();
    button.classList.remove("done");
    void button.offsetWidth; // so that the animation begins anew
    button.classList.add("done");
  });
  return button;
}

function slider({ name, low, high, source }) {
  const box = document.createElement("div");
  const driven = source && !["manual", "outside", "set"].includes(source);
  box.innerHTML = "<label><span></span><small></small></label><output></output><input type=range>";
  const [input, label] = [box.querySelector("input"), box.querySelector("label")];
  input.id = label.htmlFor = `param-${name}`;
  Object.assign(input, { min: low, max: high, step: (high - low) / 200 || 0.01 });
  input.dataset.name = name;
  label.firstChild.textContent = pretty(name);
  label.lastChild.textContent = driven ? pretty(source) : "";
  let queued = false;
  input.addEventListener("input", () => {
    touched[name] = performance.now();
    paint(input);
    if (queued) return;
    queued = true;
    setTimeout(() => {
      queued = false;
      touched[name] = performance.now();
      send("params", { params: { [name]: Number(input.value) } });
    }, 33);
  });
  return box;
}

function showParam(name, value) {
  const input = $(`param-${name}`);
  if (!input || performance.now() - (touched[name] ?? -1e9) < 1200) return;
  input.value = value;
  paint(input);
}

function paint(input) {
  const part = (input.value - input.min) / (input.max - input.min || 1);
  input.style.setProperty("--part", part);
  const output = input.parentElement.querySelector("output");
  if (output && input.dataset.name) set(output, format(Number(input.value), input.max - input.min));
}

const format = (value, range) => value.toFixed(range >= 20 ? 0 : range >= 3 ? 1 : 2);

let drawn = null;
async function showPlace(state) {
  for (const button of $("states").children) {
    const here = button.dataset.name === state;
    button.classList.toggle("here", here);
    button.setAttribute("aria-current", here ? "true" : "false");
  }
  const key = `${stream}/${state}`;
  if (drawn === key) return;
  drawn = key;
  const response = await fetch(`/diagram/${encodeURIComponent(stream)}.svg?state=${encodeURIComponent(state)}`);
  if (!response.ok || drawn !== key) return;
  const drawing = new DOMParser().parseFromString(await response.text(), "image/svg+xml").documentElement;
  if (drawing.nodeName !== "svg") return;
  drawing.setAttribute("role", "img");
  drawing.setAttribute("aria-label", `States of ${pretty(stream)}; now ${pretty(state)}`);
  $("diagram").replaceChildren(document.importNode(drawing, true));
  $("diagram").hidden = false;
}

// ---- beginning

async function choose(name) {
  const playing = wanted;
  if (playing) await pause();
  player = player instanceof ElementPlayer ? null : player;
  stream = name;
  drawn = null;
  resume = null;
  touched = {};
  const response = await fetch(`/api/v1/streams/${encodeURIComponent(name)}`);
  description = (await response.json()).scene;
  set($("scene"), pretty(name));
  document.title = `${pretty(name)} – Ambient`;
  $("mp3").href = `/listen/${encodeURIComponent(name)}.mp3`;
  $("opus").href = `/listen/${encodeURIComponent(name)}.opus`;
  buildControls();
  const former = socket;
  socket = null;
  former?.close();
  connect();
  if (playing) await play();
}

async function begin() {
  const volume = $("volume");
  volume.value = localStorage.getItem("volume") ?? 0.8;
  paint(volume);
  volume.addEventListener("input", () => {
    paint(volume);
    localStorage.setItem("volume", volume.value);
    player?.setVolume(Number(volume.value));
  });
  $("play").addEventListener("click", () => (wanted ? pause() : play()));
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, button, a") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.code === "Space") {
      event.preventDefault();
      $("play").click();
    } else if (event.key.toLowerCase() === "m") {
      volume.dataset.before = Number(volume.value) ? volume.value : (volume.dataset.before ?? 0.8);
      volume.value = Number(volume.value) ? 0 : volume.dataset.before;
      volume.dispatchEvent(new Event("input"));
    }
  });
  requestAnimationFrame(animate);
  const { streams } = await (await fetch("/api/v1/streams")).json();
  const select = $("streams");
  select.replaceChildren(...streams.map(({ name }) => new Option(pretty(name), name)));
  $("chooser").hidden = streams.length < 2;
  select.addEventListener("change", () => choose(select.value));
  const asked = decodeURIComponent(location.hash.slice(1));
  const first = streams.some((s) => s.name === asked) ? asked : streams[0].name;
  select.value = first;
  await choose(first);
}

begin().catch(() => {
  link("lost", "no server");
  setTimeout(() => location.reload(), 4000);
});
