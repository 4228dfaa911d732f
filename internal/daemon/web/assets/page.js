// The status page. The daemon sends what is to be shown once a second (/stream), in words that it made itself; here they become text,
// never markup, and curves.
(() => {
'use strict';
const root = document.documentElement, $ = id => document.getElementById(id);
const css = name => getComputedStyle(root).getPropertyValue(name).trim();
const silence = 3500; // milliseconds without news after which the page does not believe itself
let last = null, lastAt = 0, view = null, paused = false, stale = false, problem = '', started = '', ready = false;
let fine = [], coarse = [], events = [], range = 300;

// Texts. What stands between backquotes is a command.
function put(element, text) { if (element.textContent !== text) element.textContent = text; }
function make(name, className, text) {
  const e = document.createElement(name);
  if (className) e.className = className;
  if (text) e.textContent = text;
  return e;
}
function putWords(element, text) {
  if (element.dataset.words === text) return;
  element.dataset.words = text;
  element.replaceChildren(...text.split('`').map((part, i) => i % 2 ? make('code', '', part) : document.createTextNode(part)));
}
function list(element, texts) {
  while (element.children.length > texts.length) element.lastChild.remove();
  texts.forEach((text, i) => putWords(element.children[i] || element.appendChild(make('li')), text));
}
const span = s => s < 1 ? 'now' : s < 60 ? Math.round(s) + ' s' : s < 3600 ? Math.floor(s / 60) + ' min' : s < 172800 ? Math.floor(s / 3600) + ' h ' + Math.floor(s / 60) % 60 + ' min' : Math.floor(s / 86400) + ' days';
const two = n => String(n).padStart(2, '0');
const utcTime = d => two(d.getUTCHours()) + ':' + two(d.getUTCMinutes()) + ':' + two(d.getUTCSeconds());
const utcDate = d => d.getUTCFullYear() + '-' + two(d.getUTCMonth() + 1) + '-' + two(d.getUTCDate());

const prefixes = [[1, 's'], [1e-3, 'ms'], [1e-6, 'µs'], [1e-9, 'ns'], [1e-12, 'ps']];
function seconds(x, digits = 3) {
  if (x == null || !isFinite(x)) return '–';
  if (x === 0) return '0';
  const [scale, unit] = prefixes.find(p => Math.abs(x) >= p[0] * 0.9995) || prefixes[4];
  const v = x / scale;
  return (Math.abs(v) >= 1000 ? Math.round(v) : +v.toPrecision(digits)) + ' ' + unit;
}

// Tables. Rows are kept, so that what is open in them stays open.
function rows(body, items, create) {
  while (body.children.length > items.length) body.lastChild.remove();
  items.forEach((item, i) => {
    let row = body.children[i];
    if (!row) { row = body.appendChild(make('tr')); row.setAttribute('role', 'row'); row.show = create(row); }
    row.show(item);
  });
}
function cell(row, label, className) {
  const c = make(label ? 'td' : 'th', className);
  c.setAttribute('role', label ? 'cell' : 'rowheader');
  if (label) c.dataset.label = label; else c.scope = 'row';
  return row.appendChild(c);
}
function stateIn(parent) {
  const state = parent.appendChild(make('span', 'state')), sign = state.appendChild(make('i')), word = state.appendChild(make('span'));
  sign.setAttribute('aria-hidden', 'true');
  return x => { put(sign, x.sign); put(word, x.state); };
}
const member = lastLabel => row => {
  const name = cell(row), who = name.appendChild(make('span')), address = name.appendChild(make('small'));
  const verdict = cell(row, 'Verdict'), state = stateIn(verdict), words = verdict.appendChild(make('small')), advice = verdict.appendChild(make('small', 'advice'));
  const more = verdict.appendChild(make('details')), summary = more.appendChild(make('summary', '', 'More')), facts = more.appendChild(make('ul'));
  delete verdict.dataset.label;
  const offset = cell(row, 'Offset', 'number'), value = offset.appendChild(make('span')), bound = offset.appendChild(make('small'));
  const delay = cell(row, 'Round trip', 'number'), heard = cell(row, lastLabel, lastLabel === 'Last answer' ? 'number' : '');
  const reach = cell(row, 'Answered'), boxes = reach.appendChild(make('span', 'reach')), answered = reach.appendChild(make('span'));
  boxes.setAttribute('aria-hidden', 'true');
  for (let i = 0; i < 8; i++) boxes.append(make('i'));
  return x => {
    row.dataset.level = x.level;
    put(who, x.name); put(address, x.address); state(x); putWords(words, x.words);
    putWords(advice, x.advice ? '→ ' + x.advice : '');
    summary.setAttribute('aria-label', 'More about ' + x.name);
    list(facts, x.more || []);
    put(value, x.offset); put(bound, x.bound === '-' ? '' : ' ± ' + x.bound); put(delay, x.delay); put(heard, x.last);
    [...boxes.children].forEach((b, i) => { b.className = x.reach[i] === '1' ? 'on' : ''; });
    put(answered, x.answered + ' of 8');
  };
};
const happened = row => {
  const when = cell(row, 'When'), at = when.appendChild(make('time')), age = when.appendChild(make('small')), what = cell(row, 'What'), state = stateIn(what), words = cell(row, 'In words');
  delete when.dataset.label; delete what.dataset.label; delete words.dataset.label;
  return e => {
    row.dataset.level = e.level === 'bad' ? 'none-bad' : e.level;
    what.dataset.level = e.level;
    const ago = now() - e.last, clock = view && view.time_ms != null && last ? new Date(view.time_ms - (last.uptime_s - e.last) * 1000) : null;
    put(at, clock ? utcTime(clock) : span(ago) + ' ago'); put(age, clock ? span(ago) + (ago < 1 ? '' : ' ago') : '');
    if (clock) at.dateTime = clock.toISOString();
    state(e);
    putWords(words, e.words + (e.count > 1 ? ' (' + e.count + ' times in ' + span(e.last - e.at) + ')' : ''));
  };
};

// now is the age of the daemon at this moment, as far as the page can know.
const now = () => last ? last.uptime_s + (performance.now() - lastAt) / 1000 : 0;

// Pictures.
const dashes = { solid: [], dashed: [7, 4], dotted: [2, 3] };
class Picture {
  constructor(id, log, curves) {
    this.element = $(id); this.log = log; this.curves = curves;
    this.plot = this.element.querySelector('.plot');
    this.values = curves.filter(c => c.name).map(c => {
      const item = this.element.querySelector('.legend').appendChild(make('span')), ns = 'http://www.w3.org/2000/svg';
      const line = document.createElementNS(ns, 'svg'), path = document.createElementNS(ns, 'path');
      line.setAttribute('width', '28'); line.setAttribute('height', '10'); line.setAttribute('aria-hidden', 'true');
      path.setAttribute('d', 'M1 5H27'); path.setAttribute('stroke-width', c.band ? '8' : '2.5'); path.setAttribute('stroke-dasharray', dashes[c.dash || 'solid'].join(' '));
      line.append(path);
      item.append(line, make('span', '', c.name), make('b'));
      return { curve: c, path, value: item.lastChild };
    });
    this.draw();
    new ResizeObserver(() => { if (this.plot.clientWidth && this.plot.clientWidth !== this.u.width) this.u.setSize({ width: this.plot.clientWidth, height: 220 }); }).observe(this.plot);
  }
  draw() {
    if (this.u) this.u.destroy();
    const faded = c => css(c) + '38';
    for (const v of this.values) { v.path.setAttribute('stroke', v.curve.band ? faded(v.curve.colour) : css(v.curve.colour)); }
    const axis = { stroke: css('--quiet'), font: '12px system-ui, sans-serif', grid: { stroke: css('--grid'), width: 1 }, ticks: { stroke: css('--line'), width: 1, size: 5 } };
    this.u = new uPlot({
      width: Math.max(this.plot.clientWidth, 200), height: 220, legend: { show: false }, padding: [8, 14, 0, 0], cursor: { drag: { x: false, y: false }, points: { size: 7 } },
      scales: { x: { time: false, range: () => [-reach(), 0] }, y: { distr: this.log ? 3 : 1, range: (u, a, b) => this.range(a, b) } },
      series: [{}, ...this.curves.map(c => ({ stroke: c.edge ? css(c.colour) + '90' : css(c.colour), width: c.edge ? 1 : 2, dash: dashes[c.dash || 'solid'], spanGaps: false, points: { show: false } }))],
      bands: this.curves.some(c => c.edge) ? [{ series: [this.curves.findIndex(c => c.edge === 'high') + 1, this.curves.findIndex(c => c.edge === 'low') + 1], fill: css('--c1') + '38' }] : [],
      axes: [
        { ...axis, size: 30, splits: () => ages(this.plot.clientWidth), values: (u, s) => s.map(x => x === 0 ? 'now' : ageText(x)), filter: (u, s) => s },
        { ...axis, size: (u, v) => Math.max(52, ...(v || []).map(t => 16 + 6.6 * String(t || '').length)), splits: (u, i, a, b) => this.log ? decades(a, b) : steps(a, b, 5), values: (u, s) => s.map(x => seconds(x)), filter: (u, s) => s },
      ],
      hooks: { drawAxes: [u => this.zero(u)], setCursor: [u => this.hover(u)] },
    }, this.data(), this.plot);
    this.hover(this.u);
  }
  range(a, b) {
    if (a == null || b == null) return this.log ? [1e-6, 1e-1] : [-1e-3, 1e-3];
    if (this.log) return [a / 1.8, b * 1.8];
    a = Math.min(a, 0); b = Math.max(b, 0);
    const d = (b - a) * 0.08 || 1e-9;
    return [a - d, b + d];
  }
  // Points of the past, as far as the picture reaches; a gap is a gap.
  data() {
    const t = now(), points = reach() > 900 ? day() : fine, gap = reach() > 900 ? 150 : 2.6, x = [], y = this.curves.map(() => []);
    const add = (at, p) => { x.push(at); this.curves.forEach((c, i) => { const v = p ? c.of(p) : null; y[i].push(v == null || this.log && !(v > 0) ? null : v); }); };
    let before = null;
    for (const p of points) {
      if (p[0] < t - reach() - gap) continue;
      if (before != null && p[0] - before > gap) add((p[0] + before) / 2 - t, null);
      add(p[0] - t, p);
      before = p[0];
    }
    return [x, ...y];
  }
  show() {
    this.u.setData(this.data());
    this.hover(this.u);
    const text = this.element.querySelector('h3').textContent + ': ' + this.values.map(v => v.curve.name + ' ' + v.value.textContent).join(', ');
    if (this.plot.getAttribute('aria-label') !== text) this.plot.setAttribute('aria-label', text);
  }
  hover(u) {
    const data = u.data, n = data[0].length, i = u.cursor.idx != null && u.cursor.left >= 0 ? u.cursor.idx : n - 1;
    for (const v of this.values) {
      const k = this.curves.indexOf(v.curve);
      put(v.value, v.curve.band ? this.curves.filter(c => c.edge).reverse().map(c => seconds(data[this.curves.indexOf(c) + 1][i])).join(' … ') : seconds(data[k + 1][i]));
    }
  }
  zero(u) {
    if (this.log) return;
    const { ctx, bbox } = u, y = Math.round(u.valToPos(0, 'y', true)) + 0.5;
    ctx.save(); ctx.strokeStyle = css('--quiet'); ctx.lineWidth = devicePixelRatio;
    ctx.beginPath(); ctx.moveTo(bbox.left, y); ctx.lineTo(bbox.left + bbox.width, y); ctx.stroke(); ctx.restore();
  }
}
const day = () => {
  const from = coarse.length ? coarse[coarse.length - 1][0] : -Infinity;
  return [...coarse, ...fine.filter((p, i) => p[0] > from && i % 15 === 0)];
};
function steps(low, high, n) {
  const raw = (high - low) / n, unit = Math.pow(10, Math.floor(Math.log10(raw)));
  if (!(raw > 0) || !isFinite(raw)) return [low];
  const step = [1, 2, 5, 10].map(m => m * unit).find(s => s >= raw), all = [];
  for (let k = Math.ceil(low / step); k * step <= high && all.length < 20; k++) all.push(+(k * step).toPrecision(12));
  return all;
}
function decades(low, high) {
  const all = [], few = high / low < 200;
  for (let k = Math.floor(Math.log10(low)); k <= Math.log10(high); k++) for (const m of few ? [1, 3] : [1]) {
    const x = +(m * Math.pow(10, k)).toPrecision(6);
    if (x >= low && x <= high) all.push(x);
  }
  return all;
}
// reach is how far the pictures go back: not much further than the daemon's life.
const reach = () => Math.min(range, Math.max(60, Math.ceil(now() / 60) * 60));
const ageSteps = [10, 20, 60, 120, 300, 600, 1800, 3600, 7200, 10800, 21600];
function ages(width) {
  const most = width < 420 ? 4 : 7, step = ageSteps.find(s => reach() / s <= most), all = [];
  for (let x = 0; x >= -reach(); x -= step) all.unshift(x);
  return all;
}
const ageText = x => x > -3600 && x % 60 ? x + ' s' : x > -3600 ? x / 60 + ' min' : +(x / 3600).toFixed(1) + ' h';
const limit = () => view ? view.limit_s : null, promised = () => view ? view.promised_s : null;
let pictures = [];
function createPictures() {
  pictures = [
    new Picture('error', false, [{ of: p => p[3], edge: 'high', colour: '--c1' }, { of: p => p[2], edge: 'low', colour: '--c1' }, { name: 'best estimate', of: p => p[4], colour: '--c2' }, { name: 'certain interval', of: () => null, band: true, colour: '--c1' }]),
    new Picture('bounds', true, [{ name: 'error bound', of: p => p[1], colour: '--c1' }, { name: 'estimate’s standard deviation', of: p => p[5], colour: '--c2', dash: 'dotted' }, { name: 'limit', of: limit, colour: '--c3', dash: 'dashed' }]),
  ];
  if (!$('precision').hidden) pictures.push(new Picture('precision', true, [{ name: 'to the common time', of: p => p[6], colour: '--c1' }, { name: 'reading error', of: p => p[7], colour: '--c2', dash: 'dotted' }, { name: 'promised for two clocks', of: promised, colour: '--c3', dash: 'dashed' }]));
}

// What the daemon says.
const icons = { good: ['%2300694d', '✓'], caution: ['%23b87700', '!'], bad: ['%23a30b25', '✗'], waiting: ['%2335506b', '…'], none: ['%23667', '?'] };
function verdict(level, sign, title, bound, short) {
  const box = $('verdict');
  if (box.dataset.level !== level || $('title').textContent !== title) put($('announce'), title + '. ' + bound);
  box.dataset.level = level;
  put($('sign'), sign); put($('title'), title); putWords($('bound'), bound);
  put(document.querySelector('title'), sign + ' ' + short + (view ? ' – ' + view.host : '') + ' – clockd');
  const [colour, text] = icons[level];
  $('icon').href = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Ccircle cx='16' cy='16' r='15' fill='" + colour + "'/%3E%3Ctext x='16' y='23' font-size='20' font-family='sans-serif' font-weight='700' text-anchor='middle' fill='white'%3E" + encodeURIComponent(text) + '%3C/text%3E%3C/svg%3E';
}
function box(id, texts) { $(id + '-box').hidden = !texts.length; list($(id), texts); }
function show() {
  const v = view;
  if (!v) return;
  put($('host'), v.host);
  verdict(v.level, v.sign, v.title, v.bound, v.short);
  const t = v.time_ms == null ? null : new Date(v.time_ms);
  put($('time'), t ? utcTime(t) : '--:--:--'); put($('date'), t ? utcDate(t) + ' UTC' : 'the time is not known');
  if (t) $('time').dateTime = t.toISOString(); else $('time').removeAttribute('datetime');
  box('why', v.why); box('advice', v.advice); box('trouble', v.trouble);
  const f = $('figures');
  while (f.children.length > v.figures.length) f.lastChild.remove();
  v.figures.forEach((x, i) => {
    let d = f.children[i];
    if (!d) { d = f.appendChild(make('div')); d.append(make('dt'), make('dd')); d.lastChild.append(make('span'), make('small')); }
    put(d.firstChild, x.name); put(d.lastChild.firstChild, x.value); d.classList.toggle('long', x.value.length > 14); put(d.lastChild.lastChild, x.note);
  });
  put($('error-title'), v.external ? 'Error of this clock' : 'Distance to the group’s common interval');
  put($('bounds-title'), v.external ? 'Error bound' : 'Bound within the group');
  $('sources').hidden = !v.sources.length; $('peers').hidden = $('to-peers').hidden = !v.peers.length;
  rows($('source-rows'), v.sources, member('Last answer'));
  rows($('peer-rows'), v.peers, member('Says of itself'));
  put($('group'), v.group);
  if (v.more) put($('source-hint'), v.more);
  const group = v.promised_s == null && !v.peers.length;
  if ($('precision').hidden !== group || !pictures.length) {
    $('precision').hidden = group;
    pictures.forEach(p => { p.u.destroy(); p.element.querySelector('.legend').replaceChildren(); });
    createPictures();
  }
}
function draw() {
  rows($('event-rows'), events, happened);
  if (view) pictures.forEach(p => p.show());
}
function take(m) {
  if (m.started !== started) { started = m.started; fine = []; coarse = []; events = []; }
  last = m; lastAt = performance.now(); problem = m.error || '';
  fine = fine.concat(m.points).slice(-900); coarse = coarse.concat(m.coarse).slice(-1440);
  if (m.events) events = m.events.reverse();
  if (m.view) view = m.view;
  if (paused) return;
  freshness();
  if (!stale) { show(); draw(); }
  if (!ready && view) { ready = true; root.dataset.ready = String(Math.round(performance.now())); }
}
// freshness says when what is shown is not true any more.
function freshness() {
  const age = last ? (performance.now() - lastAt) / 1000 : performance.now() / 1000;
  const gone = !!problem || age * 1000 > silence;
  $('stale').hidden = !gone && !paused;
  if (paused && !gone) { put($('stale-text'), 'Paused. What is shown was true when you pressed the button.'); put($('stale-age'), ''); return; }
  if (!gone) { if (stale) { stale = false; document.body.classList.remove('stale'); } return; }
  put($('stale-text'), problem ? 'The daemon is there and does not say anything of its clock: ' + problem + '. Asking again…' : last ? 'No news from the daemon. What is shown below was true then; whether the clock is still good is not known here. Asking again…' : 'No answer from the daemon yet. Asking again…');
  put($('stale-age'), last && !problem ? 'The last news came ' + span(age) + ' ago.' : '');
  if (!stale) { stale = true; document.body.classList.add('stale'); }
  verdict('none', '?', 'Not known', problem || (last ? 'The daemon does not answer. It said last: ' + (view ? view.title.toLowerCase() : 'nothing') + '.' : 'The daemon does not answer.'), 'no news');
  if (!paused) draw();
}

let stream = null;
function connect() {
  // Not by an address that has the password in it, which the page's own may have.
  stream = new EventSource(location.origin + '/stream');
  stream.onmessage = e => take(JSON.parse(e.data));
  // Also when the server refuses, because too many pages are open or it has another token by now.
  stream.onerror = () => { stream.close(); setTimeout(connect, 2000); };
}
addEventListener('pagehide', () => stream && stream.close());
addEventListener('pageshow', e => { if (e.persisted) connect(); });
setInterval(freshness, 1000);

$('pause').addEventListener('click', () => {
  paused = !paused;
  $('pause').setAttribute('aria-pressed', String(paused));
  freshness();
  if (!paused && !stale) { show(); draw(); }
});
document.querySelectorAll('[data-range]').forEach(b => b.addEventListener('click', () => {
  range = +b.dataset.range;
  document.querySelectorAll('[data-range]').forEach(o => o.setAttribute('aria-pressed', String(o === b)));
  pictures.forEach(p => p.show());
}));
const themes = ['', 'light', 'dark'];
function theme(name) {
  if (name) root.dataset.theme = name; else delete root.dataset.theme;
  put($('theme-name'), name || 'auto');
  $('theme').setAttribute('aria-label', 'Colours: ' + (name || 'auto, as the system'));
  pictures.forEach(p => p.draw());
}
// The browser may forbid to remember anything; then it is not remembered.
function remembered(name) { try { if (name != null) localStorage.setItem('clockd-theme', name); return localStorage.getItem('clockd-theme') || ''; } catch { return ''; } }
$('theme').addEventListener('click', () => { const next = themes[(themes.indexOf(root.dataset.theme || '') + 1) % 3]; theme(next); remembered(next); });
theme(themes.includes(remembered()) ? remembered() : '');
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => pictures.forEach(p => p.draw()));
connect();
})();
