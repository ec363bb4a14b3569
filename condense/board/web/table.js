// The table: filters, order and the open row. All of them are kept in the fragment of the address.
"use strict";

const { rows, machines, kinds } = JSON.parse(document.getElementById("values").textContent);
const FIRST = { dataset: "cifar10", size: "10", protocol: "hard-v1" };
const FILTERS = ["dataset", "size", "protocol", "student", "kind"];
const EVERYTHING = "all";
const PAGE = 200; // rows that are shown at once

// Each column: its name in the address, its head, what it sorts by, its cell, and whether it starts with the largest.
const COLUMNS = [
  { name: "method", head: "Method", by: fullName, cell: titleCell, class: "title" },
  { name: "score", head: "Score, %", by: (row) => row.score, cell: scoreCell, class: "score number", down: true },
  { name: "paper", head: "Paper, %", by: (row) => row.papers[0]?.value, cell: paperCell, class: "paper", down: true },
  { name: "dataset", head: "Dataset", by: (row) => row.dataset, cell: (row) => [row.dataset] },
  { name: "ipc", head: "IPC", by: (row) => row.x, cell: (row) => [row.size], class: "number" },
  { name: "protocol", head: "Protocol", by: (row) => row.protocol, cell: protocolCell, class: "name" },
  { name: "student", head: "Student", by: (row) => row.student, cell: (row) => [row.anywhere ? "" : row.student], class: "name" },
  { name: "bytes", head: "Bytes", by: (row) => row.bytes, cell: (row) => [shown(row.text.bytes)], class: "number" },
  { name: "seconds", head: "Distil s", by: (row) => row.seconds, cell: (row) => [shown(row.text.seconds)], class: "number" },
  { name: "units", head: "Sets × students", by: (row) => row.students, cell: (row) => [row.text.units], class: "number", down: true },
];

let state = {};
let limit = PAGE;
const listeners = []; // the plots are told of each new view

// Elements are made with texts alone, never from HTML, so that no name in a record is taken for a tag.
function make(tag, values = {}, ...children) {
  const one = document.createElement(tag);
  for (const [name, value] of Object.entries(values)) {
    if (name === "class") one.className = value;
    else if (name.startsWith("on")) one.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) one.setAttribute(name, value === true ? "" : value);
  }
  one.append(...children.filter((child) => child || child === 0));
  return one;
}

function fullName(row) {
  return row.title + (row.short && ` (${row.short})`);
}

const shown = (text) => (text === "-" ? "" : text);
const byId = (name) => document.getElementById(name);

function titleCell(row) {
  const open = state.open === row.id;
  const button = make("button", { type: "button", class: "open", "aria-expanded": String(open), "aria-controls": `panel-${row.id}`,
    onclick: () => change({ open: open ? "" : row.id }, true) }, row.title);
  const kind = row.kind === "distilled" ? "" : row.kind;
  return [button, make("span", { class: "under" }, [kind, row.short, row.more].filter(Boolean).join(" · ")),
    row.missing && make("span", { class: "mark", title: "fewer than the protocol asks for" }, `incomplete: ${row.missing}`)];
}

function scoreCell(row) {
  const more = row.half === null ? "" : `n=${row.n}`;
  const other = row.accuracy === null ? "" : `accuracy ${row.accuracy.toFixed(1)}`;
  const measure = row.measure === "accuracy" ? "" : row.measure;
  return [row.text.score, make("span", { class: "under" }, [measure, more, other].filter(Boolean).join(", "))];
}

function paperCell(row) {
  return row.papers.flatMap((paper) => [make("span", {}, paper.text), make("span", { class: "under" }, paper.protocol)]);
}

function protocolCell(row) {
  return [row.protocol, row.newer && make("span", { class: "under" }, `now ${row.newer}`)];
}

// ---- the state and the address

function read() {
  const text = location.hash.slice(1);
  if (!text || !text.includes("=")) {
    const usual = rows.some((row) => fits(row, FIRST)) && text !== EVERYTHING;
    return { ...(usual ? FIRST : {}) };
  }
  return Object.fromEntries(new URLSearchParams(text));
}

function address() {
  const kept = Object.entries(state).filter(([, value]) => value);
  return "#" + (new URLSearchParams(kept).toString() || EVERYTHING);
}

function change(values, stay = false) {
  state = { ...state, ...values };
  if (!stay) limit = PAGE;
  history.replaceState(null, "", address());
  draw();
}

// ---- filters and order

