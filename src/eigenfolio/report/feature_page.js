"use strict";
(() => {
  const read = JSON.parse(document.getElementById("readings").textContent);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const last = read.dates.length - 1;
  const date = document.getElementById("reading-date");
  const regime = document.getElementById("reading-regime");
  const cards = all("[data-series]").map((card) => ({
    values: card.dataset.series === "market" ? read.market : read.values[card.dataset.series],
    market: card.dataset.series === "market",
    now: card.querySelector(".now"),
    usual: card.querySelector(".now").textContent,
    cursor: card.querySelector(".cursor"),
  }));

  const figure = (value) => value === null ? "\u2013"
    : (Math.abs(value) < 100 ? value.toFixed(2) : Math.round(value).toLocaleString("en")).replace("-", "\u2212").replace(/^\u22120\.00$/, "0.00");

  // One reading line through all charts: the same date in each, and its value in place of the latest.
  const show = (k) => {
    const shown = k ?? last;
    date.textContent = read.dates[shown];
    regime.textContent = read.regimes[shown] ?? "";
    regime.className = read.regimes[shown] ?? "";
    for (const card of cards) {
      card.cursor.hidden = k === null;
      card.cursor.style.left = `${100 * read.x[shown]}%`;
      const text = figure(card.values[shown]);
      card.now.textContent = k === null ? card.usual : card.market ? `: ${text} on ${read.dates[k]}` : text;
    }
  };
  const nearest = (x) => {
    let [low, high] = [0, last];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (read.x[middle] <= x) low = middle; else high = middle;
    }
    return x - read.x[low] <= read.x[high] - x ? low : high;
  };
  let reading = null;
  const move = (k) => { if (k !== reading) show(reading = k); };
  for (const box of all(".draw")) {
    box.addEventListener("pointermove", (event) => {
      const { left, width } = box.getBoundingClientRect();
      move(nearest((event.clientX - left) / width));
    });
    box.addEventListener("pointerleave", () => move(null));
  }
  show(null);

  // A second click on a heading turns the order round; cells without a value stay at the end.
  const table = document.querySelector("table.sortable");
  all("thead button", table).forEach((button, column) => button.addEventListener("click", () => {
    const head = button.closest("th");
    const order = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
    const sign = order === "ascending" ? 1 : -1;
    const key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent.replace("\u2212", "-").replace(/,/g, "").replace("\u2013", "");
    const compare = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * (isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y);
    };
    for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  }));
})();
