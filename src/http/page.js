// The page: asks for the status each second and for the rows after each batch, and changes only
// what changed. Names, units and notices come from payloads: textContent only.

import { ceiling, chart, fan, put, sparkline, strip } from "./chart.js";

const $ = (id) => document.getElementById(id);
const PAGE = 25;
const RECENT = 120;
const Z95 = 1.959964;
const MISSING = "–";

const DROPS = {
  malformed: "payload not in its format",
  oversize: "payload too large",
  topic: "topic fits no subscription",
  retained: "retained, replayed on subscribe",
  not_finite: "not a number",
  missing: "value that means no reading",
  bad_time: "unreadable time",
  too_many: "too many in one message",
  series_limit: "new series, table full",
  invalid: "outside the valid range",
  future: "ahead of the clock",
  duplicate: "sent twice",
};

// Words and numbers

const text = (element, value) => { if (element.textContent !== value) element.textContent = value; };
const el = (name, className, value) => {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (value !== undefined) element.textContent = value;
  return element;
};
const finite = (x) => typeof x === "number" && Number.isFinite(x);
const group = (n) => Math.round(n).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");
const signed = (s) => s.replace("-", "\u2212");

function fixed(x, decimals) {
  if (!finite(x)) return MISSING;
  if (x !== 0 && (Math.abs(x) >= 1e9 || Math.abs(x) < 10 ** -(decimals + 3))) return signed(x.toExponential(2));
  const [whole, part] = x.toFixed(decimals).split(".");
  const grouped = Math.abs(x) >= 10000 ? whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") : whole;
  return signed(part === undefined ? grouped : `${grouped}.${part}`);
}

function short(x) {
  if (!finite(x)) return MISSING;
  if (x >= 100) return group(x);
  return x.toFixed(x >= 10 ? 1 : 2);
}

