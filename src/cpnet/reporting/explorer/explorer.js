"use strict";

const OVERSCAN = 4; // rows beyond the visible ones
const PRINTED = 100; // rows on paper
const INITIAL = { page: "tables", table: 0, a: 0, b: 1, sort: "iou", down: false, search: "", video: "", pair: -1 };

let table = null; // see openTable
let view = { ...INITIAL, ranges: {} }; // what the address keeps
let order = new Uint32Array(), rows = order; // places of all pairs as sorted, and of the matching ones
let histograms = {};
let pool = []; // nodes of the list's rows
let saving = 0; // timer

// The address: #pairs&sort=-gain&search=door&iou=0.1~0.5&pair=QID

function readAddress() {
  const [page, ...rest] = location.hash.slice(1).split("&"), given = new URLSearchParams(rest.join("&"));
  const whole = (name, most) => { const number = Number(given.get(name)); return Number.isInteger(number) && number >= 0 && number <= most ? number : null; };
  const runs = table.runs.length, sort = (given.get("sort") || "").replace(/^-/, "");
  view = { ...INITIAL, table: table.number, ranges: {}, page: page === "pairs" ? "pairs" : "tables" };
  view.a = (given.has("a") && whole("a", runs - 1)) || 0;
  view.b = (given.has("b") ? whole("b", runs - 1) : null) ?? Math.min(1, runs - 1);
  if (Object.hasOwn(FIELDS, sort) || sort === "video") Object.assign(view, { sort, down: given.get("sort").startsWith("-") });
  for (const name of ["search", "video"]) view[name] = given.get(name) || "";
  for (const field of Object.keys(FIELDS)) {
    const ends = (given.get(field) || "~").split("~"), [low, high] = [ends[0] || "-Infinity", ends[1] || "Infinity"].map(Number);
    if (low <= high && (low > -Infinity || high < Infinity)) view.ranges[field] = [low, high];
  }
  view.pair = given.has("pair") ? table.qid.indexOf(given.get("pair")) : -1;
}

function writeAddress() {
  const kept = new URLSearchParams();
  if (view.table) kept.set("table", view.table);
  for (const name of ["a", "b"]) if (table.runs.length > 1 && view[name] !== INITIAL[name]) kept.set(name, view[name]);
  if (view.sort !== INITIAL.sort || view.down) kept.set("sort", `${view.down ? "-" : ""}${view.sort}`);
  for (const name of ["search", "video"]) if (view[name]) kept.set(name, view[name]);
  for (const [field, ends] of Object.entries(view.ranges)) kept.set(field, ends.map((end) => (Number.isFinite(end) ? end : "")).join("~"));
  if (view.pair >= 0) kept.set("pair", table.qid[view.pair]);
  history.replaceState(null, "", `#${[view.page, kept].filter(String).join("&")}`);
}

function save() {
  clearTimeout(saving); // browsers limit how often an address changes
  saving = setTimeout(writeAddress, 200);
}

// The list

function sortRows() {
  order = sorted(table, view.sort, view.down, view.a, view.b);
  for (const [field, histogram] of Object.entries(histograms)) histogram.fit(valuesOf(table, field, view.a, view.b));
  drawHeads();
  filterRows();
}

function filterRows() {
  const ranges = Object.entries(view.ranges).map(([field, ends]) => [histograms[field].values, ...ends]);
  rows = filter(table, order, { search: view.search, video: view.video, ranges });
  $("count").textContent = `${rows.length.toLocaleString("en")} of ${table.size.toLocaleString("en")} pairs`;
  for (const [field, histogram] of Object.entries(histograms)) histogram.show(rows, view.ranges[field] || [-Infinity, Infinity]);
  $("clear").disabled = !(view.search || view.video || Object.keys(view.ranges).length);
  $("grid").ariaRowCount = rows.length + 1;
  drawRuns();
  $("scroll").scrollTop = 0;
  drawRows();
  save();
}

function drawHeads() {
  const several = table.runs.length > 1;
  const columns = [...table.runs.map((_, run) => [run === view.a ? "iou" : `run-${run}`, letter(run), table.runs[run].name])];
  if (several) columns.push(["gain", `${letter(view.a)} \u2212 ${letter(view.b)}`, "difference of IoU"]);
  columns.push(["length", "length", "of the moment in seconds"], ["start", "start", "of the moment in % of the video"], ["words", "words", "of the query"], ["video", "video", "id"]);
  $("heads").replaceChildren(...columns.map(([field, label, title]) => {
    const on = view.sort === field, button = make("button", { tabIndex: 0, textContent: label, title: `Sort by ${title}`, onclick: () => sortBy(field) });
    if (on) button.append(make("span", { ariaHidden: "true", textContent: view.down ? " \u25be" : " \u25b4" }));
    return make("div", { role: "columnheader", className: field === "words" ? "count" : field, ariaSort: on ? (view.down ? "descending" : "ascending") : "none" }, button);
  }));
  $("grid").style.setProperty("--runs", table.runs.length);
  $("grid").classList.toggle("several", several);
}

