// The pictures of a report, drawn by uPlot from the descriptions in #charts. No text becomes markup: textContent only.
(() => {
'use strict';
const charts = JSON.parse(document.getElementById('charts').textContent);
const root = document.documentElement;
const darkQuery = matchMedia('(prefers-color-scheme: dark)');
const css = name => getComputedStyle(root).getPropertyValue(name).trim();
// Okabe and Ito, for light paper and for dark.
const light = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#404040'];
const dark = ['#56b4e9', '#e69f00', '#2bc79a', '#e39ac4', '#f0e442', '#7f9cf5', '#d8dde4'];
const dashes = [[], [9, 4], [2, 3], [10, 3, 2, 3]];
let printing = false;
const isDark = () => !printing && (root.dataset.theme ? root.dataset.theme === 'dark' : darkQuery.matches);
const colour = style => (isDark() ? dark : light)[style % light.length];
// Dashes tell measured curves apart; those of a bound that goes up and down all the time would be noise.
const dash = (c, chart) => c.bound ? (chart.time ? [] : [4, 3]) : chart.curves.filter(k => !k.bound).length < 2 ? [] : dashes[c.style % dashes.length];
const pale = hex => hex + 'b0';
const faded = hex => hex + (isDark() ? '38' : '2b');

const prefixes = [[1, ''], [1e-3, 'm'], [1e-6, 'µ'], [1e-9, 'n'], [1e-12, 'p']];
const plain = (x, n) => {
  const a = Math.abs(x);
  return a !== 0 && (a < 1e-3 || a >= 1e6) ? (+x.toPrecision(n)).toExponential() : String(+x.toPrecision(n));
};
function figure(x, unit, n = 4) {
  if (x == null) return '';
  if (unit === 's') {
    if (x === 0) return '0 s';
    const [scale, name] = prefixes.find(p => Math.abs(x) >= p[0] * 0.99995) || prefixes[4];
    return plain(x / scale, n) + ' ' + name + 's';
  }
  if (unit === '1' || unit === 'count' || !unit) return plain(x, n);
  return plain(x, n) + ' ' + unit;
}
const round = x => +x.toPrecision(12);
function clockUnit(range) {
  return range >= 5 * 86400 ? [86400, 'd'] : range >= 5 * 3600 ? [3600, 'h'] : range >= 300 ? [60, 'min'] : [1, 's'];
}

// Round steps of a linear axis.
function steps(low, high, n) {
  const raw = (high - low) / Math.max(n, 1);
  if (!(raw > 0) || !isFinite(raw)) return [low];
  const unit = Math.pow(10, Math.floor(Math.log10(raw)));
  const step = [1, 2, 5, 10].map(m => m * unit).find(s => s >= raw);
  const all = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9 && all.length < 60; k++) all.push(round(k * step));
  return all;
}
// Powers of ten; with a threshold on both sides of 0.
function decades(low, high, threshold, n) {
  const all = [];
  const powers = (from, to, sign, room) => {
    const first = Math.ceil(Math.log10(from) - 1e-9), last = Math.floor(Math.log10(to) + 1e-9);
    const every = Math.max(1, Math.ceil((last - first + 1) / Math.max(room, 1)));
    for (let k = first; k <= last; k++) if ((k - first) % every === 0) all.push(sign * Math.pow(10, k));
  };
  if (!threshold) {
    powers(low, high, 1, n);
    if (all.length < 2) {
      for (let d = Math.floor(Math.log10(low)); d <= Math.log10(high); d++) for (const m of [2, 5]) {
        const x = m * Math.pow(10, d);
        if (x >= low && x <= high) all.push(x);
      }
    }
  } else {
    const from = Math.max(-low, high) > 100 * threshold ? 10 * threshold : threshold;
    if (low < -from) powers(from, -low, -1, n / 2);
    if (low <= 0 && high >= 0) all.push(0);
    if (high > from) powers(from, high, 1, n / 2);
    if (all.length < 3) return steps(low, high, n);
  }
  return all.map(round).sort((a, b) => a - b);
}
const splitsOf = (axis, low, high, n) => axis.scale === 'log' ? decades(low, high, 0, n)
  : axis.scale === 'symlog' ? decades(low, high, axis.threshold, n) : steps(low, high, n);

// All curves on one x: a value that occurs several times in a curve (a step) stays so. undefined: another curve's time; null: a gap.
function join(curves) {
  const times = new Map();
  for (const c of curves) for (let i = 0; i < c.x.length;) {
    let j = i;
    while (j < c.x.length && c.x[j] === c.x[i]) j++;
    times.set(c.x[i], Math.max(times.get(c.x[i]) || 0, j - i));
    i = j;
  }
  const xs = [...times.keys()].sort((a, b) => a - b), place = new Map(), all = [];
  for (const x of xs) { place.set(x, all.length); for (let n = times.get(x); n > 0; n--) all.push(x); }
  return [all, ...curves.map(c => {
    const y = new Array(all.length).fill(undefined);
    let last = NaN, n = 0;
    c.x.forEach((x, i) => { n = x === last ? n + 1 : 0; last = x; y[place.get(x) + n] = c.y[i]; });
    // A gap reaches from the value before it to the value after it.
    for (let i = 0; i < y.length; i++) if (y[i] === null) {
      for (let j = i - 1; j >= 0 && y[j] === undefined; j--) y[j] = null;
      while (i + 1 < y.length && y[i + 1] == null) y[++i] = null;
    }
    return y;
  })];
}

const time = [];
const all = [];
let together = false;

class Picture {
  constructor(element, chart) {
    this.element = element; this.chart = chart;
    this.y = { ...chart.y };
    this.shown = chart.curves.map(() => true);
    this.data = join(chart.curves);
    this.plot = element.querySelector('.plot');
    this.buttons(); this.legend(); this.draw();
    new ResizeObserver(() => this.resize()).observe(this.plot);
    this.plot.addEventListener('keydown', e => this.key(e));
  }
  height() { return this.chart.small && innerWidth > 900 ? 300 : innerWidth < 640 ? 260 : 360; }
  width() { return Math.max(this.plot.clientWidth, 120); }
  buttons() {
    const head = document.createElement('div');
    head.className = 'head';
    const add = (text, label, act) => {
      const b = document.createElement('button');
      b.type = 'button'; b.className = 'control'; b.textContent = text; b.title = label;
      b.setAttribute('aria-label', label + ': ' + this.chart.title);
      b.addEventListener('click', () => act(b));
      head.append(b);
      return b;
    };
    if (this.chart.y.scale !== 'log') {
      const name = () => this.y.scale === 'symlog' ? 'scale: ± logarithmic' : 'scale: linear';
      add(name(), 'Change the vertical scale', b => {
        this.y.scale = this.y.scale === 'symlog' ? 'linear' : 'symlog';
        b.textContent = name();
        this.redraw();
      });
    }
    add('−', 'Zoom out', () => this.zoom(2));
    add('+', 'Zoom in', () => this.zoom(0.5));
    add('◀', 'Earlier, or smaller', () => this.pan(-0.25));
    add('▶', 'Later, or greater', () => this.pan(0.25));
    add('all', 'Show all', () => this.reset());
    this.plot.before(head);
  }
  legend() {
    const box = this.element.querySelector('.legend');
    this.outputs = this.chart.curves.map((c, i) => {
      const b = document.createElement('button');
      b.type = 'button'; b.setAttribute('aria-pressed', 'true'); b.title = 'Hide or show';
      const line = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
      line.setAttribute('width', '26'); line.setAttribute('height', '10'); line.setAttribute('aria-hidden', 'true');
      const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
      path.setAttribute('d', 'M1 5H25'); path.setAttribute('fill', 'none');
      path.setAttribute('stroke-width', c.bound ? '1.5' : '3');
      path.setAttribute('stroke-dasharray', dash(c, this.chart).join(' '));
      line.append(path);
      const name = document.createElement('span'); name.textContent = c.name;
      const value = document.createElement('output');
      b.append(line, name, value);
      b.addEventListener('click', () => {
        this.shown[i] = !this.shown[i];
        b.setAttribute('aria-pressed', String(this.shown[i]));
        this.u.setSeries(i + 1, { show: this.shown[i] });
      });
      box.append(b);
      return { value, path, curve: c };
    });
    this.at = document.createElement('span'); this.at.className = 'at';
    box.append(this.at);
  }
  draw() {
    for (const o of this.outputs) o.path.setAttribute('stroke', colour(o.curve.style));
    this.u = new uPlot(this.options(), this.data, this.plot);
  }
  redraw() {
    const x = this.u && { min: this.u.scales.x.min, max: this.u.scales.x.max };
    const zoomed = this.zoomed;
    this.u.destroy();
    this.draw();
    if (zoomed) { this.u.setScale('x', x); this.zoomed = true; }
  }
  resize() {
    const size = { width: this.width(), height: this.height() };
    if (size.width !== this.u.width || size.height !== this.u.height) this.u.setSize(size);
  }
  options() {
    const c = this.chart, axis = { stroke: css('--quiet'), font: '12px system-ui, sans-serif', labelFont: '12px system-ui, sans-serif',
      grid: { stroke: css('--grid'), width: 1 }, ticks: { stroke: css('--line'), width: 1, size: 5 } };
    const series = c.curves.map((k, i) => {
      const s = { label: k.name, stroke: k.bound ? pale(colour(k.style)) : colour(k.style), width: k.bound ? 1 : 1.75, dash: dash(k, c), show: this.shown[i], spanGaps: false,
        points: { show: k.shape === 'points' || k.shape === 'both' || k.x.length < 3, size: k.shape === 'points' ? 6 : 5, fill: colour(k.style) } };
      if (k.shape === 'points') s.paths = () => null;
      if (k.shape === 'steps') { s.paths = uPlot.paths.stepped({ align: 1 }); s.points.show = false; s.fill = faded(colour(k.style)); s.width = 1.25; }
      return s;
    });
    return {
      width: this.width(), height: this.height(), legend: { show: false }, padding: [10, 24, 0, 0],
      cursor: { drag: { x: true, y: false, setScale: true }, focus: { prox: 24 }, points: { size: 7 } },
      scales: {
        x: { time: false, distr: c.x.scale === 'log' ? 3 : 1, range: (u, a, b) => this.rangeX(a, b) },
        y: { distr: this.y.scale === 'log' ? 3 : this.y.scale === 'symlog' ? 4 : 1, asinh: this.y.threshold || 1, range: (u, a, b) => this.rangeY(a, b) },
      },
      series: [{}, ...series],
      bands: c.bands.map(b => ({ series: [b.high + 1, b.low + 1], fill: faded(colour(c.curves[b.high].style)) })),
      axes: [
        { ...axis, label: c.x.label, labelSize: 20, size: 34, splits: (u, i, a, b) => this.splitsX(a, b),
          values: (u, s) => this.valuesX(s, u.scales.x), filter: (u, s) => s },
        { ...axis, label: c.y.label, labelSize: 20, size: (u, v) => Math.max(44, ...(v || []).map(t => 14 + 6.6 * String(t || '').length)),
          splits: (u, i, a, b) => splitsOf(this.y, a, b, this.height() / 45), values: (u, s) => s.map(v => v === 0 ? '0' : figure(v, c.y.unit)), filter: (u, s) => s },
      ],
      hooks: { drawAxes: [u => this.marks(u)], draw: [u => this.violations(u)], setCursor: [u => this.hover(u)], setScale: [(u, key) => key === 'x' && this.follow(u)] },
    };
  }
  rangeX(a, b) {
    if (a == null || b == null) return this.chart.x.scale === 'log' ? [0.1, 1] : [0, 1];
    if (b > a) return [a, b];
    const d = Math.abs(a) / 2 || 1;
    return this.chart.x.scale === 'log' ? [a / 2, a * 2] : [a - d, a + d];
  }
  rangeY(a, b) {
    const s = this.y.scale;
    if (a == null || b == null) return s === 'log' ? [0.1, 1] : [-1, 1];
    if (s === 'log') return a > 0 ? [a / 1.6, b * 1.6] : [1e-12, Math.max(b, 1e-9) * 1.6];
    if (this.chart.zero) { a = Math.min(a, 0); b = Math.max(b, 0); }
    if (s === 'symlog') {
      const t = this.y.threshold, low = Math.asinh(a / t), high = Math.asinh(b / t), d = (high - low) * 0.06 || 1;
      return [t * Math.sinh(low - d), t * Math.sinh(high + d)];
    }
    const d = (b - a) * 0.07 || Math.abs(a) / 2 || 1e-9;
    return [this.chart.zero || a < 0 || a - d >= 0 ? a - d : 0, b + d];
  }
  splitsX(a, b) {
    const n = Math.max(this.width() / 95, 4);
    if (!this.chart.time) return splitsOf(this.chart.x, a, b, n);
    const [unit] = clockUnit(b - a);
    return steps(a / unit, b / unit, n).map(x => x * unit);
  }
  valuesX(s, scale) {
    if (!this.chart.time) return s.map(v => figure(v, this.chart.x.unit));
    const [unit, name] = clockUnit(scale.max - scale.min);
    return s.map(v => plain(v / unit, 6) + ' ' + name);
  }
  // Events are lines behind the curves, 0 is true time.
  marks(u) {
    const { ctx, bbox } = u, ratio = devicePixelRatio;
    ctx.save();
    ctx.beginPath(); ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height); ctx.clip();
    if (this.chart.zero) {
      const y = Math.round(u.valToPos(0, 'y', true)) + 0.5;
      ctx.strokeStyle = css('--text'); ctx.lineWidth = ratio; ctx.globalAlpha = 0.7;
      ctx.beginPath(); ctx.moveTo(bbox.left, y); ctx.lineTo(bbox.left + bbox.width, y); ctx.stroke();
    }
    ctx.globalAlpha = 1;
    let free = -Infinity;
    const crowd = this.chart.marks.filter(m => m.kind !== 'violation').length > 30;
    ctx.font = 11 * ratio + 'px system-ui, sans-serif'; ctx.textBaseline = 'top';
    for (const m of this.chart.marks) {
      if (m.kind === 'violation') continue;
      const x = Math.round(u.valToPos(m.at, 'x', true)) + 0.5;
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      const strong = m.kind === 'fault' || m.kind === 'finding';
      ctx.strokeStyle = ctx.fillStyle = css(strong ? '--fault' : '--mark');
      ctx.lineWidth = ratio; ctx.setLineDash(m.kind === 'status' ? [2 * ratio, 3 * ratio] : m.kind === 'repair' ? [6 * ratio, 4 * ratio] : []);
      ctx.globalAlpha = crowd ? 0.4 : 1;
      ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
      ctx.globalAlpha = 1;
      const text = String(m.number), wide = ctx.measureText(text).width + 16 * ratio;
      if (x + 3 * ratio > free) { ctx.fillText(text, x + 3 * ratio, bbox.top + 2 * ratio); free = x + wide; }
    }
    ctx.restore();
  }
  violations(u) {
    const { ctx, bbox } = u, ratio = devicePixelRatio;
    ctx.save();
    ctx.beginPath(); ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height); ctx.clip();
    ctx.strokeStyle = ctx.fillStyle = css('--bad'); ctx.lineWidth = 1.5 * ratio;
    const columns = new Set(), s = 6 * ratio, y = bbox.top + bbox.height;
    let last = -Infinity;
    for (const m of this.chart.marks) {
      if (m.kind !== 'violation') continue;
      const x = Math.round(u.valToPos(m.at, 'x', true));
      if (x < bbox.left - s || x > bbox.left + bbox.width + s || columns.has(x)) continue;
      columns.add(x);
      ctx.globalAlpha = 0.3;
      ctx.fillRect(x - ratio / 2, bbox.top, ratio, bbox.height);
      ctx.globalAlpha = 1;
      if (x - last < s) continue;
      last = x;
      ctx.beginPath(); ctx.moveTo(x, y - 2 * s); ctx.lineTo(x - s, y); ctx.lineTo(x + s, y); ctx.closePath(); ctx.fill();
    }
    ctx.restore();
  }
  hover(u) {
    const i = u.cursor.idx, on = i != null && u.cursor.left >= 0;
    this.at.textContent = on ? (this.chart.time ? 'after ' + plain(this.data[0][i], 9) + ' s' : figure(this.data[0][i], this.chart.x.unit)) : '';
    this.outputs.forEach((o, k) => { o.value.textContent = on ? figure(this.near(this.data[k + 1], i), this.chart.y.unit) : ''; });
  }
  // The value at i, or the nearest one of the same curve: null is a gap.
  near(y, i) {
    for (let d = 0; d < y.length; d++) {
      if (i - d >= 0 && y[i - d] !== undefined) return y[i - d];
      if (i + d < y.length && y[i + d] !== undefined) return y[i + d];
    }
    return null;
  }
  full() { return [this.data[0][0], this.data[0][this.data[0].length - 1]]; }
  follow(u) {
    const [a, b] = this.full(), { min, max } = u.scales.x;
    this.zoomed = min > a || max < b;
    if (!this.chart.time || together) return;
    together = true;
    for (const p of time) if (p !== this && p.u) {
      if (this.zoomed) p.u.setScale('x', { min, max }); else { const [c, d] = p.full(); p.u.setScale('x', { min: c, max: d }); }
    }
    together = false;
  }
  inner(f) {
    const { min, max } = this.u.scales.x;
    if (min == null) return;
    const log = this.chart.x.scale === 'log', to = x => log ? Math.log(x) : x, back = x => log ? Math.exp(x) : x;
    const [a, b] = f(to(min), to(max)), [low, high] = this.full();
    let x = Math.max(back(a), low), y = Math.min(back(b), high);
    if (y > x) this.u.setScale('x', { min: x, max: y });
  }
  zoom(f) { this.inner((a, b) => { const m = (a + b) / 2, d = (b - a) / 2 * f; return [m - d, m + d]; }); }
  pan(f) { this.inner((a, b) => {
    const d = (b - a) * f, [low, high] = this.full(), log = this.chart.x.scale === 'log', l = log ? Math.log(low) : low, h = log ? Math.log(high) : high;
    const s = d < 0 ? Math.max(d, l - a) : Math.min(d, h - b);
    return [a + s, b + s];
  }); }
  reset() { const [min, max] = this.full(); this.u.setScale('x', { min, max }); }
  key(e) {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const act = { ArrowLeft: () => this.pan(-0.1), ArrowRight: () => this.pan(0.1), '+': () => this.zoom(0.5), '=': () => this.zoom(0.5), '-': () => this.zoom(2), 0: () => this.reset(), Escape: () => this.reset() }[e.key];
    if (act) { e.preventDefault(); act(); }
  }
}

for (const chart of charts) {
  const element = document.querySelector('[data-chart="' + CSS.escape(chart.id) + '"]');
  if (!element) continue;
  const p = new Picture(element, chart);
  all.push(p);
  if (chart.time) time.push(p);
}
const redraw = () => all.forEach(p => p.redraw());
const button = document.getElementById('theme');
const themes = ['', 'light', 'dark'];
button.addEventListener('click', () => {
  const next = themes[(themes.indexOf(root.dataset.theme || '') + 1) % 3];
  if (next) root.dataset.theme = next; else delete root.dataset.theme;
  button.querySelector('span').textContent = next || 'auto';
  button.setAttribute('aria-label', 'Colours: ' + (next || 'as the system'));
  redraw();
});
darkQuery.addEventListener('change', redraw);
// Paper is light.
let before;
addEventListener('beforeprint', () => { before = root.dataset.theme; printing = true; root.dataset.theme = 'light'; redraw(); });
addEventListener('afterprint', () => { printing = false; if (before) root.dataset.theme = before; else delete root.dataset.theme; redraw(); });
root.dataset.ready = String(all.length);
})();
