// Opens the libraries, builds what is explored, and keeps it in step with the address.
function bytes(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const letters = atob(text), found = new Uint8Array(letters.length);
  for (let n = 0; n < letters.length; n += 1) found[n] = letters.charCodeAt(n);
  return found;
}

function opened(id) {
  const gzip = new DecompressionStream("gzip"), writer = gzip.writable.getWriter();
  writer.write(bytes($(id).textContent.trim())).catch(() => {});  // whoever reads is told
  writer.close().catch(() => {});
  return new Response(gzip.readable).blob();
}

async function packed(id) { return URL.createObjectURL(new Blob([await opened(id)], { type: "text/javascript" })); }

function loaded(source) {
  return new Promise((done, failed) => {
    const script = make("script", { src: source, onload: done, onerror: () => failed(new Error("plotly cannot be run")) });
    document.head.append(script);
  });
}

let DataTables = null;
async function openTables() {
  const [tables, style] = await Promise.all([packed("tables"), opened("tables-style").then((each) => each.text())]);
  document.head.prepend(make("style", {}, style));
  DataTables = (await import(tables)).default;
  DataTables.ext.errMode = "throw";
}

function option(value, text, title) { return make("option", { value, title: title || "" }, text); }

function buildControls() {
  const views = section().views, numeric = numericColumns();
  $("protocol").replaceChildren(...data.sections.map((each, n) => option(n, each.label)));
  $("protocol").value = state.section;
  $("protocol-line").hidden = data.sections.length < 2;
  for (const axis of ["x", "y"]) {
    $(axis).replaceChildren(...numeric.map((each) => option(each.key, each.label, each.meaning)));
    $(axis).value = state[axis];
    $(`${axis}log`).value = state[`${axis}log`] ? "log" : "linear";
  }
  const joins = { steps: "steps", scale: "guidance scale, by budget", none: "nothing" };
  $("join").replaceChildren(...Object.keys(joins).filter((each) => each in section().lines || each === "none").map((each) => option(each, joins[each])));
  $("join").value = state.join;
  $("bars").checked = state.bars;
  $("front").checked = state.front;
  $("views").replaceChildren(...views.map((view) => {
    const button = make("button", { type: "button", onclick: () => { Object.assign(state, { x: view.x, y: view.y, xlog: view.xlog, ylog: view.ylog, join: view.join }); changed(); } }, view.name);
    const here = ["x", "y", "xlog", "ylog", "join"].every((each) => state[each] === view[each]);
    button.setAttribute("aria-pressed", here);
    return button;
  }));
}

function listen() {
  $("protocol").onchange = (event) => { state = beginning(Number(event.target.value)); rebuild(); remember(); };
  for (const axis of ["x", "y"]) {
    $(axis).onchange = (event) => { state[axis] = event.target.value; changed(); };
    $(`${axis}log`).onchange = (event) => { state[`${axis}log`] = event.target.value === "log"; changed(); };
  }
  $("join").onchange = (event) => { state.join = event.target.value; changed(); };
  for (const flag of ["bars", "front"]) $(flag).onchange = (event) => { state[flag] = event.target.checked; changed(); };
  $("clear").onclick = () => { table?.rows({ selected: true }).deselect(); };
  dark.addEventListener("change", () => { theme(); draw(); });
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; soon(); } });  // what fits beside one another
  addEventListener("hashchange", () => {
    if (location.hash === written) return;
    written = location.hash;
    state = fromAddress();
    rebuild();
  });
  const shut = (kept) => document.querySelectorAll(".choices[open]").forEach((each) => {
    if (each.contains(kept)) return;
    if (each.contains(document.activeElement)) each.firstChild.focus();  // so that the keyboard goes on from there
    each.open = false;
  });
  addEventListener("keydown", (event) => { if (event.key === "Escape") { hideCard(); shut(null); } });
  addEventListener("click", (event) => shut(event.target));
  const printed = () => document.querySelectorAll("details");
  addEventListener("beforeprint", () => printed().forEach((each) => { each.dataset.was = each.open; each.open = true; }));
  addEventListener("afterprint", () => printed().forEach((each) => { each.open = each.dataset.was === "true"; }));
}

function changed() {
  const focused = document.activeElement, view = focused?.parentElement === $("views") ? focused.textContent : null;
  buildControls();
  if (view) [...$("views").children].find((each) => each.textContent === view)?.focus();
  draw();
  remember();
}

function rebuild() {
  buildControls();
  if (table) buildTable();
  buildFilters();
  draw();
}

// A click on a point selects its row; where there is none who hovers, it shows the card, too.
function choosePoint(event) {
  const n = event.points[0].customdata;
  if (typeof n !== "number") return;
  const row = table.row(n);
  if (state.selected.has(section().ids[n])) row.deselect(); else row.select();
  if (matchMedia("(hover: none)").matches) showCard(event);
}

// Plotly tells a tap, and again the click that browsers make of it.
function tapped(event) { if (event.cancelable && event.target.closest(".draglayer")) event.preventDefault(); }

function theme() { document.documentElement.classList.toggle("dark", dark.matches); }

// The images of the same noise, larger on click.
function buildImages() {
  document.querySelectorAll("button[data-picture]").forEach((button) => {
    const key = button.dataset.picture;
    if (!data.pictures[key]) { button.replaceWith(make("span", { className: "nothing" }, "\u2013")); return; }
    button.append(picture(key, ""));
    button.onclick = () => {
      $("large-picture").replaceChildren(make("p", {}, button.getAttribute("aria-label")), picture(key, button.getAttribute("aria-label")));
      $("large").showModal();
    };
  });
  if ($("large")) $("large").onclick = (event) => { if (event.target === $("large")) $("large").close(); };
}

// What scrolls sideways is reached by the keyboard.
function reach() {
  document.querySelectorAll(".wide").forEach((each, n) => {
    each.tabIndex = 0;
    each.setAttribute("role", "region");
    each.setAttribute("aria-label", `Table ${n + 1}, which scrolls sideways`);
  });
}

// The program stands before what it does not need at once, so that what is seen first stays where it is.
const parsed = new Promise((done) => addEventListener("DOMContentLoaded", done));

function begin() {
  theme();
  if (!data.sections.length) return;
  document.documentElement.classList.add("live");
  listen();
  buildControls();
  buildFilters();
  draw();
  $("rows").style.setProperty("--rows", Math.min(25, visibleRows().length));
}

async function complete() {
  await parsed;
  fold();
  reach();
  buildImages();
  if (data.sections.length) {
    const plotly = loaded(await packed("plotly"));  // compiled beside the page, while the table is built
    await openTables();
    buildTable();
    await plotly;
    draw();
    $("figure").on("plotly_hover", showCard);
    $("figure").on("plotly_unhover", hideCard);
    $("figure").on("plotly_click", choosePoint);
    $("figure").addEventListener("touchend", tapped, { passive: false });
    addEventListener("touchstart", hideCard, { passive: true, capture: true });
  }
  document.documentElement.dataset.ready = "yes";
}

// What is explored stands folded below, and open for print.
function fold() {
  const live = document.documentElement.classList.contains("live");
  document.querySelectorAll("details.printed").forEach((each) => { each.open = !live; });
  document.documentElement.classList.add("folded");
}

(async () => { begin(); await complete(); })().catch((error) => {
  // what cannot be explored is still there to be read
  document.documentElement.classList.remove("live");
  fold();
  console.error(error);
});
