// The table, what filters it, and what is downloaded of it. The figure shows the rows that the table has.
let table = null;
const escaped = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");

function visibleRows() {
  if (!table) return [...section().ids.keys()].filter(passes);  // until there is one
  return table.rows({ search: "applied", order: "applied" }).data().toArray().map((each) => each.n);
}

// What has no value stands last, whichever way the others are sorted.
function order(way) {
  return (a, b) => (a === b ? 0 : a === null ? 1 : b === null ? -1 : (a < b ? -1 : 1) * way);
}

function passes(n) {
  const { values } = section(), nfe = values.nfe[n];
  for (const [key, allowed] of Object.entries(state.facets)) if (!allowed.has(String(values[key][n]))) return false;
  return (state.from === "" || (nfe !== null && nfe >= Number(state.from))) && (state.to === "" || (nfe !== null && nfe <= Number(state.to)));
}

function cell(each) {
  return (row, type) => {
    const value = section().values[each.key][row.n];
    if (type === "display") return escaped(told(each.key, row.n));
    // DataTables reads what it searches as HTML where there is an ampersand
    return type === "filter" ? escaped(`${told(each.key, row.n)} ${value ?? ""}`) : value;
  };
}

function buildTable() {
  if (table) table.destroy(true);
  $("rows").replaceChildren(make("table", { id: "table" }, make("caption", { className: "unseen" }, `Rows of ${section().label}`)));
  const columns = section().columns, place = (key) => columns.findIndex((each) => each.key === key) + 1;
  const choose = { data: null, orderable: false, searchable: false, defaultContent: "", render: DataTables.render.select(), name: "select", title: "<span class=\"unseen\">Select</span>" };
  DataTables.type("measured", "order", { asc: order(1), desc: order(-1) });
  table = new DataTables("#table", {
    data: section().ids.map((id, n) => ({ n })),
    columns: [choose, ...columns.map((each) => ({ data: null, name: each.key, title: escaped(each.label), render: cell(each),
      type: each.numeric ? "measured" : "string", className: each.numeric ? "number" : "words", visible: state.columns.includes(each.key) }))],
    order: state.order.map(([key, way]) => [place(key), way]), pageLength: 25, lengthMenu: [10, 25, 50, 100, { label: "all", value: -1 }],
    select: { style: "multi", selector: "td:first-child", headerCheckbox: false }, autoWidth: false, search: { search: state.search },
    layout: { topStart: "search", topEnd: null, bottomStart: "info", bottomEnd: ["pageLength", "paging"] },
    language: { search: "Search", info: "_START_ to _END_ of _TOTAL_ rows", infoFiltered: "(of _MAX_)", infoEmpty: "no row", zeroRecords: "No row is like that.",
      lengthMenu: "_MENU_ a page", select: { rows: "" } },
    createdRow: (row, { n }) => {
      row.querySelector("input")?.setAttribute("aria-label", `Select ${section().values.sampler[n]} at ${section().values.steps[n]} steps`);
      if (section().answers.some((each) => each.winner === n || each.baseline === n)) row.classList.add("told");
    },
  });
  table.search.fixed("filters", (text, { n }) => passes(n));
  columns.forEach((each, n) => { if (each.meaning) table.column(n + 1).header().title = each.meaning; });
  table.draw();
  restoreSelection();
  table.on("select deselect", () => { state.selected = new Set(table.rows({ selected: true }).data().toArray().map(({ n }) => section().ids[n])); draw(); remember(); });
  table.on("search", () => { state.search = table.search(); soon(); });
  table.on("order", () => {
    state.order = table.order().filter(([, way]) => way).map(([n, way]) => [columns[n - 1].key, way]);
    remember();
  });
  const wide = make("div", { className: "wide", tabIndex: 0 });
  wide.setAttribute("role", "region");
  wide.setAttribute("aria-label", "Table of rows, which scrolls sideways");
  const shown = document.getElementById("table");
  shown.replaceWith(wide);
  wide.append(shown);
}

function restoreSelection() {
  section().ids.forEach((id, n) => { if (state.selected.has(id)) table.row(n).select(); });
}

// Typing redraws the figure when it pauses.
let waiting = 0;
function soon() {
  clearTimeout(waiting);
  waiting = setTimeout(() => { draw(); remember(); }, 120);
}

// Lists of what can be chosen: a facet that keeps rows, and the columns of the table.
function choices(title, options, chosen, act) {
  const boxes = options.map(([value, label, hint]) => {
    const box = make("input", { type: "checkbox", value, checked: chosen.has(value), onchange: () => act(boxes.filter((each) => each.checked).map((each) => each.value)) });
    return box;
  });
  const every = make("button", { type: "button", onclick: () => set(true) }, "all"), none = make("button", { type: "button", onclick: () => set(false) }, "none");
  const set = (checked) => { boxes.forEach((each) => { each.checked = checked; }); act(checked ? options.map(([value]) => value) : []); };
  const lines = boxes.map((box, n) => make("label", { title: options[n][2] || "" }, box, options[n][1]));
  return make("details", { className: "choices" }, make("summary", {}, title), make("div", { className: "choices-list" }, make("p", {}, every, none), ...lines));
}

function buildFilters() {
  const { values, columns } = section();
  const facets = FACETS.filter((key) => values[key] && new Set(values[key]).size > 1).map((key) => {
    const options = [...new Set(values[key].map(String))].sort(), name = column(key).label;
    const chosen = state.facets[key] || new Set(options), title = (count) => (count === options.length ? name : `${name}: ${count} of ${options.length}`);
    const box = choices(title(chosen.size), options.map((each) => [each, ["", "null"].includes(each) ? "\u2013" : each]), chosen, (kept) => {
      if (kept.length === options.length) delete state.facets[key]; else state.facets[key] = new Set(kept);
      box.firstChild.textContent = title(kept.length);
      filtered();
    });
    box.dataset.facet = key;
    return box;
  });
  const limit = (name, label) => make("label", {}, label, make("input", { type: "number", min: 0, id: `nfe-${name}`, value: state[name], oninput: (event) => { state[name] = event.target.value; filtered(); } }));
  $("filters").replaceChildren(...facets, limit("from", "NFE from"), limit("to", "to"), make("button", { type: "button", id: "reset", onclick: reset }, "Reset"));
  const shown = choices("Columns", columns.map((each) => [each.key, each.label, each.meaning]), new Set(state.columns), (kept) => {
    state.columns = kept;
    columns.forEach((each, n) => table?.column(n + 1).visible(kept.includes(each.key), false));
    table?.columns.adjust();
    remember();
  });
  shown.id = "columns";
  $("table-tools").replaceChildren(shown, make("button", { type: "button", id: "csv", onclick: download }, "Download as CSV"));
}

function filtered() {
  table?.draw();
  soon();
}

function reset() {
  state = beginning(state.section);
  rebuild();
  remember();
}

// What is shown, as CSV: a spreadsheet would compute what begins like a formula, so that an apostrophe stands before it.
function csvCell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = /^['\s]*[=+\-@\uff1d\uff0b\uff0d\uff20]/.test(value) && !/^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, "\"\"")}"` : text;
}

function download() {
  const keys = section().columns.map((each) => each.key).filter((key) => state.columns.includes(key));
  const lines = [keys, ...visibleRows().map((n) => keys.map((key) => section().values[key][n]))];
  const file = new Blob([lines.map((line) => line.map(csvCell).join(",")).join("\n") + "\n"], { type: "text/csv" });
  const link = make("a", { href: URL.createObjectURL(file), download: "rows.csv" });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
