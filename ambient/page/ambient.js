// Ambient's client for browsers: one ES module, without a build and without dependencies.
//
//   import { Stream, Player } from "./ambient.js";
//   const stream = new Stream("ws://localhost:8765/ws/v1/forest", { role: "controller" });
//   const player = new Player(stream);
//   button.onclick = () => player.start();           // browsers want a gesture before there is sound
//   stream.on("event", ({ name, heard_at_sample }) => setTimeout(flash, 1000 * player.secondsUntil(heard_at_sample)));
//   stream.set({ wind: 0.9 });
//
// The listening page is made with it. The end of the file is the jitter buffer, which the browser loads a second time,
// on its audio thread.

const RATE = 48000;
const HLS_TYPE = "application/vnd.apple.mpegurl";
const HEADER = 24;
const CODECS = ["s16le", "f32le", "opus", "flac"];
const FADE = 0.12; // seconds
const LONGEST_PAUSE = 8;
const STEADY = 5; // seconds after which a connection was worth while

// A frame of sound, or null for what is none of this version.
export function parseFrame(data) {
  if (data.byteLength < HEADER) return null;
  const view = new DataView(data);
  if (view.getUint8(0) !== 1 || view.getUint8(1) !== 0) return null;
  return {
    codec: CODECS[view.getUint8(2)],
    flags: view.getUint8(3),
    seq: view.getUint32(4, true),
    index: Number(view.getBigUint64(8, true)),
    frames: view.getUint32(16, true),
    epoch: view.getUint32(20, true),
    payload: new Uint8Array(data, HEADER),
  };
}

// One connection to one stream, made anew whenever it breaks, from the very sample where it stopped.
//
// Events: hello, lost (why), status, transition, event, scene, error, draining, and frame for every frame of sound.
export class Stream {
  constructor(url, { role = "listener", clientId = "ambient-js", bufferMs = 700, ticket = null } = {}) {
    const address = new URL(url, globalThis.location?.href);
    address.protocol = address.protocol.replace("http", "ws");
    Object.assign(this, { url: address, role, clientId, bufferMs, ticket });
    this.codecs = [];
    this.socket = null;
    this.connected = false;
    this.reconnects = 0;
    this.handlers = {};
    this.attempt = 0;
    this.notBefore = 0;
    this.heard = null; // {epoch, sample_index}: what is wanted next
    this.wanted = true;
    this.connect();
  }

  // Calls back with what the message holds. Returns the stream.
  on(kind, act) {
    (this.handlers[kind] ??= []).push(act);
    return this;
  }

  // Steering, for role controller. False while there is no connection.
  set(params) {
    return this.send("params", { params });
  }

  fire(event) {
    return this.send("fire", { event });
  }

  // A single sound from free text, such as "thunder echoing in a canyon"; where: distance_m, azimuth_deg.
  ask(text, where = {}) {
    return this.send("fire", { text, ...where });
  }

  go(state, seconds = null) {
    return this.send("state", { state, ...(seconds != null && { over_seconds: seconds }) });
  }

  // Codecs in order of preference; none: no sound.
  hear(codecs) {
    this.codecs = codecs;
    this.heard = null;
    return this.send("format", { codecs, buffer_ms: this.bufferMs });
  }

  close() {
    this.wanted = false;
    clearTimeout(this.retry);
    this.socket?.close();
  }

  send(type, payload) {
    if (this.socket?.readyState !== 1 || !this.greeted) return false;
    this.socket.send(JSON.stringify({ type, payload }));
    return true;
  }

