// The figure: traces of the rows that the table shows, with any two columns on the axes.
const DARK = { "#0072B2": "#56A8DE", "#D55E00": "#F0813A", "#009E73": "#2FC397", "#7F3C8D": "#BE8BCB", "#8C6D31": "#C7A45F" };
const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = (each) => (dark.matches && DARK[each]) || each;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
// plotly reads some HTML in what it writes
const literal = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const axisText = (key) => literal(column(key).axis);
const on = (key, n) => section().values[key][n];
const drawable = (n) => [["x", "xlog"], ["y", "ylog"]].every(([axis, log]) => {
  const value = on(state[axis], n);
  return value !== null && (!state[log] || value > 0);
});

function bars(rows) {
  const half = section().values[column(state.y).ci];
  if (!state.bars || !half) return {};
  const array = rows.map((n) => (n === null ? null : half[n]));
  return { error_y: { type: "data", array, thickness: 1, width: 0 } };
}

function trace(entry, rows, joined) {
  const x = rows.map((n) => (n === null ? null : on(state.x, n))), y = rows.map((n) => (n === null ? null : on(state.y, n)));
  const { marker, line } = entry.trace, pale = entry.beaten ? 0.4 : 1;
  return { ...entry.trace, ...bars(rows), x, y, customdata: rows, name: literal(entry.label), mode: joined ? "lines+markers" : "markers",
    hoverinfo: "none", showlegend: false, connectgaps: false, opacity: pale,
    marker: { ...marker, color: colour(marker.color), size: entry.beaten ? marker.size - 2 : marker.size, ...(marker.symbol.includes("-open") ? { line: { width: 1.6 } } : {}) },
    line: { ...line, color: colour(line.color), width: entry.beaten ? 1 : line.width } };
}

// A trace for each line of the legend; its parts, such as several numbers of steps, are apart.
function traces(rows) {
  const lines = linesShown(), byEntry = new Map();
  for (const n of rows) {
    const entry = lines.of[n];
    if (!byEntry.has(entry)) byEntry.set(entry, new Map());
    const parts = byEntry.get(entry);
    if (!parts.has(lines.part[n])) parts.set(lines.part[n], []);
    parts.get(lines.part[n]).push(n);
  }
  const order = [...byEntry.keys()].sort((a, b) => lines.entries[b].beaten - lines.entries[a].beaten);
  return order.map((entry) => {
    const parts = [...byEntry.get(entry).values()].map((part) => part.sort((a, b) => on(lines.by, a) - on(lines.by, b)));
    return trace(lines.entries[entry], parts.flatMap((part, n) => (n ? [null, ...part] : part)), state.join !== "none");
  });
}

// The rows that no other of those drawn beats; of times, on each device and batch by itself.
function fronts(rows) {
  const x = column(state.x), y = column(state.y);
  if (!state.front || !x.cost || !y.better || y.cost) return [];
  const sign = y.better === "min" ? 1 : -1, groups = new Map();
  for (const n of rows) {
    const group = x.time ? section().clock[n] : 0;
    groups.set(group, [...(groups.get(group) || []), n]);
  }
  return [...groups.values()].map((members) => {
    const sorted = [...members].sort((a, b) => on(state.x, a) - on(state.x, b) || sign * (on(state.y, a) - on(state.y, b)));
    let best = null;
    return sorted.filter((n) => {
      const better = best === null || sign * (on(state.y, n) - on(state.y, best)) < 0;
      const same = best !== null && on(state.x, n) === on(state.x, best) && on(state.y, n) === on(state.y, best);
      if (better) best = n;
      return better || same;
    });
  }).filter((front) => front.length > 1);
}

function frontTrace(front) {
  return { type: "scatter", mode: "lines", name: "Pareto front", x: front.map((n) => on(state.x, n)), y: front.map((n) => on(state.y, n)),
    customdata: front, line: { shape: "hv", color: css("--front"), width: 4 }, hoverinfo: "skip", showlegend: false };
}

function rings(name, rows, symbol, size, width) {
  const ink = css("--ink");
  return { type: "scatter", mode: "markers", name, x: rows.map((n) => on(state.x, n)), y: rows.map((n) => on(state.y, n)), customdata: rows,
    marker: { symbol, size, color: ink, line: { color: ink, width } }, hoverinfo: "none", showlegend: false };
}

