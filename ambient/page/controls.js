// What the listener may do: sliders, events, free text, states, volume, and the sleep timer.

import { pretty, set } from "./scene.js";

const $ = (id) => document.getElementById(id);
const SEND_EVERY = 33; // milliseconds
const HANDS_OFF = 1200; // milliseconds after which a slider follows the scene again
const FADE = 30; // seconds in which the sleep timer fades
const touched = {}; // when each slider was last moved
let act = null;
let allowed = true;

// Where a sound from free text may come from.
const PLACES = {
  "": {},
  near: { distance_m: 5 },
  away: { distance_m: 40 },
  far: { distance_m: 300 },
  left: { azimuth_deg: -70 },
  right: { azimuth_deg: 70 },
  behind: { azimuth_deg: 180 },
};

export function buildControls(scene, actions) {
  act = actions;
  for (const name of Object.keys(touched)) delete touched[name];
  $("params").replaceChildren(...scene.params.map(slider));
  $("params-card").hidden = !scene.params.length;
  $("events").replaceChildren(...scene.events.map((name) => chip(name, () => act.fire(name))));
  $("states").replaceChildren(...scene.states.map((name) => chip(name, () => act.go(name))));
  allowSteering(allowed);
}

// Whoever has no token for control only watches.
export function allowSteering(yes) {
  allowed = yes;
  for (const control of document.querySelectorAll("#params input, #params button, .chips button, #ask > *")) control.disabled = !yes;
  $("listens-only").hidden = yes;
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("ask-text").value.trim();
  if (!text) return;
  const sent = act?.ask(text, PLACES[$("ask-place").value]);
  set($("ask-answer"), sent ? `“${text}” is being made …` : "There is no connection just now.");
  if (sent) $("ask-text").value = "";
});

function chip(name, press) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = pretty(name);
  button.dataset.name = name;
  button.addEventListener("click", () => {
    press();
    button.classList.remove("done");
    void button.offsetWidth; // so that the animation begins anew
    button.classList.add("done");
  });
  return button;
}

function slider({ name, low, high, source }) {
  const box = document.createElement("div");
  const driven = source && !["manual", "outside", "set"].includes(source);
  box.innerHTML = "<label></label> <small></small><button type=button hidden>let go</button><output></output><input type=range>";
  const [input, label, output, from, back] = ["input", "label", "output", "small", "button"].map((kind) =>
    box.querySelector(kind),
  );
  input.id = label.htmlFor = `param-${name}`;
  from.id = `from-${name}`;
  if (driven) input.setAttribute("aria-describedby", from.id);
  output.setAttribute("for", input.id);
  output.setAttribute("aria-live", "off"); // it moves by itself
  Object.assign(input, { min: low, max: high, step: (high - low) / 200 || 0.01 });
  input.dataset.name = name;
  label.textContent = pretty(name);
  from.textContent = driven ? pretty(source) : "";
  back.title = `Give ${pretty(name)} back to the scene`;
  back.setAttribute("aria-label", back.title);
  back.addEventListener("click", () => {
    delete touched[name];
    act.set({ [name]: null });
    input.focus(); // the button goes
  });
  let queued = false;
  input.addEventListener("input", () => {
    touched[name] = performance.now();
    paint(input);
    if (queued) return;
    queued = true;
    setTimeout(() => {
      queued = false;
      touched[name] = performance.now();
      act.set({ [name]: Number(input.value) });
    }, SEND_EVERY);
  });
  return box;
}

export function showParams(params, held) {
  for (const [name, value] of Object.entries(params)) {
    const input = $(`param-${name}`);
    if (input) input.parentElement.querySelector("button").hidden = !held.includes(name);
    if (!input || performance.now() - (touched[name] ?? -1e9) < HANDS_OFF) continue;
    input.value = value;
    paint(input);
  }
}

function paint(input) {
  const part = (input.value - input.min) / (input.max - input.min || 1);
  input.style.setProperty("--part", part);
  const output = input.parentElement.querySelector("output");
  if (!output || !input.dataset.name) return;
  const told = format(Number(input.value), input.max - input.min);
  set(output, told);
  input.setAttribute("aria-valuetext", told);
}

const format = (value, range) => value.toFixed(range >= 20 ? 0 : range >= 3 ? 1 : 2).replace("-", "−");

export function buildVolume(input, change) {
  input.value = localStorage.getItem("volume") ?? 0.8;
  paint(input);
  input.addEventListener("input", () => {
    paint(input);
    localStorage.setItem("volume", input.value);
    change(Number(input.value));
  });
}

// Fades out and pauses after a while. The wall clock counts, which goes on where timers are slowed down.
export class SleepTimer {
  constructor(select, left, { fade, wake, end }) {
    Object.assign(this, { select, left, fade, wake, end });
    select.addEventListener("change", () => this.set(Number(select.value)));
  }

  set(minutes) {
    if (this.fading) this.wake();
    clearInterval(this.ticking);
    this.fading = false;
    this.until = Date.now() + minutes * 60_000;
    this.ticking = minutes ? setInterval(() => this.tick(), 1000) : null;
    if (minutes) this.tick();
    else set(this.left, "");
  }

  cancel() {
    this.select.value = "0";
    this.set(0);
  }

  tick() {
    const seconds = (this.until - Date.now()) / 1000;
    if (seconds <= 0) return this.end();
    set(this.left, seconds < 60 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`);
    if (seconds > FADE || this.fading) return;
    this.fading = true;
    this.fade(seconds);
  }
}