  async connect() {
    const url = new URL(this.url);
    try {
      if (this.ticket) url.searchParams.set("ticket", await this.ticket());
    } catch (error) {
      return this.lost(1006, String(error));
    }
    if (!this.wanted) return;
    const socket = new WebSocket(url, "soundscape.v1");
    this.socket = socket;
    this.greeted = false;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.openedAt = performance.now();
      this.greeted = true;
      this.send("hello", {
        protocol: 1,
        client_id: this.clientId,
        role: this.role,
        codecs: this.codecs,
        rates: [RATE],
        channels: 2,
        buffer_ms: this.bufferMs,
        ...(this.heard && { resume: this.heard }),
      });
    };
    socket.onmessage = ({ data }) => {
      if (socket !== this.socket) return;
      if (typeof data === "string") this.take(JSON.parse(data));
      else this.takeSound(data);
    };
    socket.onclose = ({ code, reason }) => socket === this.socket && this.lost(code, reason);
  }

  take({ type, payload }) {
    if (type === "hello") this.connected = true;
    if (type === "draining") this.notBefore = payload.retry_after_ms / 1000;
    this.emit(type === "state" ? "status" : type, payload);
  }

  takeSound(data) {
    const frame = parseFrame(data);
    if (!frame || !this.codecs.length) return;
    const end = frame.index + frame.frames;
    if (this.heard?.epoch === frame.epoch && end <= this.heard.sample_index) return;
    this.heard = { epoch: frame.epoch, sample_index: end };
    this.emit("frame", frame);
  }

  lost(code, reason) {
    if (this.openedAt && performance.now() - this.openedAt > STEADY * 1000) this.attempt = 0;
    this.connected = false;
    this.openedAt = null;
    if (!this.wanted) return;
    this.reconnects += 1;
    this.emit("lost", { code, reason });
    // The more often it failed the longer, and never all listeners at once.
    const pause = Math.min(LONGEST_PAUSE, 0.4 * 1.7 ** this.attempt++) * (0.6 + 0.8 * Math.random());
    this.retry = setTimeout(() => this.connect(), 1000 * Math.max(pause, this.notBefore * (1 + 0.5 * Math.random())));
    this.notBefore = 0;
  }

  emit(kind, detail) {
    for (const act of this.handlers[kind] ?? []) act(detail);
  }
}

// Plays a stream. Worklets and WebCodecs exist in secure contexts only (localhost is one): elsewhere an <audio>
// element plays the stream over HTTP.
//
// `codec` forces one; `fallback` is the HTTP stream's address (by default from the WebSocket's); `onStats` is called
// several times a second with framesPlayed, underruns, gaps, playing, buffered (seconds), rms …
export class Player {
  constructor(stream, { codec = null, fallback = null, onStats = () => {} } = {}) {
    this.stream = stream;
    this.codec = codec;
    this.onStats = (stats) => {
      this.stats = { ...stats, at: performance.now() };
      onStats(stats);
    };
    this.fallback = fallback ?? httpStream(stream.url, "mp3");
    this.loudness = 0.8;
    this.engine = null;
    this.stats = null;
    stream.on("hello", (hello) => this.configure(hello));
    stream.on("format", (format) => this.configure(format));
    stream.on("frame", (frame) => this.engine?.push(frame));
  }

  // Call it from a click or a key.
  async start() {
    this.engine ??= new (hasWorklet() ? Worklet : Element)(this);
    try {
      await this.engine.start();
    } catch (error) {
      if (this.engine instanceof Element) throw error;
      this.engine = new Element(this);
      await this.engine.start();
    }
    if (this.engine instanceof Worklet) this.stream.hear(await chooseCodecs(this.codec));
  }

  async stop() {
    this.stream.hear([]);
    await this.engine?.stop();
  }

  get volume() {
    return this.loudness;
  }

  // 0 to 1, in even steps for the ear.
  set volume(volume) {
    this.loudness = volume;
    this.engine?.setGain(volume ** 2, 0.04);
  }

  // Fades to silence, over seconds; a new volume brings the sound back.
  fade(seconds) {
    this.engine?.setGain(0, seconds / 4);
  }

  // An AnalyserNode, or null where an <audio> element plays.
  get analyser() {
    return this.engine?.analyser ?? null;
  }