// The baseline's level and what is still good enough, where quality is what rows are ranked by.
function bands(suffix) {
  if (state.y !== section().rank) return [];
  const found = section().answers.filter((each) => each.baseline !== null && on(state.y, each.baseline) !== null);
  return found.slice(0, 1).flatMap(({ baseline, tolerance }) => {
    const level = on(state.y, baseline), place = { xref: `x${suffix} domain`, yref: `y${suffix}`, x0: 0, x1: 1, layer: "below" };
    if (state.ylog && level <= 0) return [];
    return [
      { ...place, type: "rect", name: "tolerance", y0: level, y1: level + tolerance * Math.abs(level), fillcolor: css("--good"), line: { width: 0 } },
      { ...place, type: "line", name: "baseline", y0: level, y1: level, line: { color: css("--ink"), width: 1, dash: "dash" } },
    ];
  });
}

// With 2 and 5 between the powers of ten, where there are at most so many decades; within one, as plotly has it.
function axis(key, log, most) {
  const sizes = figureRows.map((n) => Math.abs(on(key, n))).filter((size) => size > 0), least = Math.min(...sizes);
  const largest = Math.max(...sizes), decades = Math.log10(largest / least), powers = least < 1e-3 || largest >= 1e7;
  const format = powers ? { exponentformat: "power" } : { exponentformat: "none", separatethousands: true };
  const whole = powers ? {} : { tickformat: ",.3~r" };  // 20 and 0.5, where plotly writes 2 and 5
  const numbers = log ? { type: "log", ...(decades > 0.8 || !decades ? { dtick: decades > most ? 1 : "D2" } : {}), ...format, ...whole } : { type: "linear", ...format };
  const scales = log && key === "guidance_scale" ? [...new Set(figureRows.map((n) => on(key, n)))] : [];
  const each = scales.length && scales.length <= 8 ? { tickmode: "array", tickvals: scales, ticktext: scales.map(String) } : {};
  return { ...numbers, ...each, gridcolor: css("--line"), zeroline: false, linecolor: css("--grey"), tickcolor: css("--grey"), automargin: true,
    minexponent: 4, ticks: "outside" };
}

// Rows are in one panel or, along guidance scales, in that of their budget.
function panelsOf(rows) {
  const { panel, panels } = linesShown();
  if (!panels) return [{ title: "", rows }];
  const baselines = new Set(section().answers.map((each) => each.baseline));  // which are in all
  const found = panels.map((title, place) => ({ title, rows: rows.filter((n) => panel[n] === place) })).filter((each) => !each.rows.every((n) => baselines.has(n)));
  return found.length ? found : [{ title: "", rows }];
}

// How many panels there are across and down, and how high the figure then is.
function arranged(panels) {
  const width = $("figure").clientWidth, across = Math.min(panels.length, width < 520 ? 1 : width < 900 ? 2 : 3), down = Math.ceil(panels.length / across);
  $("figure").style.height = down > 1 ? `${4 + (across > 1 ? 17 : 15) * down}rem` : "";
  return { across, down, narrow: width < 520, panelWidth: width / across };
}

let figureRows = [];
function draw() {
  const lines = linesShown(), all = visibleRows();
  const shown = all.filter((n) => !state.hidden.has(lines.entries[lines.of[n]].label));
  figureRows = shown.filter(drawable);
  const panels = panelsOf(figureRows), place = arranged(panels);
  if (window.Plotly) plot(panels, place);
  hideCard();
  const apart = shown.length - figureRows.length, scale = (log) => (log ? "logarithmic" : "linear");
  const words = `${figureRows.length} of ${section().ids.length} rows` + (apart ? `; ${apart} not drawn, which have no ${state.xlog || state.ylog ? "positive " : ""}value on an axis` : "");
  $("drawn").textContent = `${words}.`;
  const apiece = panels.length > 1 ? `, a panel each: ${panels.map((each) => each.title).join("; ")}` : "";
  $("figure").setAttribute("aria-label", `${column(state.y).axis} (${scale(state.ylog)}) against ${column(state.x).axis} (${scale(state.xlog)})${apiece}: ${words}. The table below has every value.`);
  legend();
  cards();
}

