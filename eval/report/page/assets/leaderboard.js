// Sorting, filtering, columns and choosing rows of the leaderboards.
"use strict";

Object.assign(Report, JSON.parse(document.getElementById("data").textContent));

Report.MOST_CHOSEN = 8;

class Leaderboard {
  constructor(root, data) {
    this.root = root;
    this.data = data;
    this.body = root.querySelector("tbody");
    this.rows = [...this.body.rows];
    this.headings = [...root.querySelectorAll("thead th")];
    this.colours = new Map();
    this.edition = 0;
    this.connect();
    this.fillFilters();
    this.sortAtFirst();
    this.chooseAtFirst();
    this.fitColumns();
  }

  connect() {
    for (const heading of this.headings) heading.querySelector("button").addEventListener("click", () => this.sortBy(heading));
    this.root.querySelector(".filter-name").addEventListener("input", () => this.filter());
    for (const select of this.root.querySelectorAll("[data-filter]")) select.addEventListener("change", () => this.filter());
    for (const box of this.root.querySelectorAll(".columns input")) box.addEventListener("change", () => this.showColumn(box.value, box.checked));
    this.root.querySelector(".edition")?.addEventListener("change", (event) => {
      this.useEdition(Number(event.target.value));
      Report.changed("edition");
    });
    for (const row of this.rows) {
      const box = row.querySelector(".pick input");
      box.addEventListener("change", () => { this.choose(row, box.checked); Report.changed("chosen"); });
      row.addEventListener("click", (event) => { if (!event.target.closest("a, button, label, input")) box.click(); });
    }
  }

  cell(row, key) { return row.querySelector(`[data-key="${key}"]`); }

  value(row, key, numeric) {
    const text = this.cell(row, key)?.dataset.value;
    return text === undefined ? null : numeric ? Number(text) : text.toLowerCase();
  }

  sortBy(heading, direction) {
    const now = heading.getAttribute("aria-sort");
    const first = heading.querySelector("button").dataset.first ?? "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const wanted = direction ?? (now === first ? other : first);
    for (const each of this.headings) each.setAttribute("aria-sort", each === heading ? wanted : "none");
    const numeric = heading.classList.contains("number");
    const sign = wanted === "ascending" ? 1 : -1;
    const keyed = this.rows.map((row) => [this.value(row, heading.dataset.key, numeric), row]);
    // What was not measured comes last, whichever way the rest is sorted.
    keyed.sort(([a], [b]) => (a === null) - (b === null) || (a === b ? 0 : sign * (a < b ? -1 : 1)));
    this.rows = keyed.map(([, row]) => row);
    this.body.append(...this.rows);
  }

  get rules() { return this.data.editions[this.edition]; }

  // Show what the rules of another edition say: headline, ranks, scores, and PSNR beside that baseline's.
  useEdition(index) {
    this.edition = index;
    const { claim, details, warnings, notes, rows } = this.rules;
    const list = (lines) => lines.map((line) => Report.element("li", { textContent: line }));
    this.root.querySelector("[data-headline]").textContent = claim;
    this.root.querySelector("[data-details]").replaceChildren(...list(details));
    this.root.querySelector("[data-warnings]").replaceChildren(...list(warnings));
    this.root.querySelector(".warnings").hidden = !warnings.length;
    this.root.querySelector("[data-notes]").replaceChildren(...list(notes));
    for (const row of this.rows) {
      const { cells, out, reason, psnr } = rows[Number(row.dataset.row)];
      const told = row.querySelector(".reason");
      told.textContent = reason;
      told.hidden = !reason;
      row.classList.toggle("out", out);
      for (const [key, [text, value]] of Object.entries(cells)) this.setCell(this.cell(row, key), text, value);
      this.setPsnr(this.cell(row, "psnr_db"), psnr);
    }
    const sorted = this.headings.find((each) => each.getAttribute("aria-sort") !== "none");
    this.sortBy(sorted, sorted.getAttribute("aria-sort"));
    this.fillFilters();
    this.filter();
  }

  setCell(cell, text, value) {
    if (!cell) return;
    cell.dataset.text = text;
    if (value === null) delete cell.dataset.value; else cell.dataset.value = value;
    (cell.querySelector(".state") ?? cell).textContent = text;
  }

  setPsnr(cell, psnr) {
    for (const old of cell?.querySelectorAll(".interval, .only-read, .tied") ?? []) old.remove();
    if (!cell || !psnr) return;
    const [low, middle, high, text, tied] = psnr;
    const bar = Report.element("span", { className: "interval", ariaHidden: "true" }, Report.element("span"), Report.element("i"));
    bar.children[0].style.cssText = `left:${low}%;right:${100 - high}%`;
    bar.children[1].style.left = `${middle}%`;
    cell.append(bar, Report.element("span", { className: "only-read", textContent: `95% interval ${text}` }));
    if (tied) {
      const mark = Report.element("button", { type: "button", className: "tied", textContent: "tied" });
      mark.dataset.tip = `The PSNR difference to the baseline is not significant (95%): ${text}`;
      cell.append(mark);
    }
  }

  sortAtFirst() {
    const order = ["rank", "psnr_db", "label"];
    const heading = order.map((key) => this.headings.find((each) => each.dataset.key === key)).find(Boolean);
    this.sortBy(heading);
  }