// Sort by a column, the other way if it is the sorted one already
function sortBy(field) {
  const run = /^run-(\d)$/.exec(field);
  if (run) chooseRuns(+run[1], view.b === +run[1] ? view.a : view.b);
  const name = run ? "iou" : field;
  view.down = view.sort === name && !run ? !view.down : name === "gain";
  view.sort = name;
  sortRows();
}

function chooseRuns(a, b) {
  Object.assign(view, { a, b });
  $("a").value = a;
  $("b").value = b;
}

const rowHeight = () => parseFloat(getComputedStyle($("grid")).getPropertyValue("--row"));

function drawRows(printed = false) {
  const height = rowHeight(), { scrollTop, clientHeight } = $("scroll");
  const first = printed ? 0 : Math.max(0, Math.floor(scrollTop / height) - OVERSCAN);
  const last = printed ? Math.min(rows.length, PRINTED) : Math.min(rows.length, Math.ceil((scrollTop + clientHeight) / height) + OVERSCAN);
  $("rows").style.height = `${(printed ? last : rows.length) * height}px`;
  while (pool.length < last - first) pool.push(emptyRow());
  for (let place = first; place < last; place++) fillRow(pool[place - first], rows[place], place, height);
  if ($("rows").childElementCount !== last - first) $("rows").replaceChildren(...pool.slice(0, last - first));
}

function emptyRow() {
  const cell = (className) => make("span", { role: "gridcell", className });
  const gain = table.runs.length > 1 ? [cell("gain")] : [];
  const made = make("div", { role: "row" }, cell("query"), ...table.runs.map((_, run) => cell(`share run-${run}`)), ...gain);
  made.append(...["length", "start", "count", "video"].map(cell));
  return made;
}

function fillRow(node, row, place, height) {
  const { runs } = table, cells = node.children, last = cells.length, chosen = row === view.pair;
  Object.assign(node, { id: `row-${row}`, className: chosen ? "row on" : "row", ariaSelected: `${chosen}`, ariaRowIndex: place + 2, onclick: () => choose(row) });
  node.style.top = `${place * height}px`;
  cells[0].textContent = table.query[row];
  runs.forEach(({ iou }, run) => {
    cells[run + 1].textContent = iou[row].toFixed(2);
    cells[run + 1].style.setProperty("--share", iou[row]);
  });
  if (runs.length > 1) {
    const gain = runs[view.a].iou[row] - runs[view.b].iou[row];
    cells[last - 5].textContent = `${gain > 0 ? "+" : ""}${gain.toFixed(2)}`;
    cells[last - 5].className = `gain ${gain > 0 ? "won" : gain < 0 ? "lost" : ""}`;
  }
  const texts = [table.length[row].toFixed(1), table.start[row].toFixed(0), table.words[row], table.videos[table.video[row]]];
  texts.forEach((text, index) => { cells[last - 4 + index].textContent = text; });
}

// How the runs do on the matching pairs; the best of a pair is counted unless several are

function drawRuns() {
  const { runs } = table, sums = runs.map(() => 0), hits = runs.map(() => 0), wins = runs.map(() => 0);
  for (const row of rows) {
    let best = -1, most = -1;
    for (let run = 0; run < runs.length; run++) {
      const value = runs[run].iou[row];
      sums[run] += value;
      hits[run] += value >= 0.5;
      if (Math.abs(value - most) < 1e-6) best = -1;
      else if (value > most) [best, most] = [run, value];
    }
    if (best >= 0) wins[best]++;
  }
  const share = (count) => (rows.length ? (100 * count / rows.length).toFixed(2) : "\u2013");
  $("runs").tBodies[0].replaceChildren(...runs.map(({ name }, run) => make("tr", { className: `run-${run}` },
    make("th", { scope: "row", title: name }, make("b", { textContent: letter(run) }), " ", make("span", { textContent: name })),
    ...[share(sums[run]), share(hits[run]), runs.length > 1 ? wins[run] : "\u2013"].map((text) => make("td", { textContent: text })))));
}

// The chosen pair

function choose(row, { scroll = false } = {}) {
  const previous = view.pair;
  view.pair = row;
  drawPair();
  if (scroll) show(rows.indexOf(row));
  for (const each of [previous, row]) {
    const node = $(`row-${each}`);
    node?.classList.toggle("on", each === row);
    if (node) node.ariaSelected = `${each === row}`;
  }
  if ($(`row-${row}`)) $("grid").setAttribute("aria-activedescendant", `row-${row}`);
  else $("grid").removeAttribute("aria-activedescendant");
  save();
}