  // From a sample's arrival at the server to its sound here.
  get latency() {
    return (this.stats?.buffered ?? 0) + (this.engine?.outputLatency ?? 0) + 0.06;
  }

  // Until that sample of the stream is heard here; negative once it was; null where that is not known.
  secondsUntil(sample) {
    if (this.stats?.expected == null) return null;
    const since = (performance.now() - this.stats.at) / 1000;
    return (sample - this.stats.expected) / RATE + this.stats.buffered + (this.engine?.outputLatency ?? 0) - since;
  }

  configure({ codec, codec_header: header }) {
    if (codec) this.engine?.configure(codec, header);
  }
}

export const hasWorklet = () => window.isSecureContext && "AudioWorkletNode" in window;

function httpStream(url, format) {
  const address = new URL(url);
  address.protocol = address.protocol.replace("ws", "http");
  address.pathname = address.pathname.replace("/ws/v1/", "/listen/") + `.${format}`;
  return address;
}

function segments(url) {
  const address = httpStream(url, "m3u8");
  address.pathname = address.pathname.replace(/\/listen\/(.*)\.m3u8$/, "/hls/$1/live.m3u8");
  return address;
}

// Opus by WebCodecs glitches outside Chromium; and on this very machine the bytes of PCM cost nothing.
async function chooseCodecs(asked) {
  if (asked) return [asked, "s16le"];
  const near = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  const chromium = navigator.userAgentData?.brands.some((b) => b.brand === "Chromium");
  if (near || !chromium || !("AudioDecoder" in window)) return ["s16le"];
  const config = { codec: "opus", sampleRate: RATE, numberOfChannels: 2 };
  const { supported } = await AudioDecoder.isConfigSupported(config).catch(() => ({}));
  return supported ? ["opus", "s16le"] : ["s16le"];
}

class Worklet {
  constructor(player) {
    this.player = player;
    this.decoder = null;
    this.base = null;
    // Firefox is not asked: with PulseAudio it may wait for the answer for ever, and the page with it. It said 43 ms.
    this.asks = !navigator.userAgent.includes("Firefox/");
    this.outputLatency = this.asks ? 0 : 0.043;
    this.measured = 0;
  }

  async start() {
    if (!this.context) {
      const context = new AudioContext({ sampleRate: RATE, latencyHint: "playback" });
      await context.audioWorklet.addModule(import.meta.url);
      this.node = new AudioWorkletNode(context, "ambient-player", { numberOfInputs: 0, outputChannelCount: [2] });
      this.node.port.onmessage = ({ data }) => {
        this.measure();
        this.player.onStats(data);
      };
      this.analyser = new AnalyserNode(context, { fftSize: 4096, smoothingTimeConstant: 0 });
      this.fader = new GainNode(context, { gain: 0 });
      this.node.connect(this.analyser);
      this.node.connect(this.fader).connect(context.destination);
      // A phone call or an alarm interrupts; the next sign of life goes on.
      context.onstatechange = () => this.wanted && context.state === "interrupted" && this.wake();
      document.addEventListener("visibilitychange", () => this.wanted && this.wake());
      context.addEventListener("statechange", () => (this.measured = performance.now()));
      this.context = context;
    }
    this.wanted = true;
    this.node.port.postMessage({ reset: true });
    await this.context.resume();
    this.setGain(this.player.volume ** 2, 0.04);
  }

  wake() {
    if (this.context.state !== "running") this.context.resume().catch(() => {});
  }

  async stop() {
    this.wanted = false;
    if (!this.context) return;
    this.fader.gain.setTargetAtTime(0, this.context.currentTime, FADE / 4);
    await new Promise((done) => setTimeout(done, FADE * 1000));
    if (this.wanted) return;
    await this.context.suspend();
    this.node.port.postMessage({ reset: true });
  }

