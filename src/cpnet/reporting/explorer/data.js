"use strict";

// Text of others (queries, ids, names of runs) is only ever set as textContent.
const $ = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

function draw(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// What pairs are sorted and filtered by. `step` is the width of a histogram's bars, or 0 for one that fits the values.
const FIELDS = {
  iou: { label: "IoU", digits: 2, low: 0, high: 1, step: 0.05 },
  gain: { label: "difference", digits: 2, low: -1, high: 1, step: 0.1 },
  length: { label: "length (s)", digits: 1, low: 0, step: 0 },
  start: { label: "start (%)", digits: 0, low: 0, high: 100, step: 5 },
  words: { label: "words", digits: 0, low: 0, step: 0 },
};
const fieldsOf = (table) => Object.keys(FIELDS).filter((field) => field !== "gain" || table.runs.length > 1);
const letter = (run) => String.fromCharCode(65 + run);

async function unpack(id) {
  const text = atob($(id).textContent), bytes = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) bytes[index] = text.charCodeAt(index);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

// Return the columns of a table, with what follows from them: length, start and words of each pair
async function openTable(number) {
  const table = JSON.parse(new TextDecoder().decode(await unpack(`columns-${number}`)));
  const { qid, query, duration, windows, runs } = table;
  table.number = number;
  table.size = qid.length;
  table.gains = {};
  table.attended = attended(table);
  for (const run of runs) run.iou = Float64Array.from(run.iou);
  table.length = Float64Array.from(windows, (times) => times.reduce((sum, time, at) => at % 2 ? sum + time : sum - time, 0));
  table.start = Float64Array.from(windows, (times, row) => 100 * times[0] / duration[row]);
  table.words = Float64Array.from(query, (text) => text.split(" ").length);
  table.text = query.map((text) => text.toLowerCase());
  table.video_text = table.videos.map((text) => text.toLowerCase());
  return table;
}

// Return the values of a field; a and b are the runs that are compared
function valuesOf(table, field, a, b) {
  if (field === "iou") return table.runs[a].iou;
  if (field === "gain") return (table.gains[`${a}-${b}`] ||= table.runs[a].iou.map((iou, row) => iou - table.runs[b].iou[row]));
  return table[field]; // length, start, words
}

// Return the places of all pairs, sorted; equal ones stay in order of qid
function sorted(table, field, down, a, b) {
  const order = new Uint32Array(table.size), sign = down ? -1 : 1;
  const values = field === "video" ? (table.ranks ||= videoRanks(table)) : valuesOf(table, field, a, b);
  for (let row = 0; row < table.size; row++) order[row] = row;
  return order.sort((one, other) => sign * (values[one] - values[other]) || one - other);
}

function videoRanks(table) {
  const ranks = new Uint32Array(table.videos.length);
  const names = table.videos.map((name, video) => [name, video]).sort(([one], [other]) => (one < other ? -1 : one > other));
  names.forEach(([, video], rank) => { ranks[video] = rank; });
  return table.video.map((video) => ranks[video]);
}

// Return those of the places that pass all filters: words of the query, text of the video, and [values, low, high]
function filter(table, order, { search, video, ranges }) {
  const { size, text } = table, part = video.trim().toLowerCase(), failed = new Uint8Array(size);
  for (const [values, low, high] of ranges) {
    for (let row = 0; row < size; row++) failed[row] |= !(values[row] >= low && values[row] <= high);
  }
  if (part) {
    const videos = table.video_text.map((each) => each.includes(part));
    for (let row = 0; row < size; row++) failed[row] |= !videos[table.video[row]];
  }
  for (const needle of search.toLowerCase().split(/\s+/).filter(Boolean)) {
    for (let row = 0; row < size; row++) if (!failed[row]) failed[row] = !text[row].includes(needle);
  }
  return order.filter((row) => !failed[row]);
}

// Return 1 for each pair of which a run has attention, else 0
function attended(table) {
  const found = new Uint8Array(table.size);
  for (const { attention } of table.runs) for (const row of attention?.pairs || []) found[row] = 1;
  return found;
}

// Return the weights of a pair, numbers from 0 to 255, or null. `kind` is "attention" or "words"
function weightsOf(table, run, kind, row) {
  const index = table.runs[run][kind], bytes = table.bytes;
  if (!index || !bytes) return null;
  index.ends ||= endsOf(index, table.size);
  const [start, end] = index.ends.subarray(2 * row);
  return end > start ? bytes.subarray(start, end) : null;
}

// Return where the weights of each pair start and end
function endsOf({ at, pairs, counts }, size) {
  const ends = new Uint32Array(2 * size);
  pairs.forEach((row, index) => { ends.set([at, at += counts[index]], 2 * row); });
  return ends;
}
