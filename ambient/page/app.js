// The listening page: chooses a stream, plays it, and hands what it tells to scene.js and what is done to controls.js.

import { Player, Stream } from "./ambient.js";
import { SleepTimer, allowSteering, buildControls, buildVolume, showParams } from "./controls.js";
import { happened, pretty, set, showDescription, showStatus } from "./scene.js";
import { Spectrogram } from "./spectrogram.js";

const PATIENCE = 5000; // milliseconds
const $ = (id) => document.getElementById(id);

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

let name = null;
let stream = null;
let player = null;
let wanted = false; // whether the listener wants to hear
let stuck = false; // whether the browser does not begin, as it does without a sound device
const spectrogram = new Spectrogram($("spectrogram"));
const sleep = new SleepTimer($("sleep"), $("sleep-left"), {
  fade: (seconds) => player?.fade(seconds),
  wake: () => player && (player.volume = Number($("volume").value)),
  end: () => pause(),
});

// ---- connection

function connect() {
  const mine = new Stream(`/ws/v1/${encodeURIComponent(name)}`, { role: "controller", clientId: "page" });
  stream = mine;
  const codec = new URLSearchParams(location.search).get("codec");
  player = new Player(mine, { codec, onStats: (stats) => mine === stream && measure(stats) });
  player.volume = Number($("volume").value);
  mine
    .on("hello", ({ codec, role }) => {
      Object.assign(facts, { connected: true, codec });
      allowSteering(role !== "listener");
      link("live", "live");
    })
    .on("format", ({ codec }) => (facts.codec = codec))
    .on("lost", ({ code, reason }) => {
      Object.assign(facts, { connected: false, reconnects: mine.reconnects });
      link("lost", code >= 4400 && code < 4408 ? reason : "reconnecting");
    })
    .on("draining", () => link("lost", "server restarts"))
    .on("status", (status) => {
      facts.scene = status.state;
      const ready = status.playing !== false;
      if (mine.connected && stuck) link("wait", "the browser gives no sound");
      else if (mine.connected) link(ready ? "live" : "wait", ready ? "live" : "preparing");
      showStatus(name, status);
      showParams(status.params ?? {}, status.held ?? []);
    })
    .on("transition", (change) => happened("transition", change))
    .on("event", (event) => {
      happened("event", event);
      if (event.kind === "reload") describe();
    })
    .on("error", (error) => happened("error", error));
}

function link(kind, text) {
  $("link").dataset.kind = kind;
  set($("link-text"), text);
}

async function describe() {
  const response = await fetch(`/api/v1/streams/${encodeURIComponent(name)}`);
  const { scene } = await response.json();
  showDescription(scene);
  buildControls(scene, {
    set: (params) => stream.set(params),
    fire: (event) => stream.fire(event),
    ask: (text, where) => stream.ask(text, where),
    go: (state) => stream.go(state),
  });
}

// ---- playing

async function play() {
  wanted = true;
  phase("waiting");
  if (!player) return; // the scene is still being chosen, and plays then
  const patience = setTimeout(() => (stuck = wanted), PATIENCE);
  await player.start();
  clearTimeout(patience);
  stuck = false;
  if ("mediaSession" in navigator) {
    navigator.mediaSession.metadata = new MediaMetadata({ title: pretty(name), artist: "Ambient" });
    navigator.mediaSession.setActionHandler("play", play);
    navigator.mediaSession.setActionHandler("pause", pause);
  }
}

async function pause() {
  wanted = stuck = false;
  sleep.cancel();
  phase("idle");
  await player?.stop();
}

function phase(now) {
  facts.state = now;
  document.body.dataset.phase = now;
  const button = $("play");
  button.setAttribute("aria-pressed", String(now !== "idle"));
  button.setAttribute("aria-label", now === "idle" ? "Play" : "Pause");
}

function measure(stats) {
  if (!wanted) return;
  Object.assign(facts, stats);
  phase(stats.playing ? "playing" : "waiting");
  set($("buffer"), `${stats.buffered.toFixed(2)} s`);
  set($("latency"), `${player.latency.toFixed(2)} s`);
  set($("dropouts"), String(stats.underruns));
}

function animate(now) {
  if (facts.state === "playing" && player?.analyser && !document.hidden) spectrogram.draw(player.analyser, now);
  requestAnimationFrame(animate);
}

// ---- beginning

async function choose(chosen) {
  const playing = wanted;
  if (playing) await pause();
  stream?.close();
  player = null;
  name = chosen;
  set($("scene"), pretty(name));
  document.title = `${pretty(name)} – Ambient`;
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  for (const format of ["mp3", "opus"]) $(format).href = `/listen/${encodeURIComponent(name)}.${format}`;
  await describe();
  connect();
  if (playing || wanted) await play();
}

function buildKeys(volume) {
  $("play").addEventListener("click", () => (wanted ? pause() : play()));
  document.addEventListener("keydown", (event) => {
    const elsewhere = event.target.closest("input, select, button, a, summary");
    if (elsewhere || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.code === "Space") {
      event.preventDefault();
      $("play").click();
    } else if (event.key.toLowerCase() === "m") {
      volume.dataset.before = Number(volume.value) ? volume.value : (volume.dataset.before ?? 0.8);
      volume.value = Number(volume.value) ? 0 : volume.dataset.before;
      volume.dispatchEvent(new Event("input"));
    }
  });
}

async function begin() {
  const volume = $("volume");
  buildVolume(volume, (value) => player && (player.volume = value));
  buildKeys(volume);
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