// What one panel shows; the baseline's star is in all, as its level is.
function content({ rows }) {
  const answers = section().answers, drawn = new Set(rows), everywhere = new Set(figureRows);
  const marked = (name, within) => [...new Set(answers.map((each) => each[name]).filter((n) => n !== null && within.has(n)))];
  const chosen = rows.filter((n) => state.selected.has(section().ids[n]));
  return [...fronts(rows).map(frontTrace), ...traces(rows), rings("baseline", marked("baseline", everywhere), "star", 15, 0),
    rings("answer", marked("winner", drawn), "circle-open", 17, 2), rings("selected", chosen, "square-open", 21, 3)];
}

function plot(panels, { across, down, narrow, panelWidth }) {
  const layout = { height: $("figure").clientHeight, shapes: [], annotations: [], hovermode: "closest", dragmode: narrow ? false : "zoom",
    paper_bgcolor: css("--paper"), plot_bgcolor: css("--paper"), font: { color: css("--ink"), size: narrow ? 12 : 13, family: getComputedStyle(document.body).fontFamily },
    // wide enough for most numbers: where plotly has to make room, it draws twice
    margin: { l: narrow ? 60 : 70, r: 12, t: 34, b: narrow ? 54 : 58 }, uirevision: `${state.section} ${state.x} ${state.y} ${state.xlog} ${state.ylog} ${panels.length}` };
  const x = axis(state.x, state.xlog, panelWidth < 520 ? 2 : 3.5), y = axis(state.y, state.ylog, 3.5);
  const gap = 58 / Math.max(100, layout.height - layout.margin.t - layout.margin.b);  // for the ticks of one and the title of the next
  const wide = (1 - 0.03 * (across - 1)) / across, high = (1 - gap * (down - 1)) / down;
  const all = panels.flatMap((panel, n) => {
    const suffix = n ? n + 1 : "", left = (n % across) * (wide + 0.03), top = 1 - Math.floor(n / across) * (high + gap);
    const lowest = n >= panels.length - across, matching = (name) => (n ? { matches: name } : {});
    layout[`xaxis${suffix}`] = { ...x, ...matching("x"), anchor: `y${suffix}`, domain: [left, Math.min(1, left + wide)], title: { text: lowest ? axisText(state.x) : "", standoff: 8 } };
    layout[`yaxis${suffix}`] = { ...y, ...matching("y"), anchor: `x${suffix}`, domain: [Math.max(0, top - high), top], showticklabels: n % across === 0,
      title: { text: n % across ? "" : axisText(state.y), standoff: 8 } };
    layout.shapes.push(...bands(suffix));
    if (panel.title) layout.annotations.push({ text: literal(panel.title), xref: `x${suffix} domain`, yref: `y${suffix} domain`, x: 0, y: 1, xanchor: "left", yanchor: "bottom", showarrow: false });
    return content(panel).map((each) => ({ ...each, xaxis: `x${suffix}`, yaxis: `y${suffix}` }));
  });
  const config = { responsive: true, displaylogo: false, modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]],  // none that asks a host
    toImageButtonOptions: { format: "svg", filename: "figure" } };
  Plotly.react($("figure"), all, layout, config);
}

// The legend: a button hides or shows a line, or a whole family.
function legend() {
  const { entries, of } = linesShown(), families = new Map(), present = new Set(visibleRows().map((n) => of[n]));
  entries.forEach((entry, n) => { if (present.has(n)) families.set(entry.family, [...(families.get(entry.family) || []), entry]); });
  const focused = document.activeElement && document.activeElement.dataset.legend;
  $("legend").replaceChildren(...[...families].map(([family, members]) => {
    const labels = members.map((each) => each.label), hidden = labels.every((each) => state.hidden.has(each));
    const head = toggle(family, "family", !hidden, () => labels.forEach((each) => (hidden ? state.hidden.delete(each) : state.hidden.add(each))));
    return make("div", { className: "family-group" }, head, ...members.map((entry) => {
      const gone = state.hidden.has(entry.label);
      const button = toggle(entry.label, "line", !gone, () => (gone ? state.hidden.delete(entry.label) : state.hidden.add(entry.label)));
      button.prepend(swatch(entry.trace));
      return button;
    }));
  }));
  if (focused) [...$("legend").querySelectorAll("button")].find((each) => each.dataset.legend === focused)?.focus();
}