function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) { n /= 1024; i += 1; }
  return `${i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

function span(s) {
  if (!finite(s)) return MISSING;
  s = Math.max(0, s);
  if (s < 100) return `${Math.round(s)} s`;
  if (s < 6000) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
}

const seconds = (stamp) => Date.parse(stamp) / 1000;
const clock = (stamp) => new Date(stamp).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

/** Decimals that show two digits of the level's uncertainty; kept for a series until far off. */
const decimalsKept = new Map();
function decimals(key, row) {
  const sd = finite(row.variance) && row.variance > 0 ? Math.sqrt(row.variance) : Math.abs(row.reading ?? 0) / 1000;
  const wanted = sd > 0 ? Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(sd)))) : 2;
  const kept = decimalsKept.get(key);
  if (kept === undefined || Math.abs(kept - wanted) > 1) {
    if (decimalsKept.size > 2000) decimalsKept.clear();
    decimalsKept.set(key, wanted);
    return wanted;
  }
  return kept;
}

// Asking

async function ask(path) {
  // Without a user name and password that may stand in the page's own URL: fetch takes none.
  const url = new URL(path, location.origin + location.pathname);
  const answer = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(5000) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

// Status

function badge(id, state, words) {
  const element = $(id);
  put(element, "data-state", state);
  text(element, words);
}

let batches = [];
let picked = null;
const bars = strip(RECENT, (index) => { picked = index; describeBatch(); });

function describeBatch() {
  const batch = picked === null ? batches.at(-1) : batches[picked];
  const fields = batch ? [
    ["batch", group(batch.number), ""],
    ["closed", clock(batch.closed), ""],
    ["readings", group(batch.readings), ""],
    ["messages", group(batch.messages), ""],
    ["took", short(batch.duration_ms), "ms"],
    ["oldest waited", short(batch.delay_ms / 1000), "s"],
    ["frame", bytes(batch.journal_bytes), ""],
    ["records out", group(batch.records), ""],
  ] : [];
  const note = $("batch-note");
  for (const [name, value, unit] of fields) {
    const field = keyed(note, name, () => {
      const item = el("span", "field", `${name} `);
      item.append(el("b"));
      return item;
    });
    text(field.lastChild, unit ? `${value} ${unit}` : value);
  }
}

function quantile(sorted, p) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] : NaN;
}

function showStatus(s) {
  const title = `weir ${s.gateway}`;
  if (document.title !== title) document.title = title;
  text($("gateway"), s.gateway);
  text($("version"), `version ${s.version}`);
  text($("uptime"), `up ${span(s.uptime_s)}`);
  text($("now"), clock(s.now));
  // Ready without a broker: all readings come as lines.
  const lines = !s.mqtt_connected && s.ready && s.inputs.length > 0;
  badge("badge-broker", s.mqtt_connected || lines ? "good" : "bad",
    s.mqtt_connected ? "Broker connected" : lines ? "Lines taken" : "Broker away");
  badge("badge-clock", s.clock_trusted ? "good" : "warn", s.clock_trusted ? "Clock trusted" : "Clock not trusted");
  const stalled = s.stalled_s >= 30;
  badge("badge-ready", stalled ? "bad" : s.ready ? "good" : "warn",
    stalled ? `Stalled for ${span(s.stalled_s)}` : s.ready ? "Taking readings" : `Not ready: ${s.not_ready_reason ?? "starting"}`);
  badge("badge-alarms", s.alarms_active ? "bad" : "good",
    s.alarms_active ? `${group(s.alarms_active)} ${s.alarms_active === 1 ? "alarm" : "alarms"}` : "No alarms");

  const notices = $("notices");
  const shown = [...s.notices, ...(s.unmade ?? [])];
  if (notices.dataset.shown !== JSON.stringify(shown)) {
    notices.dataset.shown = JSON.stringify(shown);
    notices.replaceChildren(...shown.map((notice) => el("li", "bar warn", notice)));
  }

  batches = s.recent;
  const covered = batches.length > 1 ? seconds(batches.at(-1).closed) - seconds(batches[0].closed) : 0;
  const taken = batches.slice(1).reduce((sum, b) => sum + b.readings, 0);
  text($("rate"), covered > 0 ? short(taken / covered) : MISSING);
  text($("rate-note"), `${group(s.readings_total)} committed`);
  const work = batches.map((b) => b.duration_ms).sort((a, b) => a - b);
  text($("work"), short(quantile(work, 0.5)));
  text($("work-note"), `95 % within ${short(quantile(work, 0.95))} ms`);
  const waits = batches.map((b) => b.delay_ms / 1000).sort((a, b) => a - b);
  text($("wait"), short(quantile(waits, 0.5)));
  text($("wait-note"), `at most ${short(waits.at(-1) ?? NaN)} s of late`);
  text($("held"), group(s.series));
  const limit = s.max_series ? `of at most ${group(s.max_series)}` : "";
  text($("held-note"), s.noise_misfit_series ? `noise misfit: ${group(s.noise_misfit_series)}` : limit);
  put($("held-note"), "title", s.noise_misfit_series ? `${limit}; of so many the filter's noise does not fit what they read: their details say why` : "");
  const drops = Object.entries(s.drops).filter(([, n]) => n > 0).sort((a, b) => b[1] - a[1]);
  const lost = drops.reduce((sum, [, n]) => sum + n, 0);
  text($("dropped"), group(lost));
  const share = lost / Math.max(1, lost + s.readings_total);
  text($("dropped-note"), lost ? `${(share * 100).toPrecision(2)} % of all` : "of all that came");
  text($("flash"), s.readings_total ? short((s.journal_bytes_total + s.checkpoint_bytes_total) / s.readings_total) : MISSING);
  text($("flash-note"), `journal now ${bytes(s.journal_bytes_now)}`);

  const { most, longest } = bars.update(batches);
  text(upLabel, group(most));
  text(downLabel, `${group(longest)} ms`);
  describeBatch();
  showForwards(s);
  showDrops(drops);
  text($("results"), `Results at the site: ${s.results.connected ? "connected" : "away"}, ${group(s.results.published)} published, ${group(s.results.queued)} waiting, ${group(s.results.dropped)} given up`);
  ledger([
    ["Instance", s.instance],
    ["Journal", bytes(s.journal_bytes_total)],
    ["Checkpoints", `${group(s.checkpoints_total)}, ${bytes(s.checkpoint_bytes_total)}`],
    ...s.inputs.map((i) => [`Input ${i.name}`, `${i.connections} ${i.connections === 1 ? "connection" : "connections"} at ${i.address}, ${group(i.lines)} lines`]),
    ["Reconnects", group(s.reconnects)],
    ["Redeliveries recognised", group(s.duplicates_transport)],
    ["Damaged frames", group(s.damaged_frames)],
  ]);
}

function keyed(parent, key, make) {
  let child = [...parent.children].find((c) => c.weirKey === key);
  if (!child) { child = make(); child.weirKey = key; parent.append(child); }
  return child;
}

