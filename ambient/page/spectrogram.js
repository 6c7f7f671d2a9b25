// A spectrogram that scrolls: pitch upwards on a logarithmic axis, the newest sound at the right edge.

const LOW = 40;
const HIGH = 20000;
const FLOOR = -106; // decibels that are drawn as nothing
const CEILING = -32;
const COLUMNS_PER_SECOND = 50;

export class Spectrogram {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.last = 0;
    this.owed = 0;
    new ResizeObserver(() => this.resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.recolour());
    this.recolour();
  }

  resize() {
    const scale = Math.min(devicePixelRatio || 1, 2);
    const width = Math.round(this.canvas.clientWidth * scale);
    const height = Math.round(this.canvas.clientHeight * scale);
    if (!width || (width === this.canvas.width && height === this.canvas.height)) return;
    this.canvas.width = width;
    this.canvas.height = height;
    this.column = this.context.createImageData(1, height);
    this.rows = null;
    this.clear();
  }

  recolour() {
    const style = getComputedStyle(document.documentElement);
    const stops = [0, 1, 2, 3, 4].map((i) => {
      const hex = style.getPropertyValue(`--heat-${i}`).trim();
      return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    });
    this.palette = new Uint32Array(256);
    for (let i = 0; i < 256; i++) {
      const place = (i / 255) * (stops.length - 1);
      const low = Math.min(Math.floor(place), stops.length - 2);
      const [r, g, b] = stops[low].map((c, k) => Math.round(c + (place - low) * (stops[low + 1][k] - c)));
      this.palette[i] = (255 << 24) | (b << 16) | (g << 8) | r;
    }
    this.clear();
  }

  // Before there is sound: hills in the mist, in the colours of the sound to come. It moves away with the first notes.
  clear() {
    const { width, height } = this.canvas;
    const colour = (i) => `rgb(${[0, 8, 16].map((bits) => (this.palette[i] >> bits) & 255)})`;
    this.context.fillStyle = colour(0);
    this.context.fillRect(0, 0, width, height);
    const ridges = 6;
    for (let ridge = 0; ridge < ridges; ridge++) {
      const far = 1 - ridge / (ridges - 1);
      const mist = this.context.createLinearGradient(0, height * (0.55 - 0.2 * far), 0, height);
      mist.addColorStop(0, colour(Math.round(26 + 74 * far * far)));
      mist.addColorStop(1, colour(Math.round(6 + 20 * far)));
      this.context.fillStyle = mist;
      this.context.beginPath();
      this.context.moveTo(0, height);
      for (let x = 0; x <= width; x += 2) {
        const t = (x / height) * (1.1 + 0.5 * ridge) + ridge * 7.3;
        const hill = Math.sin(t) + 0.45 * Math.sin(2.3 * t + ridge) + 0.16 * Math.sin(6.1 * t) + 0.05 * Math.sin(17 * t);
        this.context.lineTo(x, height * (0.47 + 0.09 * ridge - (0.035 + 0.02 * far) * hill));
      }
      this.context.lineTo(width, height);
      this.context.fill();
    }
  }

  // Which bins of the transform each row of pixels covers.
  map(analyser) {
    const hertz = analyser.context.sampleRate / analyser.fftSize;
    const height = this.canvas.height;
    const place = (row) => (LOW * (HIGH / LOW) ** (1 - row / height)) / hertz;
    this.rows = Array.from({ length: height }, (_, row) => [place(row + 1), place(row)]);
    this.bins = new Float32Array(analyser.frequencyBinCount);
    this.fftSize = analyser.fftSize;
  }

  draw(analyser, now) {
    if (!this.column) this.resize();
    if (!this.column) return;
    if (!this.rows || this.fftSize !== analyser.fftSize) this.map(analyser);
    const scale = this.canvas.width / Math.max(1, this.canvas.clientWidth);
    this.owed += Math.min(0.25, (now - this.last) / 1000) * COLUMNS_PER_SECOND * scale;
    this.last = now;
    const columns = Math.floor(this.owed);
    if (columns < 1) return;
    this.owed -= columns;
    analyser.getFloatFrequencyData(this.bins);
    const pixels = new Uint32Array(this.column.data.buffer);
    this.rows.forEach(([low, high], row) => {
      let level;
      if (high - low < 1) {
        const whole = Math.floor(low);
        level = this.bins[whole] + (low - whole) * (this.bins[whole + 1] - this.bins[whole]);
      } else {
        level = -200;
        for (let bin = Math.floor(low); bin < high; bin++) level = Math.max(level, this.bins[bin]);
      }
      level += 3 * Math.log2((low + 1) / 16); // nature falls 3 dB an octave: level it, so that all of it is seen
      const heat = (level - FLOOR) / (CEILING - FLOOR);
      pixels[row] = this.palette[heat > 0 ? Math.min(255, Math.floor(heat * 255)) : 0];
    });
    const { width } = this.canvas;
    this.context.drawImage(this.canvas, -columns, 0);
    for (let i = 1; i <= columns; i++) this.context.putImageData(this.column, width - i, 0);
  }
}
