"use strict";

const OVERSCAN = 4; // rows beyond the visible ones
const PRINTED = 100; // rows on paper, and on the highest screen

let table = null; // see openTable
let view = { ...INITIAL, ranges: {} }; // what the address keeps
let order = new Uint32Array(), rows = order; // places of all pairs as sorted, and of the matching ones
let histograms = {};
let pool = []; // nodes of the list's rows
let saving = 0; // timer

function save() {
  clearTimeout(saving); // browsers limit how often an address changes
  saving = setTimeout(() => writeAddress(table, view), 200);
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
  if (view.attended) ranges.push([table.attended, 1, 1]);
  rows = filter(table, order, { search: view.search, video: view.video, ranges });
  $("count").textContent = `${rows.length.toLocaleString("en")} of ${table.size.toLocaleString("en")} pairs`;
  for (const [field, histogram] of Object.entries(histograms)) histogram.show(rows, view.ranges[field] || [-Infinity, Infinity]);
  $("clear").disabled = !(view.search || view.video || view.attended || Object.keys(view.ranges).length);
  $("grid").ariaRowCount = rows.length + 1;
  drawRuns();
  $("scroll").scrollTop = 0;
  drawRows();
  save();
}

function drawHeads() {
  const several = table.runs.length > 1;
  const mark = (run) => make("b", { className: `run-${run}`, textContent: letter(run) });
  const columns = table.runs.map(({ name }, run) => [run === view.a ? "iou" : `run-${run}`, mark(run), name]);
  if (several) columns.push(["gain", `${letter(view.a)} \u2212 ${letter(view.b)}`, "difference of IoU"]);
  columns.push(["length", "length", "of the moment in seconds"], ["start", "start", "of the moment in % of the video"], ["words", "words", "of the query"], ["video", "video", "id"]);
  const query = make("div", { role: "columnheader", className: "unseen", textContent: "query" });
  $("heads").replaceChildren(query, ...columns.map(([field, label, title]) => {
    const on = view.sort === field, button = make("button", { title: `Sort by ${title}`, onclick: () => sortBy(field) }, label);
    if (on) button.append(make("span", { ariaHidden: "true", textContent: view.down ? " \u25be" : " \u25b4" }));
    return make("div", { role: "columnheader", className: field === "words" ? "count" : field, ariaSort: on ? (view.down ? "descending" : "ascending") : "none" }, button);
  }));
  $("grid").style.setProperty("--runs", table.runs.length);
  $("grid").classList.toggle("several", several);
  $("grid").classList.toggle("many", table.runs.length > 4);
}

// Sort by a column, the other way if it is the sorted one already
function sortBy(field) {
  const run = /^run-(\d)$/.exec(field);
  if (run) chooseRuns(+run[1], view.b === +run[1] ? view.a : view.b);
  const name = run ? "iou" : field;
  view.down = view.sort === name && !run ? !view.down : name === "gain";
  view.sort = name;
  sortRows();
  document.querySelector("#heads [aria-sort$=cending] button").focus(); // the old one is gone
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
  const seen = printed ? PRINTED : Math.ceil((scrollTop + clientHeight) / height) + OVERSCAN;
  const last = Math.min(rows.length, first + PRINTED, seen);
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
  Object.assign(node, { id: `row-${row}`, className: chosen ? "row on" : "row", ariaSelected: `${chosen}`, ariaRowIndex: place + 2, onclick: () => choose(row, { reveal: true }) });
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

function choose(row, { scroll = false, reveal = false } = {}) {
  const previous = view.pair;
  view.pair = row;
  drawPair();
  if (scroll) show(rows.indexOf(row));
  if (reveal && matchMedia("(max-width: 860px)").matches) $("pair").scrollIntoView({ block: "start" }); // it is below the list
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
  const go = (row) => { choose(row, { scroll: true }); document.querySelector(".queries .on").focus(); };
  const show = () => $("about").replaceChildren(...pairNodes(table, view.pair, { go, only }));
  $("query").textContent = table.query[view.pair];
  show();
  if (mine.bytes) return;
  mine.opened ||= unpack(`attention-${mine.number}`); // large, so only once it is wanted
  mine.bytes = new Uint8Array(await mine.opened);
  if (mine === table && view.pair >= 0) show();
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
  order = rows = new Uint32Array(); // not those of another table
  histograms = {};
  pool = [];
  for (const field of fieldsOf(table)) {
    histograms[field] = new Histogram(field, (low, high) => {
      view.ranges[field] = [low, high];
      if (low === -Infinity && high === Infinity) delete view.ranges[field];
      filterRows();
    });
  }
  $("histograms").replaceChildren(...Object.values(histograms).map(({ node }) => node));
  const options = () => table.runs.map(({ name }, run) => make("option", { value: run, textContent: `${letter(run)}: ${name}` }));
  for (const name of ["a", "b"]) $(name).replaceChildren(...options());
  $("seen").hidden = !(table.attended.includes(0) && table.attended.includes(1));
  for (const node of [$("a").parentNode, $("versus")]) node.hidden = table.runs.length < 2;
  $("table").value = table.number;
  $("title").textContent = table.title;
  $("note").textContent = table.note;
}

function apply() {
  chooseRuns(view.a, view.b);
  for (const name of ["search", "video"]) $(name).value = view[name];
  $("attended").checked = view.attended;
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

let opening = 0; // number of calls of open(): a later one wins
async function open(number) {
  const mine = ++opening;
  $("table").value = number;
  if (table?.number !== number) {
    const opened = await openTable(number).catch((error) => { if (mine === opening) throw error; });
    if (mine !== opening) return;
    table = opened;
    build();
  }
  view = readAddress(table);
  apply();
}

const listed = document.querySelectorAll("[id^=columns-]").length;
$("table").replaceChildren(...Array.from({ length: listed }, (_, number) => make("option", { value: number, textContent: `table ${number + 1}` })));
$("table").hidden = listed < 2;
$("table").onchange = () => { history.replaceState(null, "", "#pairs"); open(+$("table").value).catch(complain); };
for (const page of ["tables", "pairs"]) $(`to-${page}`).onclick = () => turn(page);
for (const name of ["search", "video"]) $(name).oninput = () => { view[name] = $(name).value; filterRows(); };
for (const name of ["a", "b"]) $(name).onchange = () => { view[name] = +$(name).value; sortRows(); };
$("attended").onchange = () => { view.attended = $("attended").checked; filterRows(); };
$("previous").onclick = () => step(-1);
$("next").onclick = () => step(1);
$("close").onclick = () => choose(-1);
$("filters").onsubmit = (event) => event.preventDefault();
$("clear").onclick = () => {
  Object.assign(view, { search: "", video: "", attended: false, ranges: {} });
  for (const name of ["search", "video"]) $(name).value = "";
  $("attended").checked = false;
  filterRows();
};
$("scroll").onscroll = () => drawRows();
addEventListener("resize", () => { if (table) drawRows(); });
addEventListener("beforeprint", () => { if (table) drawRows(true); });
addEventListener("afterprint", () => { if (table) drawRows(); });
addEventListener("hashchange", () => open(askedTable()).catch(complain));
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !table || view.page !== "pairs") return;
  const typing = event.target.matches("input, select"), keys = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 };
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