function prune(parent, keys) {
  for (const child of [...parent.children]) if (!keys.has(child.weirKey)) child.remove();
}

function showForwards(s) {
  const body = $("forwards");
  const now = seconds(s.now);
  for (const f of s.forwards) {
    const row = keyed(body, f.name, () => {
      const tr = el("tr");
      const name = el("th");
      name.scope = "row";
      name.append(el("span", "badge small"), el("span", "fname", f.name));
      tr.append(name, ...Array.from({ length: 5 }, () => el("td", "n")));
      return tr;
    });
    const mark = row.children[0].firstChild;
    put(mark, "data-state", f.connected ? "good" : "bad");
    text(mark, f.connected ? "up" : "away");
    const cells = [
      f.outbox_records ? `${group(f.outbox_records)} records, ${bytes(f.outbox_bytes)}` : "nothing",
      f.oldest_seconds === null ? MISSING : span(f.oldest_seconds),
      f.last_success === null ? "never" : `${span(now - f.last_success)} ago`,
      group(f.acknowledged_messages),
      f.dropped_records ? `${group(f.dropped_records)} records, ${group(f.dropped_readings)} readings` : "none",
    ];
    cells.forEach((words, i) => text(row.children[i + 1], words));
  }
  prune(body, new Set(s.forwards.map((f) => f.name)));
  $("forwards-none").hidden = s.forwards.length > 0;
  body.parentElement.hidden = s.forwards.length === 0;
}

function showDrops(drops) {
  const list = $("drops");
  const top = ceiling(drops[0]?.[1] ?? 1);
  for (const [reason, n] of drops) {
    const item = keyed(list, reason, () => {
      const li = el("li");
      const bar = el("span", "share");
      bar.append(el("span"));
      li.append(el("b", "", reason.replaceAll("_", " ")), el("span", "why", DROPS[reason] ?? ""), bar, el("span", "count"));
      return li;
    });
    item.children[2].firstChild.style.inlineSize = `${(n / top) * 100}%`;
    text(item.children[3], group(n));
  }
  prune(list, new Set(drops.map(([reason]) => reason)));
  $("drops-none").hidden = drops.length > 0;
}

const BAD = { critical: "bad", warning: "warn", info: "info" };

/** When an alarm began: its age, and by the clock. */
const since = (stamp) => `${span(gatewayNow - seconds(stamp))} ago, ${new Date(stamp).toLocaleString()}`;

function showAlarms(page) {
  shownAlarms = page;
  const list = $("alarms-list");
  const keys = page.alarms.map((a) => JSON.stringify([a.device ?? null, a.metric ?? null, a.alarm, a.since]));
  let place = list.firstChild;
  page.alarms.forEach((a, i) => {
    const item = keyed(list, keys[i], () => {
      const li = el("li");
      const mark = el("span", "badge small", a.severity);
      mark.dataset.state = BAD[a.severity] ?? "warn";
      const where = el("span", "where");
      if (a.device === undefined) where.append(el("span", "dev", "all input"));
      else where.append(el("span", "dev", a.device), el("span", "met", a.metric));
      const what = el("span", "what");
      what.append(el("b", "", a.alarm), el("span", "why", a.reason));
      li.append(mark, where, what, el("small", "since"));
      return li;
    });
    if (item !== place) list.insertBefore(item, place); else place = item.nextSibling;
    text(item.lastChild, since(a.since));
  });
  prune(list, new Set(keys));
  text($("alarms-note"), page.total > page.alarms.length ? `the first ${group(page.alarms.length)} of ${group(page.total)}` : "");
  $("alarms").hidden = page.alarms.length === 0;
}

function ledger(entries) {
  const list = $("ledger");
  for (const [name, value] of entries) {
    const item = keyed(list, name, () => {
      const div = el("div");
      div.append(el("dt", "", name), el("dd"));
      return div;
    });
    text(item.lastChild, value);
  }
}

// Series

let open = named();
// A series that the address names may be on a later page: it is searched for, once.
let sought = open === null;
let after = [];
let next = null;
let total = 0;
let gatewayNow = NaN;

/** The key of the series that the address names (`#device/metric`); null: none. */
function named() {
  const parts = location.hash.slice(1).split("/");
  try {
    return parts.length === 2 ? JSON.stringify(parts.map(decodeURIComponent)) : null;
  } catch {
    return null;
  }
}

/** Of a series, as it stands in paths. */
const pathOf = (key) => JSON.parse(key).map(encodeURIComponent).join("/");