  setGain(gain, timeConstant) {
    if (!this.context || !this.wanted) return;
    this.fader.gain.cancelScheduledValues(this.context.currentTime);
    this.fader.gain.setTargetAtTime(gain, this.context.currentTime, timeConstant);
  }

  // Seldom, and not while the sound card starts.
  measure() {
    const now = performance.now();
    if (!this.asks || this.context?.state !== "running" || now - this.measured < 2000) return;
    this.measured = now;
    this.outputLatency = (this.context.outputLatency || 0) + (this.context.baseLatency || 0);
  }

  configure(codec, header) {
    if (this.decoder?.state === "configured") this.decoder.close();
    this.decoder = null;
    this.base = null;
    if (codec !== "opus") return;
    this.decoder = new AudioDecoder({
      output: (data) => this.decoded(data),
      error: () => this.configure(codec, header),
    });
    const description = Uint8Array.from(atob(header), (c) => c.charCodeAt(0));
    this.decoder.configure({ codec: "opus", sampleRate: RATE, numberOfChannels: 2, description });
  }

  push(frame) {
    if (!this.wanted) return;
    if (frame.codec === "opus") {
      if (!this.decoder) return;
      this.base ??= frame.index;
      this.epoch = frame.epoch;
      const timestamp = ((frame.index - this.base) / RATE) * 1e6;
      this.decoder.decode(new EncodedAudioChunk({ type: "key", timestamp, data: frame.payload }));
      return;
    }
    const left = new Float32Array(frame.frames);
    const right = new Float32Array(frame.frames);
    const { buffer, byteOffset, byteLength } = frame.payload;
    const samples =
      frame.codec === "s16le"
        ? new Int16Array(buffer, byteOffset, byteLength / 2)
        : new Float32Array(buffer, byteOffset, byteLength / 4);
    const scale = frame.codec === "s16le" ? 1 / 32767 : 1;
    for (let i = 0; i < frame.frames; i++) {
      left[i] = samples[2 * i] * scale;
      right[i] = samples[2 * i + 1] * scale;
    }
    this.pass(left, right, frame.index, frame.epoch);
  }

  decoded(data) {
    const planes = [0, 1].map((planeIndex) => {
      const plane = new Float32Array(data.numberOfFrames);
      data.copyTo(plane, { planeIndex: Math.min(planeIndex, data.numberOfChannels - 1), format: "f32-planar" });
      return plane;
    });
    const index = this.base + Math.round((data.timestamp * RATE) / 1e6);
    data.close();
    this.pass(planes[0], planes[1], index, this.epoch);
  }

  pass(left, right, index, epoch) {
    this.node.port.postMessage({ audio: { left, right, index, epoch } }, [left.buffer, right.buffer]);
  }
}

// For plain http on a network address, and for phones that sleep. Where a stream without an end does not come through,
// as behind some proxies, it is fetched in segments, if the browser knows HLS.
class Element {
  constructor(player) {
    this.player = player;
    this.element = new Audio();
    this.sources = [player.fallback];
    if (this.element.canPlayType(HLS_TYPE)) this.sources.push(segments(player.stream.url));
    this.element.addEventListener("error", () => this.wanted && this.sources.push(this.sources.shift()));
    this.element.preload = "none";
    this.analyser = null;
    this.outputLatency = 0;
    for (const kind of ["ended", "error", "stalled"]) {
      this.element.addEventListener(kind, () => this.wanted && setTimeout(() => this.wanted && this.load(), 2000));
    }
  }

  async start() {
    this.wanted = true;
    this.setGain(this.player.volume ** 2, 0);
    this.reporting ??= setInterval(() => this.report(), 250);
    await this.load();
  }

  load() {
    this.element.src = `${this.sources[0]}?${Date.now()}`;
    return this.element.play().catch(() => {});
  }

  async stop() {
    this.wanted = false;
    clearInterval(this.reporting);
    this.reporting = null;
    this.element.pause();
    this.element.removeAttribute("src");
    this.element.load();
  }

