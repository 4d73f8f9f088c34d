"use strict";

// What the address keeps of the view: #pairs&sort=-gain&search=door&iou=0.1~0.5&pair=QID
const INITIAL = { page: "tables", table: 0, a: 0, b: 1, sort: "iou", down: false, search: "", video: "", attended: false, pair: -1 };

// Return the view of the address; what is not possible there is as at the start
function readAddress(table) {
  const [page, ...rest] = location.hash.slice(1).split("&"), given = new URLSearchParams(rest.join("&"));
  const runs = table.runs.length, sort = (given.get("sort") || "").replace(/^-/, "");
  const run = (name, usual) => (/^[0-5]$/.test(given.get(name)) && given.get(name) < runs ? Number(given.get(name)) : Math.min(usual, runs - 1));
  const view = { ...INITIAL, table: table.number, ranges: {}, page: page === "pairs" ? "pairs" : "tables" };
  Object.assign(view, { a: run("a", INITIAL.a), b: run("b", INITIAL.b) });
  if ([...fieldsOf(table), "video"].includes(sort)) Object.assign(view, { sort, down: given.get("sort").startsWith("-") });
  for (const name of ["search", "video"]) view[name] = given.get(name) || "";
  view.attended = given.has("attended") && table.attended.includes(1);
  for (const field of fieldsOf(table)) {
    const ends = (given.get(field) || "~").split("~"), [low, high] = [ends[0] || "-Infinity", ends[1] || "Infinity"].map(Number);
    if (low <= high && (low > -Infinity || high < Infinity)) view.ranges[field] = [low, high];
  }
  view.pair = given.has("pair") ? table.qid.indexOf(given.get("pair")) : -1;
  return view;
}

function writeAddress(table, view) {
  const kept = new URLSearchParams();
  if (view.table) kept.set("table", view.table);
  for (const name of ["a", "b"]) if (table.runs.length > 1 && view[name] !== INITIAL[name]) kept.set(name, view[name]);
  if (view.sort !== INITIAL.sort || view.down) kept.set("sort", `${view.down ? "-" : ""}${view.sort}`);
  for (const name of ["search", "video", "attended"]) if (view[name]) kept.set(name, view[name] === true ? "" : view[name]);
  for (const [field, ends] of Object.entries(view.ranges)) kept.set(field, ends.map((end) => (Number.isFinite(end) ? end : "")).join("~"));
  if (view.pair >= 0) kept.set("pair", table.qid[view.pair]);
  history.replaceState(null, "", `#${[view.page, kept].filter(String).join("&")}`);
}