const keyOf = (row) => JSON.stringify([row.device, row.metric]);

function makeRow(row, key) {
  const tr = el("tr", "row");
  const name = el("th");
  name.scope = "row";
  const button = el("button", "device");
  button.type = "button";
  button.append(el("span", "dev", row.device), el("span", "met", row.metric));
  button.title = `${row.device} ${row.metric}`;
  button.setAttribute("aria-expanded", "false");
  name.append(button, el("span", "marks"));
  const reading = el("td", "n reading");
  reading.append(el("span", "value"), el("span", "unit"), el("small", "age"));
  const level = el("td", "n level");
  level.append(el("span", "value"), el("span", "pm"));
  const recent = el("td", "recent");
  const spark = sparkline();
  recent.append(spark.element);
  const ahead = el("td", "ahead");
  const cone = fan();
  ahead.append(cone.element, el("small", "soon"));
  const count = el("td", "n count");
  count.append(el("span", "value"), el("small", "gone"));
  tr.append(name, reading, level, recent, ahead, count);
  // Said again for the phone's layout, whose display values take a table's meaning away.
  tr.setAttribute("role", "row");
  name.setAttribute("role", "rowheader");
  for (const cell of [reading, level, recent, ahead, count]) cell.setAttribute("role", "cell");
  tr.parts = { spark, cone, button };
  tr.addEventListener("click", () => toggle(key));
  return tr;
}

function fillRow(tr, row, key) {
  const places = decimals(key, row);
  const [, reading, level, , ahead, count] = tr.children;
  text(reading.children[0], row.vector ? `${row.vector.dof} of ${row.vector.metrics.length}` : read(row, places));
  text(reading.children[1], row.vector ? "" : row.unit ?? "");
  const marks = tr.children[0].lastChild;
  for (const a of row.alarms) {
    const mark = keyed(marks, a.alarm, () => el("span", "badge mark", a.alarm));
    put(mark, "data-state", BAD[a.severity] ?? "warn");
    put(mark, "title", a.reason);
  }
  prune(marks, new Set(row.alarms.map((a) => a.alarm)));
  const age = row.time ? gatewayNow - seconds(row.time) : NaN;
  text(reading.children[2], finite(age) ? (age < -1 ? `${span(-age)} ahead` : `${span(age)} ago`) : "");
  const band = finite(row.variance) ? Z95 * Math.sqrt(Math.max(0, row.variance)) : NaN;
  text(level.children[0], fixed(row.level, places));
  text(level.children[1], finite(band) ? `± ${fixed(band, places)}` : "");
  tr.parts.spark.update(row.history);
  tr.parts.cone.update(row.forecast);
  text(ahead.lastChild, row.forecast ? soon(row, places) : row.kind === "state" || row.vector ? "" : "none yet");
  put(ahead, "data-none", row.forecast ? "no" : "yes");
  text(count.children[0], group(row.count));
  text(count.children[1], row.dropped ? `${group(row.dropped)} dropped` : "");
  put(tr.parts.button, "aria-expanded", String(key === open));
  tr.classList.toggle("open", key === open);
}

/** A reading; of what is counted or has states no more decimals than it came with. */
function read(row, places) {
  if (row.kind !== "counter" && row.kind !== "state" || !finite(row.reading)) return fixed(row.reading, places);
  return fixed(row.reading, Math.min(6, (String(row.reading).split(".")[1] ?? "").length));
}

/** The first slot that ends after now: the next thing that can be checked. */
function soon(row, places) {
  const f = row.forecast;
  const origin = seconds(f.origin);
  const passed = Math.floor((gatewayNow - origin) / f.step_s);
  const h = Math.min(f.mean.length - 1, Math.max(0, passed));
  const until = new Date((origin + (h + 1) * f.step_s) * 1000);
  const two = (n) => String(n).padStart(2, "0");
  const p = Math.max(0, places - 1);
  return `${fixed(f.lower[h], p)} to ${fixed(f.upper[h], p)} until ${two(until.getHours())}:${two(until.getMinutes())}`;
}

let detail = null;

function toggle(key) {
  open = open === key ? null : key;
  history.replaceState(null, "", open === null ? location.pathname + location.search : `#${pathOf(open)}`);
  if (detail) { detail.remove(); detail = null; }
  refreshRows();
}

function fact(list, name, value, note) {
  const item = keyed(list, name, () => {
    const div = el("div");
    div.append(el("dt", "", name), el("dd"), el("small"));
    return div;
  });
  text(item.children[1], value);
  text(item.children[2], note ?? "");
}

