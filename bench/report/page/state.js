// What is looked at, and how it stands in the address: only what differs from the beginning, so that links stay short.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const FACETS = ["family", "sampler", "grid", "model", "guidance", "mode", "run", "device_name"];

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function section() { return data.sections[state.section]; }
function column(key) { return section().columns.find((each) => each.key === key); }
function numericColumns() { return section().columns.filter((each) => each.numeric); }
function linesShown() { return section().lines[state.join] || section().lines.steps; }

function beginning(n) {
  const view = data.sections[n].views[0];
  return { section: n, x: view.x, y: view.y, xlog: view.xlog, ylog: view.ylog, join: view.join,
    bars: data.sections[n].lines.steps.entries.length <= 8, front: true, hidden: new Set(), facets: {}, from: "", to: "",
    search: "", order: [], columns: data.sections[n].columns.filter((each) => each.shown).map((each) => each.key),
    selected: new Set() };
}

function fromAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const asked = Number(given.get("protocol") || 1) - 1;
  const found = beginning(asked in data.sections ? asked : 0);
  const { columns, ids } = data.sections[found.section];
  const known = (key) => columns.some((each) => each.key === key);
  const numeric = (key) => columns.some((each) => each.key === key && each.numeric);
  for (const axis of ["x", "y"]) if (numeric(given.get(axis))) found[axis] = given.get(axis);
  for (const flag of ["xlog", "ylog", "bars", "front"]) if (given.has(flag)) found[flag] = given.get(flag) === "1";
  if (Object.hasOwn(data.sections[found.section].lines, given.get("join")) || given.get("join") === "none") found.join = given.get("join");
  for (const name of ["from", "to"]) {
    const text = given.get(name) || "";
    if (text && Number.isFinite(Number(text))) found[name] = text;
  }
  found.search = given.get("search") || "";
  found.hidden = new Set(given.getAll("hide"));
  for (const facet of FACETS) if (given.has(facet) && known(facet)) found.facets[facet] = new Set(given.getAll(facet));
  for (const facet of given.getAll("none")) if (FACETS.includes(facet) && known(facet)) found.facets[facet] = new Set();
  found.order = given.getAll("order").map((each) => each.split(":")).filter(([key, way]) => known(key) && ["asc", "desc"].includes(way));
  if (given.has("columns")) found.columns = given.getAll("columns").filter(known);
  found.selected = new Set(given.getAll("select").filter((each) => ids.includes(each)));
  return found;
}

function address() {
  const first = beginning(state.section), told = new URLSearchParams();
  if (state.section) told.set("protocol", state.section + 1);
  for (const name of ["x", "y", "join", "from", "to", "search"]) if (state[name] !== first[name]) told.set(name, state[name]);
  for (const flag of ["xlog", "ylog", "bars", "front"]) if (state[flag] !== first[flag]) told.set(flag, state[flag] ? "1" : "0");
  for (const each of state.hidden) told.append("hide", each);
  for (const [facet, values] of Object.entries(state.facets)) {
    if (!values.size) told.append("none", facet);
    for (const each of values) told.append(facet, each);
  }
  for (const [key, way] of state.order) told.append("order", `${key}:${way}`);
  if (state.columns.join("\n") !== first.columns.join("\n")) for (const each of state.columns.length ? state.columns : [""]) told.append("columns", each);
  for (const each of state.selected) told.append("select", each);
  return `#${told}`;
}

let written = location.hash;
function remember() {
  const next = address();
  if (next === written || (next === "#" && !location.hash)) return;
  written = next;
  history.replaceState(null, "", next);
}

// Numbers and text as cells and cards show them; to make a format takes longer than to write with it.
const SHORT = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 4 });
const LONG = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 9 });
function told(key, n) {
  const text = section().texts[key], value = (section().values[key] || [])[n];
  if (text) return text[n];
  if (value === null || value === undefined) return "\u2013";
  if (typeof value !== "number") return value;
  const size = Math.abs(value);
  if (size && (size < 1e-3 || size >= 1e9)) return value.toExponential(2);
  return (size >= 1e4 ? LONG : SHORT).format(value);
}

let state = data.sections.length ? fromAddress() : null;