function fits(row, wanted, but = "") {
  const is = (name) => name === but || !wanted[name];
  const everywhere = row.kind === "reference";
  return (is("dataset") || row.dataset === wanted.dataset)
    && (is("size") || everywhere || row.size === wanted.size)
    && (is("protocol") || row.protocols.includes(wanted.protocol))
    && (is("student") || row.anywhere || row.student === wanted.student)
    && (is("kind") || row.kind === wanted.kind)
    && (is("q") || wanted.q.toLowerCase().split(/\s+/).every((word) => searched(row).includes(word)));
}

function searched(row) {
  row.searched ??= JSON.stringify([row.title, row.short, row.method, row.dataset, row.kind, row.protocol, row.student, row.more,
    Object.entries(row.settings).map((pair) => pair.join("=")), row.source, row.papers, row.label,
    row.records.map((one) => [one.set, one.run, one.file])]).toLowerCase();
  return row.searched;
}

function compare(a, b) {
  if (a == null || b == null) return (a == null) - (b == null);
  return typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
}

// The rows are in the board's order; a column's order keeps it where values are equal. What is unknown comes last,
// and by score incomplete rows come behind complete ones.
function sorted(found) {
  const column = COLUMNS.find((one) => one.name === state.sort);
  if (!column) return found;
  const sign = (state.down === "1") ? -1 : 1;
  return found.slice().sort((a, b) => {
    const [x, y] = [column.by(a), column.by(b)];
    const behind = column.name === "score" ? (a.missing !== null) - (b.missing !== null) : 0;
    return behind || (x == null || y == null ? compare(x, y) : sign * compare(x, y));
  });
}

function choices(name) {
  const values = new Map(); // value -> kind of data
  for (const row of rows) {
    if (!fits(row, state, name)) continue;
    const mine = name === "protocol" ? row.protocols : [row[name]];
    for (const value of mine) if (value && !(name === "student" && row.anywhere)) if (!values.has(value)) values.set(value, row.data);
  }
  if (state[name] && !values.has(state[name])) values.set(state[name], "images");
  return values;
}

function fill(name) {
  const select = byId(name);
  const values = choices(name);
  const order = name === "kind" ? (a, b) => kinds.indexOf(a) - kinds.indexOf(b) : compare;
  const names = [...values.keys()].sort(order);
  const option = (value) => make("option", { value, selected: state[name] === value }, value);
  const options = name !== "dataset" ? names.map(option) : ["images", "graphs"].map((kind) => {
    const mine = names.filter((value) => values.get(value) === kind);
    return mine.length ? make("optgroup", { label: kind }, ...mine.map(option)) : "";
  });
  select.replaceChildren(make("option", { value: "", selected: !state[name] }, "all"), ...options.filter(Boolean));
  select.value = state[name] || "";
}

// ---- drawing

function draw() {
  for (const name of FILTERS) fill(name);
  if (byId("q").value !== (state.q || "")) byId("q").value = state.q || "";
  const found = sorted(rows.filter((row) => fits(row, state)));
  const focused = document.activeElement?.getAttribute("data-focus");
  drawHeads();
  const visible = found.slice(0, limit);
  if (state.open && !visible.some((row) => row.id === state.open)) {
    const row = found.find((one) => one.id === state.open);
    if (row) visible.push(row);
  }
  byId("body").replaceChildren(...visible.flatMap(drawRow));
  byId("count").textContent = `${found.length} of ${rows.length} rows` + (found.length ? "" : ": no row fits all filters");
  byId("more").hidden = found.length <= limit;
  byId("more").textContent = `Show all ${found.length} rows`;
  if (focused) document.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus();
  for (const listener of listeners) listener(found);
}

function drawHeads() {
  byId("heads").replaceChildren(...COLUMNS.map((column) => {
    const mine = state.sort === column.name;
    const direction = !mine ? null : state.down === "1" ? "descending" : "ascending";
    const button = make("button", { type: "button", "data-focus": `head-${column.name}`, onclick: () => sortBy(column) }, column.head);
    return make("th", { role: "columnheader", scope: "col", class: column.class || "", "aria-sort": direction }, button);
  }));
}

// The first click sorts, the second turns the order round, and the third gives back the board's order.
function sortBy(column) {
  const start = column.down ? "1" : "0";
  if (state.sort !== column.name) change({ sort: column.name, down: start });
  else if ((state.down || "0") === start) change({ down: start === "1" ? "0" : "1" });
  else change({ sort: "", down: "" });
}

function drawRow(row) {
  const cells = COLUMNS.map((column) => {
    const children = column.cell(row).filter(Boolean);
    const empty = children.every((child) => !(child.textContent ?? child));
    const cell = make("td", { role: "cell", class: (column.class || "") + (empty ? " empty" : ""), "data-head": column.head }, ...children);
    cell.querySelector(".open")?.setAttribute("data-focus", `row-${row.id}`);
    return cell;
  });
  const drawn = make("tr", { role: "row", class: row.missing ? "row incomplete" : "row", id: row.id }, ...cells);
  return state.open === row.id ? [drawn, drawPanel(row)] : [drawn];
}

