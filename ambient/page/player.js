// Sound in the browser: frames of the stream go in, through a decoder where one is needed, to the jitter buffer.

const RATE = 48000;
const HEADER = 24;
const CODECS = ["s16le", "f32le", "opus", "flac"];
const FADE = 0.12; // seconds

// Worklets and WebCodecs exist in secure contexts only (localhost is one): elsewhere an <audio> element must do.
export const hasWorklet = () => window.isSecureContext && "AudioWorkletNode" in window;

export function parseFrame(data) {
  const view = new DataView(data);
  if (data.byteLength < HEADER || view.getUint8(0) !== 1 || view.getUint8(1) !== 0) return null;
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

// Opus by WebCodecs glitches outside Chromium; and on this very machine the bytes of PCM cost nothing.
export async function chooseCodecs() {
  const asked = new URLSearchParams(location.search).get("codec");
  if (asked) return [asked, "s16le"];
  const near = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  const chromium = navigator.userAgentData?.brands.some((b) => b.brand === "Chromium");
  if (near || !chromium || !("AudioDecoder" in window)) return ["s16le"];
  const config = { codec: "opus", sampleRate: RATE, numberOfChannels: 2 };
  const { supported } = await AudioDecoder.isConfigSupported(config).catch(() => ({}));
  return supported ? ["opus", "s16le"] : ["s16le"];
}

export class WorkletPlayer {
  constructor(onStats) {
    this.onStats = onStats;
    this.volume = 0.8;
    this.decoder = null;
    this.base = null;
  }

  async start() {
    if (!this.context) {
      this.context = new AudioContext({ sampleRate: RATE, latencyHint: "playback" });
      await this.context.audioWorklet.addModule("worklet.js");
      this.node = new AudioWorkletNode(this.context, "ambient-player", {
        numberOfInputs: 0,
        outputChannelCount: [2],
      });
      this.node.port.onmessage = ({ data }) => this.onStats(data);
      this.analyser = new AnalyserNode(this.context, { fftSize: 4096, smoothingTimeConstant: 0 });
      this.fader = new GainNode(this.context, { gain: 0 });
      this.node.connect(this.analyser);
      this.node.connect(this.fader).connect(this.context.destination);
      // A phone call or an alarm interrupts; the next sign of life goes on.
      this.context.onstatechange = () => this.wanted && this.context.state === "interrupted" && this.wake();
      document.addEventListener("visibilitychange", () => this.wanted && this.wake());
    }
    this.wanted = true;
    this.node.port.postMessage({ reset: true });
    await this.context.resume();
    this.setVolume(this.volume);
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

  setVolume(volume) {
    this.volume = volume;
    // Loudness follows the square of the slider: even steps for the ear.
    if (this.context && this.wanted) this.fader.gain.setTargetAtTime(volume ** 2, this.context.currentTime, 0.04);
  }

  get outputLatency() {
    return this.context ? (this.context.outputLatency || 0) + (this.context.baseLatency || 0) : 0;
  }

  configure(codec, header) {
    this.decoder?.close();
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
    this.send(left, right, frame.index, frame.epoch);
  }

  decoded(data) {
    const planes = [0, 1].map((planeIndex) => {
      const plane = new Float32Array(data.numberOfFrames);
      data.copyTo(plane, { planeIndex: Math.min(planeIndex, data.numberOfChannels - 1), format: "f32-planar" });
      return plane;
    });
    const index = this.base + Math.round((data.timestamp * RATE) / 1e6);
    data.close();
    this.send(planes[0], planes[1], index, this.epoch);
  }

  send(left, right, index, epoch) {
    this.node.port.postMessage({ audio: { left, right, index, epoch } }, [left.buffer, right.buffer]);
  }
}

// An <audio> element with the HTTP stream: for plain http on a network address, and for phones that sleep.
export class ElementPlayer {
  constructor(url, onStats) {
    this.url = url;
    this.onStats = onStats;
    this.element = new Audio();
    this.element.preload = "none";
    this.analyser = null;
    this.outputLatency = 0;
    for (const kind of ["ended", "error", "stalled"]) {
      this.element.addEventListener(kind, () => this.wanted && setTimeout(() => this.wanted && this.load(), 2000));
    }
    setInterval(() => this.wanted && this.report(), 250);
  }

  async start() {
    this.wanted = true;
    await this.load();
  }

  load() {
    this.element.src = `${this.url}?${Date.now()}`;
    return this.element.play().catch(() => {});
  }

  async stop() {
    this.wanted = false;
    this.element.pause();
    this.element.removeAttribute("src");
    this.element.load();
  }

  setVolume(volume) {
    this.element.volume = volume ** 2;
  }

  configure() {}

  push() {}

  report() {
    const { buffered, currentTime, paused, readyState } = this.element;
    const end = buffered.length ? buffered.end(buffered.length - 1) : currentTime;
    this.onStats({
      framesPlayed: Math.round(currentTime * RATE),
      underruns: 0,
      gaps: 0,
      playing: !paused && readyState > 2,
      buffered: end - currentTime,
      rms: null,
    });
  }
}
