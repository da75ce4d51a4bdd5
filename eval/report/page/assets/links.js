// Permanent links: the address holds what is shown, so that a view can be sent. It is written with the first change.
"use strict";

{
  const byId = (id) => document.getElementById(id);
  const root = () => Report.leaderboard.root;

  const sorted = () => Report.leaderboard.headings.find((each) => each.getAttribute("aria-sort") !== "none");

  // A picture is named by its model; what has no model has a name of its own, in a field of its own: a model can have any.
  const kindOf = (wanted, side) => {
    const at = Report.comparison.labels.indexOf(wanted.get(side));
    // Addresses of former reports have only the one field.
    return at < 0 ? wanted.get(`${side}-without-model`) ?? wanted.get(side) : String(at);
  };

  const view = () => {
    const shown = new URLSearchParams({ table: Report.current.title });
    const rules = root().querySelector(".edition");
    if (rules) shown.set("rules", rules.selectedOptions[0].textContent);
    shown.set("sort", sorted().dataset.key);
    shown.set("order", sorted().getAttribute("aria-sort"));
    const chosen = Report.leaderboard.chosen.map(([index]) => Report.current.rows[index].label);
    // That none is chosen is a view, too.
    for (const label of chosen.length ? chosen : [""]) shown.append("model", label);
    const against = byId("baseline")?.selectedOptions[0];
    if (against) shown.set("against", against.textContent);
    shown.set("axis", document.querySelector("#axis input:checked")?.value ?? "");
    const its = Report.comparison;
    if (its && !byId("compare-body").hidden) {
      shown.set("image", its.images.find((image) => image.key === byId("image").value)?.name ?? "");
      for (const side of ["left", "right"]) {
        const kind = byId(side).value;
        if (its.labels[kind] === undefined) shown.set(`${side}-without-model`, kind); else shown.set(side, its.labels[kind]);
      }
      shown.set("view", byId("view").value);
    }
    return shown;
  };

  const remember = () => history.replaceState(null, "", `#${view()}`);

  const choose = (select, value) => {
    if (!select || ![...select.options].some((option) => option.value === value && !option.disabled)) return;
    select.value = value;
    select.dispatchEvent(new Event("change"));
  };

  const showTable = (wanted, index) => {
    if (index !== Report.board) Report.showBoard(index);
    const rules = root().querySelector(".edition");
    choose(rules, [...(rules?.options ?? [])].find((option) => option.textContent === wanted.get("rules"))?.value);
    const heading = Report.leaderboard.headings.find((each) => each.dataset.key === wanted.get("sort"));
    if (heading) Report.leaderboard.sortBy(heading, wanted.get("order") === "descending" ? "descending" : "ascending");
    if (wanted.has("model")) Report.leaderboard.chooseOnly(wanted.getAll("model"));
    Report.changed("chosen");
    choose(byId("baseline"), [...byId("baseline")?.options ?? []].find((option) => option.textContent === wanted.get("against"))?.value);
  };

  const showPlotsAndPictures = (wanted) => {
    [...document.querySelectorAll("#axis input")].find((radio) => radio.value === wanted.get("axis") && !radio.disabled)?.click();
    if (!Report.comparison || byId("compare-body").hidden) return;
    choose(byId("image"), Report.comparison.images.find((image) => image.name === wanted.get("image"))?.key);
    for (const side of ["left", "right"]) choose(byId(side), kindOf(wanted, side));
    choose(byId("view"), wanted.get("view"));
  };

  const restore = () => {
    const wanted = new URLSearchParams(location.hash.slice(1));
    // A link to a table that is not here any more shows nothing else instead.
    const index = Report.boards.findIndex((board) => board.title === wanted.get("table"));
    if (index < 0) return;
    showTable(wanted, index);
    showPlotsAndPictures(wanted);
  };

  restore();
  addEventListener("hashchange", restore);
  let pending = null;
  const soon = (event) => {
    // Only what a reader does is remembered, after what it brings about.
    if (!event.isTrusted || !event.target.closest("button, select, input, label, tr, .plot")) return;
    clearTimeout(pending);
    pending = setTimeout(remember, 50);
  };
  for (const name of ["change", "click"]) document.addEventListener(name, soon);
}
