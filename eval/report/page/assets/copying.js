// What the leaderboard shows, copied as Markdown, CSV or LaTeX.
"use strict";

{
  const NOTHING = "-";

  // Names and headings come escaped with the page; figures need it in no form.
  const escaped = (text, form) => (Object.hasOwn(Report.escaped, text) ? Report.escaped[text][form] : text);

  const figures = {
    Markdown: (text) => text,
    // A spreadsheet must not read a range of ranks as a date.
    CSV: (text, key) => (text === NOTHING ? "" : key === "rank" ? text.replace("-", " to ") : text),
    LaTeX: (text) => (text === "inf" ? "$\\infty$" : text),
  };

  const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

  const forms = {
    Markdown([headings, ...rows], numeric) {
      const line = (cells) => `| ${cells.join(" | ")} |`;
      const rule = `|${numeric.map((is) => (is ? "---:" : "---")).join("|")}|`;
      return [line(headings), rule, ...rows.map(line)].join("\n");
    },
    CSV(lines) { return lines.map((cells) => cells.map(quoted).join(",")).join("\n"); },
    LaTeX([headings, ...rows], numeric) {
      const line = (cells) => `  ${cells.join(" & ")} \\\\`;
      const columns = numeric.map((is) => (is ? "r" : "l")).join("");
      return [`\\begin{tabular}{${columns}}`, "  \\toprule", line(headings), "  \\midrule", ...rows.map(line),
        "  \\bottomrule", "\\end{tabular}"].join("\n");
    },
  };

  Report.tableAs = (board, form) => {
    const shown = board.headings.filter((heading) => !heading.hidden);
    const numeric = shown.map((heading) => heading.classList.contains("number"));
    const headings = shown.map((heading) => escaped(heading.dataset.title, form));
    const rows = board.visibleRows.map((row) => shown.map(({ dataset: { key } }, i) => {
      const { text } = board.cell(row, key).dataset;
      return numeric[i] ? figures[form](text, key) : escaped(text, form);
    }));
    return `${forms[form]([headings, ...rows], numeric)}\n`;
  };

  // Where a browser keeps the clipboard from files, an invisible field is copied instead.
  const copyByField = (text) => {
    const field = Report.element("textarea", { value: text, className: "only-read" });
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  };

  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return copyByField(text);
    }
  };

  for (const board of Report.leaderboards) {
    for (const button of board.root.querySelectorAll("[data-copy]")) {
      button.addEventListener("click", async () => {
        const done = await copy(Report.tableAs(board, button.dataset.copy));
        board.say(done ? `Copied as ${button.dataset.copy}.` : "The browser did not allow copying.");
        button.closest("details").open = false;
      });
    }
  }
}
