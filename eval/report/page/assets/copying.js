// What the leaderboard shows, copied as Markdown, CSV or LaTeX.
"use strict";

{
  const markdown = (text) => text.replace(/[\\`*_{}[\]<>#|]/g, "\\$&").replace(/\s+/g, " ");
  const latexSpecial = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" };
  const latex = (text) => text.replace(/[\\~^#$%&_{}]/g, (char) => latexSpecial[char] ?? `\\${char}`);
  const NOTHING = "-";
  const isNumber = (text) => /^-?[\d.]+(e[+-]?\d+)?$/.test(text);
  // A spreadsheet must not run a name as a formula, nor read a range of ranks as a date.
  const csv = (text) => {
    if (text === NOTHING) return "";
    if (/^\d+-\d+$/.test(text)) return text.replace("-", " to ");
    const inert = /^[=+\-@\t\r]/.test(text) && !isNumber(text) ? `'${text}` : text;
    return /[",\n\r]/.test(inert) ? `"${inert.replaceAll('"', '""')}"` : inert;
  };

  const forms = {
    Markdown(headings, rows, numeric) {
      const line = (cells) => `| ${cells.map(markdown).join(" | ")} |`;
      const rule = `|${numeric.map((is) => (is ? "---:" : "---")).join("|")}|`;
      return [line(headings), rule, ...rows.map(line)].join("\n");
    },
    CSV(headings, rows) { return [headings, ...rows].map((cells) => cells.map(csv).join(",")).join("\n"); },
    LaTeX(headings, rows, numeric) {
      const figure = (text, i) => (numeric[i] && text === "inf" ? "$\\infty$" : latex(text));
      const line = (cells) => `  ${cells.map(figure).join(" & ")} \\\\`;
      const columns = numeric.map((is) => (is ? "r" : "l")).join("");
      return [`\\begin{tabular}{${columns}}`, "  \\toprule", line(headings), "  \\midrule", ...rows.map(line),
        "  \\bottomrule", "\\end{tabular}"].join("\n");
    },
  };

  Report.tableAs = (board, form) => {
    const shown = board.headings.filter((heading) => !heading.hidden);
    const keys = shown.map((heading) => heading.dataset.key);
    const rows = board.visibleRows.map((row) => keys.map((key) => board.cell(row, key).dataset.text));
    const numeric = shown.map((heading) => heading.classList.contains("number"));
    return `${forms[form](shown.map((heading) => heading.dataset.title), rows, numeric)}\n`;
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