async function drawPair() {
  const mine = table;
  $("pair").hidden = view.pair < 0;
  if (view.pair < 0) return;
  const show = () => $("pair").replaceChildren(buttons(), ...pairNodes(table, view.pair, { go: (row) => choose(row, { scroll: true }), only }));
  show();
  if (mine.bytes) return;
  mine.bytes = new Uint8Array(await unpack(`attention-${mine.number}`)); // large, so only once it is wanted
  if (mine === table && view.pair >= 0) show();
}

function buttons() {
  const button = (text, label, onclick) => make("button", { textContent: text, ariaLabel: label, onclick });
  return make("div", { className: "buttons" }, button("\u2039", "Previous pair", () => step(-1)), button("\u203a", "Next pair", () => step(1)), button("\u00d7", "Close the pair", () => choose(-1)));
}

function step(by) {
  if (!rows.length) return;
  const place = rows.indexOf(view.pair);
  choose(rows[place < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, place + by))], { scroll: true });
}

function show(place) {
  if (place < 0) return;
  const height = rowHeight(), scroll = $("scroll"), top = place * height;
  if (top < scroll.scrollTop) scroll.scrollTop = top;
  else if (top + height > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = top + height - scroll.clientHeight;
  drawRows();
}

function only(video) {
  view.video = $("video").value = video;
  filterRows();
}

// Start

function build() {
  histograms = {};
  pool = [];
  for (const field of Object.keys(FIELDS).filter((each) => each !== "gain" || table.runs.length > 1)) {
    histograms[field] = new Histogram(field, (low, high) => {
      view.ranges[field] = [low, high];
      if (low === -Infinity && high === Infinity) delete view.ranges[field];
      filterRows();
    });
  }
  $("histograms").replaceChildren(...Object.values(histograms).map(({ node }) => node));
  const options = () => table.runs.map(({ name }, run) => make("option", { value: run, textContent: `${letter(run)}: ${name}` }));
  for (const name of ["a", "b"]) $(name).replaceChildren(...options());
  for (const node of [$("a").parentNode, $("versus")]) node.hidden = table.runs.length < 2;
  $("table").value = table.number;
  $("title").textContent = table.title;
  $("note").textContent = table.note;
}

function apply() {
  chooseRuns(view.a, view.b);
  for (const name of ["search", "video"]) $(name).value = view[name];
  turn(view.page);
  sortRows();
  choose(view.pair, { scroll: true });
}

function turn(page) {
  view.page = page;
  for (const each of ["tables", "pairs"]) {
    $(each).hidden = each !== page;
    $(`to-${each}`).ariaPressed = `${each === page}`;
  }
  if (table) drawRows();
  if (table) save();
}

function askedTable() {
  const number = Number(new URLSearchParams(location.hash.slice(1)).get("table"));
  return number in [...$("table").options] ? number : 0;
}

async function open(number) {
  if (table?.number !== number) {
    table = await openTable(number);
    build();
  }
  readAddress();
  apply();
}

const listed = document.querySelectorAll("[id^=columns-]").length;
$("table").replaceChildren(...Array.from({ length: listed }, (_, number) => make("option", { value: number, textContent: `table ${number + 1}` })));
$("table").hidden = listed < 2;
$("table").onchange = () => { history.replaceState(null, "", "#pairs"); open(+$("table").value).catch(complain); };
for (const page of ["tables", "pairs"]) $(`to-${page}`).onclick = () => turn(page);
for (const name of ["search", "video"]) $(name).oninput = () => { view[name] = $(name).value; filterRows(); };
for (const name of ["a", "b"]) $(name).onchange = () => { view[name] = +$(name).value; sortRows(); };
$("filters").onsubmit = (event) => event.preventDefault();
$("clear").onclick = () => {
  Object.assign(view, { search: "", video: "", ranges: {} });
  for (const name of ["search", "video"]) $(name).value = "";
  filterRows();
};
$("scroll").onscroll = () => drawRows();
addEventListener("resize", () => { if (table) drawRows(); });
addEventListener("beforeprint", () => { if (table) drawRows(true); });
addEventListener("afterprint", () => { if (table) drawRows(); });
addEventListener("hashchange", () => open(askedTable()).catch(complain));
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !table || view.page !== "pairs") return;
  const typing = /^(INPUT|SELECT)$/.test(event.target.tagName), keys = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 };
  if (event.key === "Escape") {
    if (typing) event.target.blur();
    else choose(-1);
  } else if (!typing && event.key === "/") $("search").focus();
  else if (!typing && event.key in keys && (event.key.length === 1 || $("grid").contains(event.target))) step(keys[event.key]);
  else return;
  event.preventDefault();
});

function complain(error) {
  $("error").textContent = `The pairs cannot be shown: ${error.message}`;
}

open(askedTable()).then(() => { $("to-pairs").disabled = false; }, complain);
