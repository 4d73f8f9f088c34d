"use strict";

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600]; // seconds between the labels of the axis

const seconds = (time) => `${time.toFixed(1)}`;

// Return what is known about a pair: its timeline, words, and the other queries of its video
function pairNodes(table, row, { go, only }) {
  const video = table.videos[table.video[row]], others = [];
  for (let other = 0; other < table.size; other++) if (table.video[other] === table.video[row]) others.push(other);
  others.sort((one, other) => table.windows[one][0] - table.windows[other][0] || one - other);
  const heading = make("h2", { textContent: `All queries of this video (${others.length})` });
  return [
    make("p", { className: "hint", textContent: `${table.qid[row]}; video ${video}, ${seconds(table.duration[row])}\u00a0s` }),
    timeline(table, row),
    ...attentionNotes(table, row),
    ...words(table, row),
    make("div", { className: "line" }, heading, make("button", { textContent: "Filter", ariaLabel: "Show only pairs of this video", onclick: () => only(video) })),
    make("ul", { className: "queries" }, ...others.map((other) => queryItem(table, other, other === row, go))),
  ];
}

function timeline(table, row) {
  const duration = table.duration[row], made = make("div", { className: "timeline" });
  made.append(lane("", "true", duration, [table.windows[row]], "annotated", timesText(table.windows[row])));
  table.runs.forEach((run, number) => {
    const spans = predictedOf(run, row), curve = weightsOf(table, number, "attention", row);
    const text = spans.length ? `${timesText(spans[0])}, IoU ${run.iou[row].toFixed(2)}` : "no prediction";
    made.append(lane(letter(number), `run-${number}`, duration, spans, run.name, text, curve));
  });
  const step = STEPS.find((each) => duration / each <= 8) || duration / 8, axis = make("div", { className: "axis", ariaHidden: "true" });
  for (let time = 0; time <= 0.95 * duration; time += step) {
    const tick = make("span", { textContent: time ? `${+time.toFixed(1)}` : "0 s" });
    tick.style.left = `${100 * time / duration}%`;
    axis.append(tick);
  }
  made.append(axis);
  return made;
}

// Return the ranked predictions of a pair, each as [start, end]
function predictedOf(run, row) {
  const spans = [];
  for (let at = 2 * run.spans * row; at < 2 * run.spans * (row + 1); at += 2) {
    if (run.predicted[at] !== null) spans.push([run.predicted[at], run.predicted[at + 1]]);
  }
  return spans;
}

function timesText(times) {
  const spans = [];
  for (let at = 0; at < times.length; at += 2) spans.push(`${seconds(times[at])} \u2013 ${seconds(times[at + 1])} s`);
  return spans.join(", ");
}

function lane(mark, kind, duration, spans, name, text, curve) {
  const track = make("div", { className: "track", role: "img", ariaLabel: `${name}: ${text}, of ${seconds(duration)} s` });
  if (curve) track.append(curveNode(curve));
  track.append(...bars(duration, spans));
  const line = make("p", { className: "line" }, make("span", { className: "name", textContent: name, title: name }), make("span", { textContent: text }));
  return make("div", { className: `lane ${kind}` }, make("b", { textContent: mark }), make("div", {}, line, track));
}

// Return a bar for each window, those of later ranks pale
function bars(duration, spans) {
  const made = [];
  spans.forEach((times, rank) => {
    for (let at = 0; at < times.length; at += 2) {
      const ends = [times[at], times[at + 1]].map((time) => 100 * Math.min(1, Math.max(0, time / duration)));
      const [start, end] = ends.sort((one, other) => one - other), bar = make("i", { className: rank ? "bar later" : "bar" });
      bar.style.left = `min(${start}%, 100% - 3px)`;
      bar.style.width = `${end - start}%`;
      made.unshift(bar);
    }
  });
  return made;
}

function curveNode(weights) {
  const svg = draw("svg", { viewBox: "0 0 100 255", preserveAspectRatio: "none", "aria-hidden": "true" });
  const steps = Array.from(weights, (weight, index) => `V${255 - weight}H${100 * (index + 1) / weights.length}`);
  svg.append(draw("path", { class: "curve", d: `M0,255${steps.join("")}V255Z` }));
  return svg;
}

// Say why runs have no attention here
function attentionNotes(table, row) {
  const reasons = new Map();
  table.runs.forEach((run, number) => {
    if (table.bytes && weightsOf(table, number, "attention", row)) return;
    const reason = run.without || (table.bytes ? "not among the chosen pairs" : "is being opened");
    reasons.set(reason, [...(reasons.get(reason) || []), letter(number)]);
  });
  const several = table.runs.length > 1;
  return [...reasons].map(([reason, runs]) => make("p", { className: "hint", textContent: `No attention${several ? ` of ${runs.join(", ")}` : ""}: ${reason}.` }));
}

// Show the words of the query, darker where a run weighs them more
function words(table, row) {
  const tokens = (table.tokens[row] || "").split("\n"), made = [];
  table.runs.forEach((run, number) => {
    const weights = weightsOf(table, number, "words", row);
    if (!weights) return;
    const most = Math.max(...weights) || 1;
    const line = make("p", { className: `words run-${number}`, ariaLabel: `Weights of words, ${run.name}` }, make("b", { textContent: letter(number) }));
    Array.from(weights).forEach((weight, place) => {
      const word = make("span", { className: "word" }, make("span", { textContent: tokens[place] ?? "" }), " ", make("small", { textContent: `${Math.round(weight / 2.55)} %` }));
      word.style.setProperty("--weight", weight / most);
      line.append(" ", word);
    });
    made.push(line);
  });
  return made.length ? [make("h2", { textContent: "Weights of words" }), ...made] : [];
}

function queryItem(table, row, current, go) {
  const duration = table.duration[row], track = make("span", { className: "lanes", ariaHidden: "true" });
  const small = (kind, spans) => make("span", { className: `track ${kind}` }, ...bars(duration, spans));
  track.append(small("true", [table.windows[row]]), ...table.runs.map((run, number) => small(`run-${number}`, predictedOf(run, row).slice(0, 1))));
  const ious = table.runs.map((run) => run.iou[row].toFixed(2)).join(" ");
  const text = make("span", { className: "line" }, make("span", { textContent: table.query[row] }), make("span", { className: "number", textContent: ious }));
  return make("li", {}, make("button", { className: current ? "on" : "", ariaCurrent: current ? "true" : null, onclick: () => go(row) }, text, track));
}
