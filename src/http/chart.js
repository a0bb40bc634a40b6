// Drawing: SVG made with the DOM, never from text, because names and units come from payloads.

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element with attributes; `text` becomes its text content. */
export function svg(name, attributes = {}, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Sets an attribute only when it changes, so that idle charts cost no repaint. */
export function put(element, key, value) {
  if (element.getAttribute(key) !== String(value)) element.setAttribute(key, value);
}

const r = (x) => Math.round(x * 10) / 10;
const finite = (x) => typeof x === "number" && Number.isFinite(x);

function scale(lo, hi, from, to) {
  const span = hi - lo || 1;
  return (x) => from + ((x - lo) / span) * (to - from);
}

/** Path through the points whose y is a number; a gap lifts the pen. */
function line(points, x, y) {
  let d = "";
  let pen = "M";
  for (const [a, b] of points) {
    if (!finite(b)) { pen = "M"; continue; }
    d += `${pen}${r(x(a))} ${r(y(b))}`;
    pen = "L";
  }
  return d;
}

function dots(points, x, y) {
  let d = "";
  for (const [a, b] of points) if (finite(b)) d += `M${r(x(a))} ${r(y(b))}h0`;
  return d;
}

/** Closed path between `lower` and `upper`, both [[x, y], …]. */
function area(lower, upper, x, y) {
  if (lower.length === 0) return "";
  const along = (points) => points.map(([a, b]) => `${r(x(a))} ${r(y(b))}`).join("L");
  return `M${along(upper)}L${along([...lower].reverse())}Z`;
}

/** Steps of the forecast as points at the middle of their slots. */
export function slots(forecast) {
  const origin = Date.parse(forecast.origin) / 1000;
  const at = (values) => values.map((v, h) => [origin + (h + 0.5) * forecast.step_s, v])
    .filter(([, v]) => finite(v));
  return { mean: at(forecast.mean), lower: at(forecast.lower), upper: at(forecast.upper) };
}

function range(values, margin) {
  let lo = Infinity, hi = -Infinity;
  for (const v of values) if (finite(v)) { lo = Math.min(lo, v); hi = Math.max(hi, v); }
  if (lo > hi) return [0, 1];
  const room = (hi - lo) * margin || Math.abs(hi) * 0.01 || 1;
  return [lo - room, hi + room];
}

const SPARK_W = 200, SPARK_H = 40;

/** A sparkline, drawn again by `update(history)`. */
export function sparkline() {
  const element = svg("svg", { viewBox: `0 0 ${SPARK_W} ${SPARK_H}`, preserveAspectRatio: "none", class: "spark", "aria-hidden": "true" });
  const readings = svg("path", { class: "c-reading" });
  const level = svg("path", { class: "c-level" });
  element.append(readings, level);
  const update = (history) => {
    const [lo, hi] = range(history.flatMap(([, reading, l]) => [reading, l]), 0.08);
    const x = scale(history[0]?.[0] ?? 0, history.at(-1)?.[0] ?? 1, 2, SPARK_W - 2);
    const y = scale(lo, hi, SPARK_H - 2, 2);
    put(readings, "d", dots(history, x, y));
    put(level, "d", line(history.map(([t, , l]) => [t, l]), x, y));
  };
  return { element, update };
}

/** A small fan, drawn again by `update(forecast or null)`. */
export function fan() {
  const element = svg("svg", { viewBox: `0 0 ${SPARK_W} ${SPARK_H}`, preserveAspectRatio: "none", class: "spark", "aria-hidden": "true" });
  const band = svg("path", { class: "c-band" });
  const mean = svg("path", { class: "c-forecast" });
  element.append(band, mean);
  const update = (forecast) => {
    if (!forecast) { put(band, "d", ""); put(mean, "d", ""); return; }
    const at = slots(forecast);
    const [lo, hi] = range([...at.lower, ...at.upper].map(([, v]) => v), 0.05);
    const x = scale(at.mean[0]?.[0] ?? 0, at.mean.at(-1)?.[0] ?? 1, 2, SPARK_W - 2);
    const y = scale(lo, hi, SPARK_H - 2, 2);
    put(band, "d", area(at.lower, at.upper, x, y));
    put(mean, "d", line(at.mean, x, y));
  };
  return { element, update };
}

/** The smallest round number (two digits at most) that is not below `value`. */
export function ceiling(value) {
  if (!(value > 0)) return 1;
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((m) => m * unit >= value * (1 - 1e-9)) * unit;
}

/**
 * Bars of recent batches, newest at the right: readings up, time down. `pick(index or null)` is
 * called when the pointer is over a batch. `update(batches)` draws again.
 */
export function strip(capacity, pick) {
  const UP = 62, DOWN = 34, GAP = 4, W = capacity * 8;
  const H = UP + GAP + DOWN;
  const element = svg("svg", { viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", role: "img" });
  const up = svg("path", { class: "c-bar" });
  const down = svg("path", { class: "c-bar2" });
  const cursor = svg("rect", { class: "c-cursor", y: 0, width: 8, height: H, visibility: "hidden" });
  element.append(cursor, svg("path", { class: "c-axis", d: `M0 ${UP + GAP / 2}H${W}` }), up, down);
  let count = 0, chosen = null;
  const choose = (event) => {
    const box = element.getBoundingClientRect();
    const slot = Math.floor(((event.clientX - box.left) / box.width) * capacity);
    const index = slot - (capacity - count);
    chosen = index >= 0 && index < count ? index : null;
    put(cursor, "visibility", chosen === null ? "hidden" : "visible");
    put(cursor, "x", slot * 8);
    pick(chosen);
  };
  const leave = () => { chosen = null; put(cursor, "visibility", "hidden"); pick(null); };
  element.addEventListener("pointermove", choose);
  element.addEventListener("pointerdown", choose);
  element.addEventListener("pointerleave", leave);
  const update = (batches) => {
    count = batches.length;
    const most = ceiling(Math.max(...batches.map((b) => b.readings), 1));
    const longest = ceiling(Math.max(...batches.map((b) => b.duration_ms), 1));
    let a = "", b = "";
    batches.forEach((batch, i) => {
      const x = (capacity - count + i) * 8 + 1;
      const h = batch.readings ? Math.max((batch.readings / most) * UP, 1) : 0;
      const g = Math.max((Math.min(batch.duration_ms, longest) / longest) * DOWN, 1);
      a += `M${x} ${UP}h6v${-r(h)}h-6z`;
      b += `M${x} ${UP + GAP}h6v${r(g)}h-6z`;
    });
    put(up, "d", a);
    put(down, "d", b);
    put(element, "aria-label", `Last ${count} batches: readings, up to ${most}, and time to commit and step, up to ${longest} ms`);
    return { most, longest };
  };
  return { element, update };
}

const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];

/** Ticks at round local times. */
function timeTicks(lo, hi, most) {
  const step = TIME_STEPS.find((s) => (hi - lo) / s <= most) ?? 2592000;
  const offset = -new Date(lo * 1000).getTimezoneOffset() * 60;
  const ticks = [];
  for (let t = Math.ceil((lo + offset) / step) * step - offset; t <= hi; t += step) ticks.push(t);
  return { ticks, step };
}

function clock(t, step) {
  const date = new Date(t * 1000);
  const two = (n) => String(n).padStart(2, "0");
  const time = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (step < 60) return `${time}:${two(date.getSeconds())}`;
  if (step >= 86400) return `${two(date.getDate())}.${two(date.getMonth() + 1)}.`;
  return time;
}

function valueTicks(lo, hi, most) {
  const unit = 10 ** Math.floor(Math.log10((hi - lo) / most || 1));
  const step = [1, 2, 5, 10].map((m) => m * unit).find((s) => (hi - lo) / s <= most) ?? unit * 10;
  const ticks = [];
  for (let i = Math.ceil(lo / step); i * step <= hi; i += 1) ticks.push(i * step);
  return { ticks, decimals: Math.min(Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), 9) };
}

/**
 * The large chart of one series: what was read, at left; what is expected, at right. Minutes and
 * hours have each their own time axis; the value axis is shared, so that the two can be compared.
 * `width`: CSS pixels. `band`: half width of the level's interval now, or null. `now`: Unix seconds.
 */
export function chart(row, width, band, now) {
  const H = 268, TOP = 26, BOTTOM = 24, LEFT = 58, GUTTER = 22, RIGHT = 8;
  const past = row.history;
  const at = row.forecast ? slots(row.forecast) : null;
  const root = svg("svg", { viewBox: `0 0 ${width} ${H}`, width, height: H, class: "chart", role: "img" });
  const inner = width - LEFT - RIGHT;
  const pastW = at ? Math.round((inner - GUTTER) * 0.5) : inner;
  const levels = past.map(([t, , l]) => [t, l]);
  const last = levels.at(-1)?.[1];
  const values = [...past.flatMap(([, v, l]) => [v, l]), ...(at ? [...at.lower, ...at.upper].map(([, v]) => v) : [])];
  if (finite(last) && finite(band)) values.push(last - band, last + band);
  const [lo, hi] = range(values, 0.06);
  const y = scale(lo, hi, H - BOTTOM, TOP);

  const panel = (x0, w, from, to, title) => {
    const x = scale(from, to, x0 + 4, x0 + w - 4);
    root.append(svg("rect", { x: x0, y: TOP - 4, width: w, height: H - TOP - BOTTOM + 8, class: "c-panel", rx: 4 }));
    const { ticks, decimals } = valueTicks(lo, hi, 5);
    for (const tick of ticks) {
      root.append(svg("path", { class: "c-grid", d: `M${x0} ${r(y(tick))}h${w}` }));
      if (x0 === LEFT) root.append(svg("text", { x: LEFT - 8, y: r(y(tick)) + 4, class: "c-text end" }, tick.toFixed(decimals)));
    }
    const times = timeTicks(from, to, Math.max(4, Math.floor(w / 76)));
    let shown = -Infinity;
    for (const tick of times.ticks) {
      if (x(tick) < x0 + 14 || x(tick) > x0 + w - 14) continue;
      if (x(tick) - shown < 40) continue;
      shown = x(tick);
      root.append(svg("text", { x: r(x(tick)), y: H - 6, class: "c-text middle" }, clock(tick, times.step)));
    }
    root.append(svg("text", { x: x0, y: 13, class: "c-title" }, title));
    return x;
  };

  if (past.length > 0) {
    const x = panel(LEFT, pastW, past[0][0], past.at(-1)[0], width < 560 ? "Recent" : "Recent readings and level");
    if (finite(last) && finite(band)) {
      const end = LEFT + pastW - 4;
      root.append(svg("path", { class: "c-bracket", d: `M${end - 4} ${r(y(last + band))}h8M${end} ${r(y(last + band))}V${r(y(last - band))}M${end - 4} ${r(y(last - band))}h8` }));
    }
    root.append(svg("path", { class: "c-reading big", d: dots(past, x, y) }));
    root.append(svg("path", { class: "c-level big", d: line(levels, x, y) }));
  }
  if (at && at.mean.length > 0) {
    const origin = Date.parse(row.forecast.origin) / 1000;
    const x0 = past.length > 0 ? LEFT + pastW + GUTTER : LEFT;
    const w = width - RIGHT - x0;
    const hours = (row.forecast.step_s * row.forecast.mean.length) / 3600;
    const title = hours >= 1 ? `Next ${Math.round(hours)} h` : `Next ${Math.round(hours * 60)} min`;
    const x = panel(x0, w, origin, origin + row.forecast.step_s * row.forecast.mean.length, title);
    root.append(svg("path", { class: "c-band", d: area(at.lower, at.upper, x, y) }));
    if (now > origin && x(now) < x0 + w) {
      root.append(svg("path", { class: "c-now", d: `M${r(x(now))} ${TOP - 4}V${H - BOTTOM + 4}` }));
      root.append(svg("text", { x: r(x(now)) + 5, y: H - BOTTOM - 2, class: "c-text" }, "now"));
    }
    root.append(svg("path", { class: "c-forecast big", d: line(at.mean, x, y) }));
  }
  return root;
}