function showDetail(tr, row, key) {
  if (!detail || detail.weirKey !== `${key} detail`) {
    detail?.remove();
    detail = el("tr", "detail");
    detail.weirKey = `${key} detail`;
    const cell = el("td");
    cell.colSpan = 6;
    cell.append(el("div", "plot"), el("dl", "facts"));
    detail.append(cell);
  }
  if (tr.nextSibling !== detail) tr.after(detail);
  const places = decimals(key, row);
  const [plot, facts] = detail.firstChild.children;
  plot.hidden = Boolean(row.vector);
  if (row.vector) return showVector(facts, row);
  const band = finite(row.variance) ? Z95 * Math.sqrt(Math.max(0, row.variance)) : null;
  const width = Math.max(280, Math.floor(plot.clientWidth || 900));
  const picture = chart(row, width, band, gatewayNow);
  picture.setAttribute("aria-label", `${row.device} ${row.metric}: ${row.history.length} readings with level${row.forecast ? ", and a forecast with its interval" : ""}`);
  plot.replaceChildren(picture);
  const plain = row.unit ? ` ${row.unit}` : "";
  // A counter's level and forecast are of its rate.
  const unit = row.kind === "counter" ? `${plain || " "}/s` : plain;
  fact(facts, "Last reading", `${read(row, places)}${plain}`, row.time ? new Date(row.time).toLocaleString() : "");
  fact(facts, "Kind", row.kind ?? MISSING, { settings: "as set", readings: "as its readings show", default: "until its readings show otherwise" }[row.kind_from]);
  fact(facts, "Level", `${fixed(row.level, places)}${unit}`, finite(band) ? `± ${fixed(band, places)} (95 %), ${row.model} filter` : row.model);
  if (finite(row.trend)) fact(facts, "Trend", `${row.trend > 0 ? "+" : ""}${fixed(row.trend * 3600, places)}${unit}/h`, "now");
  fact(facts, "Surprise", finite(row.nis) ? row.nis.toFixed(2) : MISSING, "1 on average, large is odd");
  showNoise(facts, row);
  fact(facts, "Readings", group(row.count), row.dropped ? `${group(row.dropped)} dropped` : "none dropped");
  for (const item of [...facts.children]) {
    const ended = item.weirKey.startsWith("Alarm ") && !row.alarms.some((a) => item.weirKey === `Alarm ${a.alarm}`);
    if (ended) item.remove();
  }
  for (const a of row.alarms) fact(facts, `Alarm ${a.alarm}`, a.reason, since(a.since));
  const f = row.forecast;
  if (f) {
    fact(facts, "Forecast", f.model, `${f.mean.length} slots of ${span(f.step_s)}`);
    fact(facts, "Coverage", finite(f.coverage) ? `${(f.coverage * 100).toFixed(1)} %` : "not known yet", `of slots inside the ${(f.nominal * 100).toFixed(0)} % interval`);
    fact(facts, "Skill", finite(f.skill) ? signed(f.skill.toFixed(2)) : "not known yet", finite(f.skill) ? (f.skill > 0 ? "better than the naive forecast" : "no better than the naive forecast") : "against the naive forecast");
  }
}

/** Whether the filter's noise fits what it sees, and what to do where it does not. */
function showNoise(facts, row) {
  const n = row.noise;
  if (!n) return;
  const words = { fits: "fits", too_small: "too small", too_large: "too large", coloured: "out of proportion", unknown: "not known yet" };
  fact(facts, "Noise", words[n.verdict] ?? n.verdict, n.advice);
}

/** A filter over several metrics: what it makes of each, and its state. */
function showVector(facts, row) {
  const v = row.vector;
  fact(facts, "Last row", row.time ? new Date(row.time).toLocaleString() : MISSING, v.gated ? "beyond the gate: not taken" : `${v.dof} of ${v.metrics.length} expected`);
  v.metrics.forEach((m, i) => {
    const sd = finite(m.variance) ? Math.sqrt(Math.max(0, m.variance)) : NaN;
    const places = sd > 0 ? Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(sd)))) : 2;
    const unit = m.unit ? ` ${m.unit}` : "";
    const read = finite(m.reading) ? `read ${fixed(m.reading, places)}${unit}` : "not in this row";
    fact(facts, `Metric ${i + 1}: ${m.metric}`, `${fixed(m.level, places)}${unit}`, finite(sd) ? `± ${fixed(Z95 * sd, places)} (95 %), ${read}` : read);
  });
  const state = v.state?.map((x) => x.toPrecision(5)).join(", ");
  fact(facts, "State", state ?? "not all known yet", "as its matrices have it, time in seconds");
  fact(facts, "Surprise", finite(row.nis) ? row.nis.toFixed(2) : MISSING, `${v.dof} on average, large is odd`);
  showNoise(facts, row);
  fact(facts, "Readings", group(row.count), v.late ? `${group(v.late)} too late for their row` : "none too late");
}

