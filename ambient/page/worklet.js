// The jitter buffer, on the audio thread. It waits until enough sound is there, follows the server's clock by
// playing a trifle faster or slower, fades where sound is missing, and waits for more after every dropout.

const CAPACITY = 1 << 19; // 10.9 s
const MASK = CAPACITY - 1;
const EDGE = 480; // frames of a fade: 10 ms
const FIRST_TARGET = 0.35; // seconds that must be there before playing
const LARGEST_TARGET = 4;
const EXCESS = 3; // seconds too many that are skipped
const DEADBAND = 0.03; // seconds of drift that are let be
const FASTEST = 0.002; // 3.5 cents
const SMOOTHING = 4; // seconds

class Player extends AudioWorkletProcessor {
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

registerProcessor("ambient-player", Player);
