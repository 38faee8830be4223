"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const { dates, figures } = read("figures");
  const palette = read("palette");
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const fine = window.matchMedia("(pointer: fine)");
  const PICKED = "#00865f";
  const PAPER = 680; // pixels that fit between the margins of A4 and letter
  let printing = false;
  let picked = null;

  // The figures hold light colours; on a dark screen each is replaced by its dark partner.
  const themed = (value) => {
    if (typeof value === "string") {
      if (printing || !dark.matches) return value;
      if (value in palette) return palette[value];
      return value.includes("color:#") ? value.replace(/#[0-9a-f]{6}/, (c) => palette[c] ?? c) : value;
    }
    if (Array.isArray(value)) return value.map(themed);
    if (value && typeof value === "object") {
      if ("shared" in value) return dates[value.shared];
      if ("bdata" in value) return value;
      return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, themed(part)]));
    }
    return value;
  };

  const draw = (node) => {
    const spec = structuredClone(figures[node.dataset.figure]);
    for (const trace of spec.data) {
      if (trace.meta?.model !== undefined && trace.meta.model === picked && trace.meta.role === "other") {
        Object.assign(trace.line, { color: PICKED, width: 2 });
        trace.zorder = 5;
      }
    }
    const { data, layout } = themed(spec);
    layout.width = printing ? PAPER : node.clientWidth;
    const narrow = layout.width < 560;
    layout.hoverlabel.bgcolor = getComputedStyle(document.body).getPropertyValue("--card").trim();
    layout.dragmode = fine.matches && !narrow ? "zoom" : false;
    if (narrow) {
      layout.font.size = 12;
      if (layout.yaxis2?.overlaying) {
        layout.yaxis2.showticklabels = false;
        layout.annotations = layout.annotations.slice(0, -1); // the heading of those labels
      }
      if (layout.legend) Object.assign(layout.legend, { x: 0, xanchor: "left", y: -0.18, yanchor: "top" });
    }
    Plotly.react(node, data, layout, { displayModeBar: false });
    node.dataset.width = node.clientWidth;
  };
  // One figure that fails must not take the others with it; the console keeps the reason.
  const tryDraw = (node) => {
    try { draw(node); } catch (error) { node.textContent = "This figure could not be drawn."; console.error(error); }
  };
  const visible = (node) => !node.closest("[hidden]");
  const drawAll = () => all(".plot").forEach((node) => visible(node) && tryDraw(node));

  const choose = (book) => {
    all("[data-choose]").forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.choose === book)));
    all("[data-book]").forEach((part) => { part.hidden = part.dataset.book !== book; });
    drawAll();
  };
  all("[data-choose]").forEach((b) => b.addEventListener("click", () => choose(b.dataset.choose)));

  const pick = (model) => {
    picked = picked === model ? null : model;
    all(".pick").forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.model === picked)));
    const main = all("tr.focus .pick, tr.champion .pick").some((b) => b.dataset.model === picked);
    all(".picked-model").forEach((entry) => { entry.hidden = picked === null || main; });
    all(".picked-name").forEach((name) => { name.textContent = picked ?? ""; });
    drawAll();
  };
  all(".pick").forEach((b) => b.addEventListener("click", () => pick(b.dataset.model)));

  // A first click brings the better end to the top; cells without a value stay at the end.
  const sort = (table, column) => {
    const head = table.tHead.rows[0].cells;
    const before = head[column].getAttribute("aria-sort");
    const first = head[column].dataset.first;
    const order = before === null ? first : before === "ascending" ? "descending" : "ascending";
    const sign = order === "ascending" ? 1 : -1;
    const key = (row) => row.cells[column].dataset.key;
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * (isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y);
    };
    for (const cell of head) cell.removeAttribute("aria-sort");
    head[column].setAttribute("aria-sort", order);
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  };
  all("table.models").forEach((table) =>
    all("thead button", table).forEach((button, column) =>
      button.addEventListener("click", () => sort(table, column))));

  const resized = new ResizeObserver((entries) => entries.forEach(({ target }) => {
    if (!printing && target.clientWidth && target.dataset.width && target.clientWidth !== Number(target.dataset.width)) tryDraw(target);
  }));
  all(".plot").forEach((node) => resized.observe(node));
  dark.addEventListener("change", drawAll);
  window.addEventListener("beforeprint", () => { printing = true; drawAll(); });
  window.addEventListener("afterprint", () => { printing = false; drawAll(); });
  drawAll();
})();