function showRows(page, full) {
  const body = $("rows");
  const keys = page.series.map(keyOf);
  let place = body.firstChild;
  page.series.forEach((row, i) => {
    const key = keys[i];
    const tr = keyed(body, key, () => makeRow(row, key));
    if (place === detail && detail) place = place.nextSibling;
    if (tr !== place) body.insertBefore(tr, place); else place = tr.nextSibling;
    fillRow(tr, row, key);
    if (key === open) showDetail(tr, full ?? row, key);
  });
  prune(body, new Set([...keys, open !== null && keys.includes(open) ? `${open} detail` : undefined]));
  if (!detail?.isConnected) detail = null;
  next = page.next;
  $("back").disabled = after.length === 0;
  $("more").disabled = next === null;
  document.querySelector(".pages").hidden = after.length === 0 && next === null;
  const first = after.length * PAGE;
  const searching = $("search").value !== "";
  text($("range"), keys.length ? `${group(first + 1)} to ${group(first + keys.length)}${searching ? "" : ` of ${group(total)}`}` : "");
  $("rows-none").hidden = keys.length > 0;
  text($("rows-none"), searching ? "No device or metric has this in its name." : "No readings have come yet.");
}

let asked = 0;

async function refreshRows() {
  const ticket = ++asked;
  const query = new URLSearchParams({ limit: PAGE, search: $("search").value });
  if (after.length) query.set("after", after.at(-1));
  try {
    const page = await ask(`api/series?${query}`);
    let full = null;
    const found = open !== null && page.series.some((row) => keyOf(row) === open);
    if (!sought) {
      sought = true;
      if (!found) {
        $("search").value = JSON.parse(open)[0];
        return refreshRows();
      }
    }
    if (found) {
      // A name of dots cannot be written in a path; the row of the list does then.
      full = await ask(`api/series/${pathOf(open)}`).catch(() => null);
      if (full && keyOf(full) !== open) full = null;
    }
    if (ticket === asked) { showRows(page, full); return true; }
  } catch {
    // The pipeline was busy: these rows stay, the next turn asks again.
  }
  return false;
}

// The turn

let shownBatch = null;
let lastHeard = null;
const NONE = { alarms: [], total: 0 };
let shownAlarms = NONE;
let turning = false;

async function turn() {
  if (turning || document.hidden) return;
  turning = true;
  try {
    const s = await ask("api/status");
    lastHeard = new Date();
    $("lost").hidden = true;
    document.body.classList.remove("stale");
    gatewayNow = seconds(s.now);
    total = s.series;
    showStatus(s);
    if (s.alarms_active > 0 || !$("alarms").hidden) {
      // Busy for a moment: the list stays as it is.
      showAlarms(s.alarms_active > 0 ? await ask("api/alarms?limit=20").catch(() => shownAlarms) : NONE);
    }
    const batch = s.batch?.number ?? 0;
    if (batch !== shownBatch && await refreshRows()) shownBatch = batch;
  } catch {
    document.body.classList.add("stale");
    $("lost").hidden = false;
    text($("lost"), lastHeard
      ? `No answer from weir since ${lastHeard.toLocaleTimeString()}. What you see is from then.`
      : "No answer from weir yet.");
  } finally {
    turning = false;
  }
}

const upLabel = el("span", "max");
const downLabel = el("span", "max2");
$("strip").append(el("span", "what", "readings"), el("span", "what2", "time"), upLabel, downLabel, bars.element);

let typing = 0;
$("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => { after = []; refreshRows(); }, 150);
});
$("back").addEventListener("click", () => { after.pop(); refreshRows(); });
$("more").addEventListener("click", () => { if (next !== null) { after.push(next); refreshRows(); } });
document.addEventListener("visibilitychange", turn);
addEventListener("hashchange", () => {
  open = named();
  sought = open === null;
  refreshRows();
});
setInterval(turn, 1000);
turn();