function list(values) {
  return make("dl", {}, ...values.filter(([, value]) => value != null && value !== "").flatMap(([name, value]) =>
    [make("dt", {}, name), make("dd", {}, ...(Array.isArray(value) ? value : [value]))]));
}

function part(title, ...children) {
  return make("section", {}, make("h2", {}, title), ...children);
}

const number = (value) => value.toLocaleString("en");

function drawPanel(row) {
  const picture = row.records.find((one) => one.picture);
  const counts = row.counts.map(([stored, trained]) => stored === trained ? number(stored) : `${number(stored)} stored, ${number(trained)} trained on`);
  const parts = Object.entries(row.parts).map(([name, size]) => `${name} ${number(size)}`).join(" + ");
  const content = [
    picture && part("Samples of the set", make("img", { src: picture.picture, alt: `Samples of the set of ${row.title} on ${row.dataset}, seed ${picture.seed}`, loading: "lazy" })),
    part("Settings", list(Object.entries(row.settings)), row.source && make("p", { class: "under" }, `From ${row.source}`)),
    part("Set and cost", list([
      ["labels", row.label], [row.data, counts.join(" or ")], ["bytes", parts || (row.bytes === null ? "" : number(row.bytes))],
      ["distil seconds", shown(row.text.seconds)], ["peak memory", row.text.memory === "-" ? "" : `${row.text.memory} MiB`],
      ["distilled on", row.device], ["score", `${row.score.toFixed(3)}${row.half === null ? "" : ` ± ${row.half.toFixed(3)}`} (${row.measure}, n=${row.n})`],
      ...row.papers.map((paper) => ["paper", `${paper.text}: ${paper.protocol}; ${paper.source}${paper.verified ? "" : "; not verified"}`]),
      ...row.notes.map((note) => ["data", note]),
      ...Object.entries(row.hashes).map(([name, hash]) => [name, make("code", {}, hash)]),
    ])),
    part("Do it again", ...row.commands.map((command) => make("pre", {}, command)),
      !row.commands.length && "No command makes this row from nothing."),
  ];
  const runs = row.records.map((one) => drawRecord(row, one));
  const made = part("Students", ...runs);
  const close = make("p", {}, make("button", { type: "button", onclick: () => change({ open: "" }, true) }, "Close"));
  return make("tr", { role: "row", class: "panel", id: `panel-${row.id}` },
    make("td", { role: "cell", colspan: COLUMNS.length }, make("div", { class: "parts" }, ...content.filter(Boolean), made), close));
}

function drawRecord(row, one) {
  const seen = [...new Set(one.students.map((student) => student[3]))].map((place) => machines[place]);
  const scores = one.students.map(([seed, score]) => `${seed}: ${score.toFixed(2)}`).join(", ");
  const dates = one.students.map((student) => student[4]).sort();
  const seconds = one.students.reduce((sum, student) => sum + student[2], 0);
  const title = row.kind === "reference" ? `${one.students.length} students` : `seed ${one.seed}: ${one.students.length} student${one.students.length > 1 ? "s" : ""}`;
  return make("details", { open: row.records.length === 1 }, make("summary", {}, title), list([
    ["scores by seed", scores], ["set hash", one.set && make("code", {}, one.set)], ["run key", make("code", {}, one.run)],
    ["record", make("code", {}, one.file)], ["training s", seconds.toFixed(1)], ["last tested", dates.at(-1)],
    ...seen.map((machine) => ["machine", `${machine.device}, ${machine.threads} thread${machine.threads > 1 ? "s" : ""}; `
      + Object.entries(machine.versions).map((pair) => pair.join(" ")).join(", ")]),
  ]));
}

for (const name of FILTERS) byId(name).addEventListener("change", (event) => change({ [name]: event.target.value }));
byId("q").addEventListener("input", (event) => change({ q: event.target.value }));
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("everything").addEventListener("click", () => { state = {}; change({}); });
byId("first").addEventListener("click", () => { history.replaceState(null, "", "#"); state = read(); limit = PAGE; draw(); });
byId("more").addEventListener("click", () => { limit = Infinity; draw(); });
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); byId("results").focus(); });
window.addEventListener("hashchange", () => { state = read(); limit = PAGE; draw(); });

if (matchMedia("(max-width: 44rem)").matches) byId("plots").open = false;
state = read();
draw();
if (state.open) byId(state.open)?.scrollIntoView();
