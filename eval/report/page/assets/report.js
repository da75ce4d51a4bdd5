// Shared by all scripts of the page: its data, small helpers, light and dark.
"use strict";

const Report = {
  boards: [],
  board: 0,
  listeners: [],

  // Call back when another table is shown, other models are chosen, or light and dark change.
  onChange(callback) { this.listeners.push(callback); },
  changed(what) { for (const callback of this.listeners) callback(what); },

  get current() { return this.boards[this.board]; },

  // What can be compared of the table's set; that can have any name, also one that every object knows.
  get comparison() { return Object.hasOwn(this.comparisons, this.current.pictures) ? this.comparisons[this.current.pictures] : null; },

  element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in made) made[name] = value; else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  },

  colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim(); },

  script(source) {
    return new Promise((resolve, reject) => {
      document.head.append(Report.element("script", { src: source, onload: resolve, onerror: reject }));
    });
  },
};

{
  const root = document.documentElement;
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try { chosen = localStorage.getItem("theme"); } catch { /* storage can be off for files */ }

  let onPaper = false;
  const apply = () => {
    root.dataset.theme = onPaper ? "light" : chosen ?? (preferred.matches ? "dark" : "light");
    const button = document.getElementById("theme");
    if (button) button.textContent = root.dataset.theme === "dark" ? "Light colours" : "Dark colours";
    Report.changed("theme");
  };

  Report.paper = (begins) => {
    onPaper = begins;
    root.toggleAttribute("data-paper", begins);
    apply();
  };

  apply();
  preferred.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    document.getElementById("theme").addEventListener("click", () => {
      chosen = root.dataset.theme === "dark" ? "light" : "dark";
      try { localStorage.setItem("theme", chosen); } catch { /* as above */ }
      apply();
    });
  });
}