  fillFilters() {
    for (const select of this.root.querySelectorAll("[data-filter]")) {
      const values = new Set(this.rows.map((row) => this.cell(row, select.dataset.filter).dataset.text));
      const wanted = values.has(select.value) ? select.value : "";
      select.replaceChildren(select.options[0], ...[...values].sort().map((value) => Report.element("option", { value, textContent: value })));
      select.value = wanted;
      select.hidden = values.size < 2;
    }
  }

  filter() {
    const name = this.root.querySelector(".filter-name").value.trim().toLowerCase();
    const wanted = [...this.root.querySelectorAll("[data-filter]")].filter((select) => select.value);
    for (const row of this.rows) {
      const named = this.cell(row, "label").dataset.text.toLowerCase().includes(name);
      const fits = wanted.every((select) => this.cell(row, select.dataset.filter).dataset.text === select.value);
      row.hidden = !(named && fits);
    }
    const shown = this.visibleRows.length;
    this.root.querySelector(".empty").hidden = shown > 0;
    this.say(shown === this.rows.length ? "" : `${shown} of ${this.rows.length} models`);
  }

  get visibleRows() { return this.rows.filter((row) => !row.hidden); }

  showColumn(key, shown) {
    for (const cell of this.root.querySelectorAll(`.leaderboard [data-key="${key}"]`)) cell.hidden = !shown;
  }

  // On a phone only the figures that rank a model are shown at first.
  fitColumns() {
    if (innerWidth >= 640) return;
    for (const box of this.root.querySelectorAll(".columns input:checked")) {
      if (["rank", "score", "psnr_db", "runtime_ms", "num_params", "flops"].includes(box.value)) continue;
      box.checked = false;
      this.showColumn(box.value, false);
    }
  }

  say(text) { this.root.querySelector(".status").textContent = text; }

  choose(row, chosen) {
    const index = Number(row.dataset.row);
    // It has no figures, and its box cannot be used.
    if (row.querySelector(".pick input").disabled) return;
    if (chosen && !this.colours.has(index)) {
      const used = new Set(this.colours.values());
      const free = [...Array(Report.MOST_CHOSEN).keys()].find((slot) => !used.has(slot));
      if (free === undefined) {
        row.querySelector(".pick input").checked = false;
        this.say(`At most ${Report.MOST_CHOSEN} models can be chosen.`);
        return;
      }
      this.colours.set(index, free);
    } else if (!chosen) {
      this.colours.delete(index);
    }
    row.classList.toggle("chosen", this.colours.has(index));
    row.querySelector(".pick input").checked = this.colours.has(index);
    row.style.setProperty("--mark", this.colours.has(index) ? `var(--c${this.colours.get(index)})` : "");
  }

  // The first three, the baseline, and the project's own entry.
  chooseAtFirst() {
    const able = this.rows.filter((row) => !row.querySelector(".pick input").disabled);
    const wanted = new Set(able.slice(0, 3));
    for (const row of able) {
      const index = Number(row.dataset.row);
      if (index === this.rules.baseline || this.data.rows[index].own) wanted.add(row);
    }
    for (const row of wanted) this.choose(row, true);
  }

  chooseOnly(labels) {
    for (const row of this.rows) this.choose(row, false);
    for (const row of this.rows) if (labels.includes(this.data.rows[Number(row.dataset.row)].label)) this.choose(row, true);
  }

  toggle(index) {
    const row = this.rows.find((each) => Number(each.dataset.row) === index);
    this.choose(row, !this.colours.has(index));
    this.scrollTo(row);
    Report.changed("chosen");
  }

  // The row alone moves into view, within its table: the page stays where the reader is.
  scrollTo(row) {
    const box = row.closest(".scroll");
    const above = row.offsetTop - this.root.querySelector("thead").offsetHeight;
    const below = row.offsetTop + row.offsetHeight - box.clientHeight;
    box.scrollTop = Math.max(below, Math.min(above, box.scrollTop));
  }

  // Chosen rows in the table's order, as [index in the data, colour].
  get chosen() {
    return this.rows.map((row) => Number(row.dataset.row)).filter((index) => this.colours.has(index))
      .map((index) => [index, Report.colour(`c${this.colours.get(index)}`)]);
  }
}

Report.leaderboards = [...document.querySelectorAll(".board")].map((root, index) =>
  new Leaderboard(root, Report.boards[index]));

Object.defineProperty(Report, "leaderboard", { get() { return this.leaderboards[this.board]; } });

// Show a table, and that it is the one that is shown.
Report.showBoard = (index) => {
  Report.board = index;
  Report.leaderboards.forEach((each, place) => { each.root.hidden = place !== index; });
  for (const radio of document.querySelectorAll("#boards input")) radio.checked = Number(radio.value) === index;
  for (const named of document.querySelectorAll("[data-shown]")) named.textContent = Report.current.title;
  Report.changed("board");
};

for (const radio of document.querySelectorAll("#boards input")) radio.addEventListener("change", () => Report.showBoard(Number(radio.value)));

// An open menu closes when something else is used.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll(".menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll(".menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// Paper cannot be unfolded, and is white and narrow: plots are drawn anew for it, in light colours and at its size.
addEventListener("beforeprint", () => {
  for (const notes of document.querySelectorAll(".notes")) notes.open = true;
  Report.paper(true);
});
addEventListener("afterprint", () => Report.paper(false));