  setGain(gain, timeConstant) {
    clearInterval(this.fading);
    if (timeConstant < 0.1) {
      this.element.volume = gain;
      return;
    }
    this.fading = setInterval(() => {
      this.element.volume += (gain - this.element.volume) * Math.min(1, 0.1 / timeConstant);
    }, 100);
  }

  configure() {}

  push() {}

  report() {
    const { buffered, currentTime, paused, readyState } = this.element;
    const end = buffered.length ? buffered.end(buffered.length - 1) : currentTime;
    this.player.onStats({
      framesPlayed: Math.round(currentTime * RATE),
      underruns: 0,
      gaps: 0,
      playing: !paused && readyState > 2,
      buffered: end - currentTime,
      rms: null,
    });
  }
}

// ---- on the audio thread

// The jitter buffer. It waits until enough sound is there, follows the server's clock by playing a trifle faster or
// slower, fades where sound is missing, and waits for more after every dropout.
function registerJitterBuffer() {
  const CAPACITY = 1 << 19; // 10.9 s
  const MASK = CAPACITY - 1;
  const EDGE = 480; // frames of a fade: 10 ms
  const FIRST_TARGET = 0.35; // seconds that must be there before playing
  const LARGEST_TARGET = 4;
  const EXCESS = 3; // seconds too many that are skipped
  const DEADBAND = 0.03; // seconds of drift that are let be
  const FASTEST = 0.002; // 3.5 cents
  const SMOOTHING = 4; // seconds

  class JitterBuffer extends AudioWorkletProcessor {
    constructor() {
      super();
      this.left = new Float32Array(CAPACITY);
      this.right = new Float32Array(CAPACITY);
      this.target = FIRST_TARGET * sampleRate;
      this.framesPlayed = 0;
      this.underruns = 0;
      this.gaps = 0;
      this.skips = 0;
      this.missing = 0;
      this.power = 0;
      this.ticks = 0;
      this.reset();
      this.port.onmessage = ({ data }) => (data.audio ? this.take(data.audio) : this.reset());
    }

    reset() {
      this.written = 0;
      this.at = 0;
      this.step = 1;
      this.quiet = 0; // frames since sound last came in
      this.dry = false; // it ran out, and nothing has come yet
      this.playing = false;
      this.skipping = false;
      this.gain = 0;
      this.expected = null;
      this.epoch = null;
      this.average = 0;
      this.goal = null; // the fill that playing settled on, which is kept
      this.began = 0;
    }

    get fill() {
      return this.written - this.at;
    }

    take({ left, right, index, epoch }) {
      if (this.dry) {
        // the next pause as long as this one shall not be heard
        const enough = 1.1 * this.quiet + 0.1 * sampleRate;
        this.target = Math.min(LARGEST_TARGET * sampleRate, Math.max(this.target, enough));
        this.dry = false;
      }
      this.quiet = 0;
      let from = 0;
      let splice = false;
      if (this.epoch !== null && epoch !== this.epoch) {
        this.gaps += 1;
        splice = true;
      } else if (this.expected !== null && index > this.expected) {
        this.gaps += 1;
        this.missing += index - this.expected;
        splice = true;
      } else if (this.expected !== null && index < this.expected) {
        from = this.expected - index; // heard before: the connection was made anew
      }
      this.epoch = epoch;
      if (from >= left.length) return;
      this.expected = index + left.length;
      if (this.fill + left.length > CAPACITY - EDGE) return; // a clock that stands still: nothing is played anyway
      if (splice) this.fadeOutTail();
      for (let i = from; i < left.length; i++) {
        const gain = splice ? Math.min(1, (i - from + 1) / EDGE) : 1;
        this.left[this.written & MASK] = left[i] * gain;
        this.right[this.written & MASK] = right[i] * gain;
        this.written += 1;
      }
    }

    fadeOutTail() {
      const length = Math.min(EDGE, Math.floor(this.fill) - 8);
      for (let i = 0; i < length; i++) {
        const place = (this.written - 1 - i) & MASK;
        this.left[place] *= i / length;
        this.right[place] *= i / length;
      }
    }

    process(_inputs, [[left, right]]) {
      const need = left.length + 4;
      this.quiet += left.length;
      if (!this.playing && this.fill >= Math.max(this.target, EDGE + 2 * need)) {
        this.playing = true;
        this.at = Math.floor(this.at);
        this.step = 1;
        if (this.fill > this.target + sampleRate) this.at = this.written - Math.floor(this.target);
        this.average = this.fill;
        this.goal = null;
        this.began = this.framesPlayed;
      }
      let power = 0;
      if (this.playing) {
        this.follow();
        // At least one fade's worth of sound is always held back, so that a dropout fades with real sound.
        const scarce = this.fill < EDGE + 2 * need;
        const goal = scarce || this.skipping ? 0 : 1;
        for (let i = 0; i < left.length; i++) {
          this.gain += Math.max(-1 / EDGE, Math.min(1 / EDGE, goal - this.gain));
          const shape = this.gain * this.gain * (3 - 2 * this.gain);
          left[i] = this.read(this.left) * shape;
          right[i] = this.read(this.right) * shape;
          power += left[i] * left[i] + right[i] * right[i];
          this.at += this.step;
        }
        this.framesPlayed += left.length;
        if (goal === 0 && this.gain <= 1e-6) this.gain = 0;
        if (this.gain === 0 && this.skipping) {
          this.at = this.written - Math.floor(this.target);
          this.average = this.target;
          this.goal = this.target;
          this.skipping = false;
          this.skips += 1;
        } else if (this.gain === 0 && scarce) {
          this.playing = false;
          this.underruns += 1;
          this.dry = true;
          this.target = Math.min(LARGEST_TARGET * sampleRate, this.target * 1.5);
        }
      }
      this.power += 0.05 * (power / (2 * left.length) - this.power);
      if (++this.ticks % 36 === 0) this.report(); // ten times a second
      return true;
    }

    follow() {
      this.average += (this.fill - this.average) * (128 / (SMOOTHING * sampleRate));
      if (this.goal === null) {
        if (this.framesPlayed - this.began < 2 * SMOOTHING * sampleRate) return;
        this.goal = Math.max(this.target, this.average);
      }
      const error = (this.average - this.goal) / sampleRate;
      if (error > EXCESS) {
        this.skipping = true;
      } else if (Math.abs(error) > DEADBAND) {
        this.step = 1 + Math.max(-FASTEST, Math.min(FASTEST, error * 0.01));
      } else if (this.step !== 1 && Math.abs(this.at - Math.round(this.at)) < 0.01) {
        this.at = Math.round(this.at); // between samples sound loses its brightness: stop on one
        this.step = 1;
      }
    }

    read(channel) {
      const whole = Math.floor(this.at);
      const t = this.at - whole;
      const b = channel[whole & MASK];
      if (t === 0) return b;
      const a = channel[(whole - 1) & MASK];
      const c = channel[(whole + 1) & MASK];
      const d = channel[(whole + 2) & MASK];
      return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))); // Catmull-Rom
    }

    report() {
      this.port.postMessage({
        framesPlayed: this.framesPlayed,
        underruns: this.underruns,
        gaps: this.gaps,
        missing: this.missing,
        skips: this.skips,
        playing: this.playing,
        buffered: this.fill / sampleRate,
        target: this.target / sampleRate,
        step: this.step,
        rms: Math.sqrt(this.power),
        expected: this.expected,
        epoch: this.epoch,
      });
    }
  }

  registerProcessor("ambient-player", JitterBuffer);
}

if ("AudioWorkletProcessor" in globalThis) registerJitterBuffer();