function toggle(text, kind, pressed, act) {
  const button = make("button", { type: "button", className: kind, onclick: () => { act(); changed(); } }, text);
  button.setAttribute("aria-pressed", pressed);
  button.dataset.legend = `${kind} ${text}`;
  return button;
}

// What a line looks like, as plotly draws it.
const SHAPES = { circle: "M18 6a4 4 0 1 1-8 0a4 4 0 1 1 8 0z", square: "M10.5 2.5h7v7h-7z", "triangle-up": "M14 1.5l4.6 8h-9.2z", diamond: "M14 1l5 5l-5 5l-5-5z",
  "triangle-down": "M14 10.5l4.6-8h-9.2z", cross: "M12.5 1.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z", x: "M11 1.5l3 3l3-3l1.5 1.5l-3 3l3 3l-1.5 1.5l-3-3l-3 3l-1.5-1.5l3-3l-3-3z" };
const STROKES = { dash: "6 3.5", dot: "1.5 2.5", dashdot: "6 2.5 1.5 2.5", longdash: "9 3", longdashdot: "9 2.5 1.5 2.5" };
const SVG = Object.assign(document.createElement("template"), { innerHTML: "<svg></svg>" }).content.firstChild.namespaceURI;
function drawn(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function swatch({ marker, line }) {
  const [, shape, open, dot] = /^(.*?)(-open)?(-dot)?$/.exec(marker.symbol), ink = colour(marker.color);
  return drawn("svg", { class: "swatch", viewBox: "0 0 28 12", width: 28, height: 12, "aria-hidden": "true", focusable: "false" },
    drawn("path", { d: "M0 6h28", stroke: colour(line.color), "stroke-width": 1.6, "stroke-dasharray": STROKES[line.dash] || "none" }),
    drawn("path", { d: SHAPES[shape] || SHAPES.circle, stroke: ink, "stroke-width": 1.2, fill: open ? css("--paper") : ink }),
    ...(dot ? [drawn("circle", { cx: 14, cy: 6, r: 1.3, fill: open ? ink : css("--paper") })] : []));
}

// A card tells a row: what it is, what it cost, how good it is, and its first images.
const TOLD = ["family", "model", "guidance", "grid", "mode", "steps", "nfe", "calls", "ms_per_image", "run"];
function card(n) {
  const { values, ids, rank } = section(), keys = [...new Set([...TOLD, rank, state.x, state.y])];
  const facts = keys.filter((key) => key && values[key] && values[key][n] !== null && values[key][n] !== "").map((key) => [column(key).label.replace(/ [\u2191\u2193]$/, ""), told(key, n)]);
  const list = make("dl", {}, ...facts.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]));
  const box = make("div", { className: "card" }, make("strong", {}, values.sampler[n]), list);
  if (data.pictures[ids[n]]) box.append(picture(ids[n], `First images of ${values.sampler[n]} at ${values.steps[n]} steps`));
  return box;
}

function picture(key, alt) { return make("img", { src: data.pictures[key], alt, className: "strip" }); }

function showCard({ points, event }) {
  const n = points[0].customdata;
  if (n === null || n === undefined) return;
  const box = $("card"), frame = $("figure").getBoundingClientRect();
  box.replaceChildren(card(n));
  box.hidden = false;
  const at = event?.changedTouches?.[0] || event;
  const x = at ? at.clientX - frame.left : frame.width / 2, y = at ? at.clientY - frame.top : frame.height / 2;
  const place = () => {
    const left = x + 16 + box.offsetWidth < frame.width ? x + 16 : x - 16 - box.offsetWidth;
    box.style.left = `${Math.max(0, Math.min(left, frame.width - box.offsetWidth))}px`;
    box.style.top = `${Math.max(0, Math.min(y + 12, frame.height - box.offsetHeight))}px`;
  };
  place();
  box.querySelector("img")?.addEventListener("load", place);  // which makes it wider
}

function hideCard() { $("card").hidden = true; }

function cards() {
  const chosen = section().ids.map((id, n) => n).filter((n) => state.selected.has(section().ids[n]));
  $("chosen").hidden = !chosen.length;
  $("chosen-count").textContent = `${chosen.length} selected`;
  $("chosen-cards").replaceChildren(...chosen.slice(0, 12).map(card));
}
