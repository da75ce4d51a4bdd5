// The trade-off plot and the distributions. Plotly is loaded once the page stands.
"use strict";

{
  const AXES = {
    runtime_ms: { title: "Time [ms]", scale: 1 },
    flops: { title: "FLOPs [G]", scale: 1e9 },
    num_params: { title: "Params [M]", scale: 1e6 },
    activations: { title: "Acts [M]", scale: 1e6 },
  };
  const CONFIG = {
    displaylogo: false, responsive: true, displayModeBar: innerWidth < 640 ? false : "hover",
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
    // What was measured is sent nowhere.
    showSendToCloud: false, plotlyServerURL: "",
  };
  const LONGEST_NAME = 24;
  const LR_TO_MEGAPIXELS = 16 / 1e6;
  const axisRadios = [...document.querySelectorAll("#axis input")];
  const baselineSelect = document.getElementById("baseline");
  let axis = null;
  // What a reader chose, also while a table is shown that does not have it.
  let chosenAxis = null;

  // Names are third-party text, and Plotly reads a little HTML.
  const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

  // A name as it fits beside a marker or an axis; what is pointed at tells the whole.
  // Its end stays: there stands what tells two runs of a model apart.
  const brief = (text) => plain(text.length > LONGEST_NAME ? `${text.slice(0, LONGEST_NAME / 2 - 1)}…${text.slice(-LONGEST_NAME / 2)}` : text);

  const layout = (more) => ({
    paper_bgcolor: "transparent",
    plot_bgcolor: "transparent",
    font: { family: "system-ui, sans-serif", size: 13, color: Report.colour("ink") },
    margin: { l: 60, r: 16, t: 32, b: 52 },
    showlegend: false,
    hovermode: "closest",
    modebar: { bgcolor: "transparent", color: Report.colour("muted-mark"), activecolor: Report.colour("ink") },
    hoverlabel: { bgcolor: Report.colour("ground"), bordercolor: Report.colour("line"), font: { color: Report.colour("ink") }, align: "left" },
    ...more,
  });

  const axisStyle = (more) => ({
    gridcolor: Report.colour("line"), zeroline: false, linecolor: Report.colour("line"), ticks: "outside",
    tickcolor: Report.colour("line"), automargin: true, ...more,
  });

  const hasFigure = (row, key) => row.complete && typeof row[key] === "number" && row[key] > 0 && typeof row.psnr_db === "number";

  // Models that no other beats in both: by cost, each with more dB than all cheaper ones.
  Report.paretoFront = (rows, key) => {
    const front = [];
    for (const row of [...rows].sort((a, b) => a[key] - b[key] || b.psnr_db - a.psnr_db)) {
      if (!front.length || row.psnr_db > front.at(-1).psnr_db) front.push(row);
    }
    return front;
  };

  const hoverText = (row) => {
    const rank = Report.leaderboard.rules.rows[row.index].cells.rank[0];
    const lines = Object.entries(AXES).filter(([key]) => row.texts[key]).map(([key, its]) => `${its.title}: ${row.texts[key]}`);
    return [`<b>${plain(row.label)}</b>`, `PSNR [dB]: ${row.texts.psnr_db}`, ...lines, ...(rank && rank !== "-" ? [`Rank: ${rank}`] : [])].join("<br>");
  };

  const markerSizes = (rows) => {
    const greatest = Math.max(...rows.map((row) => row.num_params ?? 0), 1);
    return rows.map((row) => 8 + 26 * Math.sqrt((row.num_params ?? 0) / greatest));
  };

  // Ticks at 1, 2, 5, 10 … as plain numbers, with every second one left out where they would be many.
  const logTicks = (values) => {
    const [least, greatest] = [Math.min(...values) / 1.5, Math.max(...values) * 1.5];
    const steps = Math.log10(greatest / least) > 2.5 ? [1] : [1, 2, 5];
    const ticks = [];
    for (let power = Math.floor(Math.log10(least)); power <= Math.log10(greatest); power++) {
      for (const step of steps) ticks.push(Number((step * 10 ** power).toPrecision(3)));
    }
    const shown = ticks.filter((tick) => tick >= least && tick <= greatest);
    return { type: "log", tickvals: shown, ticktext: shown.map(String) };
  };

  const isWide = (values) => Math.max(...values) > 12 * Math.min(...values);

  // Pixels of each marker, as near as they must be known to keep names apart: Plotly leaves room beside what it shows,
  // unless the range is given.
  const pixelsOf = (rows, isLog, { range, gates }) => {
    const target = document.getElementById("tradeoff-plot");
    const along = (values, length, ends, share = 0.88) => {
      const [least, greatest] = [Math.min(...ends), Math.max(...ends)];
      return values.map((value) => (greatest > least ? (share * length * (value - least)) / (greatest - least) : 0));
    };
    const scaled = (cost) => (isLog ? Math.log(cost) : cost);
    const ends = axis === "runtime_ms" ? rows.flatMap((row) => row.interval_ms ?? []) : [];
    const [costs, down] = [rows.map((row) => scaled(row[axis])), rows.map((row) => -row.psnr_db)];
    const x = along(costs, target.clientWidth - 80, [...costs, ...ends.map(scaled)]);
    const shown = (range ?? gates).map((db) => -db);
    const y = range ? along(down, target.clientHeight - 90, shown, 1) : along(down, target.clientHeight - 90, [...down, ...shown]);
    return rows.map((row, i) => [x[i], y[i]]);
  };

  // Chosen models are named first, then those on the front, then others while they are few.
  const namedFirst = (rows, chosen, front) => {
    const places = [...rows.keys()];
    const rank = (i) => (chosen.has(rows[i].index) ? 0 : front.includes(rows[i]) ? 1 : 2);
    return places.filter((i) => rank(i) < 2 || rows.length <= 15).sort((a, b) => rank(a) - rank(b));
  };

  const errorBars = (rows) => {
    if (axis !== "runtime_ms" || !rows.some((row) => row.interval_ms)) return {};
    const spans = rows.map((row) => row.interval_ms ?? [row.runtime_ms, row.runtime_ms]);
    return {
      error_x: {
        type: "data", symmetric: false, thickness: 1.2, width: 4, color: Report.colour("soft"),
        array: rows.map((row, i) => spans[i][1] - row.runtime_ms), arrayminus: rows.map((row, i) => row.runtime_ms - spans[i][0]),
      },
    };
  };

  const tradeoffTraces = (rows, isLog, view) => {
    const chosen = new Map(Report.leaderboard.chosen);
    const scale = AXES[axis].scale;
    const colours = rows.map((row) => chosen.get(row.index) ?? Report.colour("muted-mark"));
    const front = Report.paretoFront(rows, axis);
    const sizes = markerSizes(rows);
    const lengths = rows.map((row) => Math.min(row.label.length, LONGEST_NAME));
    const sides = Report.placeNames({ pixels: pixelsOf(rows, isLog, view), sizes, lengths }, namedFirst(rows, chosen, front));
    return [
      {
        x: front.map((row) => row[axis] / scale), y: front.map((row) => row.psnr_db), mode: "lines", hoverinfo: "skip",
        line: { color: Report.colour("soft"), width: 1.3, dash: "dot", shape: "hv" },
      },
      {
        x: rows.map((row) => row[axis] / scale), y: rows.map((row) => row.psnr_db), mode: "markers+text",
        text: rows.map((row, i) => (sides[i] ? brief(row.label) : "")), textposition: sides.map((side) => side ?? "top center"),
        textfont: { size: 12, color: Report.colour("ink") }, customdata: rows.map((row) => row.index),
        hovertext: rows.map(hoverText), hoverinfo: "text", cliponaxis: false,
        marker: { size: sizes, color: colours, opacity: 0.9, line: { color: Report.colour("ground"), width: 1.5 } },
        ...errorBars(rows),
      },
    ];
  };

  const gateLines = () => Report.leaderboard.rules.gates.map(([least, text]) => ({
    type: "line", xref: "paper", x0: 0, x1: 1, y0: least, y1: least,
    line: { color: Report.colour("warn-line"), width: 1.5, dash: "dash" },
    label: { text: `gate ${text} dB`, textposition: "start", yanchor: "bottom", font: { color: Report.colour("soft"), size: 12 } },
  }));

  // The range of dB that is shown at first: without models so far below the others that these would lie on one line,
  // but for those whose dB must be seen.
  Report.viewOf = (psnrs, gates = [], kept = []) => {
    const sorted = [...psnrs].sort((a, b) => a - b);
    const quarter = (share) => sorted[Math.floor(share * (sorted.length - 1))];
    const least = Math.min(quarter(0.25) - 4 * (quarter(0.75) - quarter(0.25)), ...kept);
    const shown = sorted.filter((psnr) => psnr >= least);
    const below = sorted.length - shown.length;
    if (!below || sorted.length < 8) return { below: 0 };
    const ends = [...shown, ...gates.filter((gate) => gate >= least)];
    const [low, high] = [Math.min(...ends), Math.max(...ends)];
    const margin = 0.12 * (high - low);
    return { below, range: [low - margin, high + margin] };
  };

  // In two lines, which fit on a phone.
  const belowNote = ({ below }) => (below ? [{
    text: `${below} ${below === 1 ? "model is" : "models are"} hidden at a lower PSNR;<br>double-click to show all`, align: "left",
    xref: "paper", yref: "paper", x: 0.01, y: 0.01, showarrow: false, font: { color: Report.colour("soft"), size: 12 },
  }] : []);

  const psnrsOf = (rows) => rows.map((row) => row.psnr_db);

  const drawTradeoff = () => {
    const target = document.getElementById("tradeoff-plot");
    const rows = Report.current.rows.map((row, index) => ({ ...row, index })).filter((row) => hasFigure(row, axis));
    if (!rows.length) {
      Plotly.purge(target);
      target.textContent = "No model of this table has both figures.";
      return;
    }
    if (!target._fullLayout) target.replaceChildren();
    const { gates, rows: ruled } = Report.leaderboard.rules;
    const chosen = new Map(Report.leaderboard.chosen);
    // What is chosen or ranked first is seen, wherever it lies.
    const kept = rows.filter(({ index }) => chosen.has(index) || ruled[index].cells.rank[1] === 1);
    const limits = gates.map(([least]) => least);
    const view = Report.viewOf(psnrsOf(rows), limits, psnrsOf(kept));
    const isLog = isWide(rows.map((row) => row[axis]));
    Plotly.react(target, tradeoffTraces(rows, isLog, { ...view, gates: limits }), layout({
      // What a reader zoomed to stays, as long as it is the same plot.
      uirevision: `${Report.board} ${axis}`,
      shapes: gateLines(),
      annotations: belowNote(view),
      xaxis: axisStyle({ title: { text: AXES[axis].title }, ...(isLog ? logTicks(rows.map((row) => row[axis] / AXES[axis].scale)) : {}) }),
      yaxis: axisStyle({ title: { text: "PSNR [dB]" }, ...(view.range ? { range: view.range } : {}) }),
    }), CONFIG);
    target.removeAllListeners?.("plotly_click");
    target.on("plotly_click", (event) => {
      const index = event.points[0].customdata;
      if (index !== undefined) Report.leaderboard.toggle(index);
    });
  };

  const differences = (row, baseline) => row.psnrs_db
    .map((psnr, i) => [psnr, baseline.psnrs_db[i], Report.current.images[i]])
    .filter(([mine, other]) => mine !== null && other !== null);

  // A model against itself says nothing.
  const differenceTraces = (baseline) => Report.leaderboard.chosen.map(([index, colour]) => {
    const row = Report.current.rows[index];
    if (row === baseline) return { x: [] };
    const pairs = differences(row, baseline);
    return {
      type: "box", name: brief(row.label), x: pairs.map(([mine, other]) => mine - other), orientation: "h",
      text: pairs.map(([, , name]) => plain(`${row.label}, ${name}`)), hovertemplate: "%{text}: %{x:+.3f} dB<extra></extra>",
      boxpoints: "all", jitter: 0.5, pointpos: 0, marker: { color: colour, size: 5, opacity: 0.55 },
      line: { color: colour, width: 1.5 }, fillcolor: "transparent",
    };
  }).filter((trace) => trace.x.length).reverse().map((trace, place) => ({ ...trace, y0: place }));

  const runtimeTraces = () => Report.leaderboard.chosen.map(([index, colour]) => {
    const row = Report.current.rows[index];
    const timed = row.runtimes_ms.map((ms, i) => [Report.current.lr_pixels[i] * LR_TO_MEGAPIXELS, ms, Report.current.images[i]])
      .filter(([, ms]) => ms !== null);
    return {
      x: timed.map(([size]) => size), y: timed.map(([, ms]) => ms), mode: "markers", name: plain(row.label),
      text: timed.map(([, , name]) => plain(`${row.label}, ${name}`)), hovertemplate: "%{text}: %{y:.2f} ms<extra></extra>",
      marker: { color: colour, size: 7, opacity: 0.7 },
    };
  });

  const drawDistributions = () => {
    const baseline = Report.current.rows[Number(baselineSelect.value)];
    if (baseline) {
      const traces = differenceTraces(baseline);
      // Each has a line of its own, whatever it is called.
      const lines = { tickvals: traces.map((_, place) => place), ticktext: traces.map((trace) => trace.name) };
      Plotly.react("difference-plot", traces, layout({
        margin: { l: 8, r: 16, t: 28, b: 40 },
        xaxis: axisStyle({ zeroline: true, zerolinecolor: Report.colour("soft") }),
        yaxis: axisStyle({ showgrid: false, ticks: "", ...lines }),
      }), CONFIG);
    }
    document.getElementById("runtime-figure").hidden = !Report.current.timed;
    if (!Report.current.timed) return;
    Plotly.react("runtime-plot", runtimeTraces(), layout({
      margin: { l: 50, r: 16, t: 28, b: 40 },
      xaxis: axisStyle({ rangemode: "tozero" }), yaxis: axisStyle({ rangemode: "tozero" }),
    }), CONFIG);
  };

  const readyBoard = () => {
    const board = Report.current;
    for (const radio of axisRadios) radio.disabled = !board.rows.some((row) => hasFigure(row, radio.value));
    const able = axisRadios.filter((radio) => !radio.disabled);
    axis = able.find((radio) => radio.value === chosenAxis)?.value ?? able[0]?.value ?? "flops";
    for (const radio of axisRadios) radio.checked = radio.value === axis;
    const options = board.rows.map((row, index) => [row, index]).filter(([row]) => row.complete);
    baselineSelect.replaceChildren(...options.map(([row, index]) =>
      Report.element("option", { value: index, textContent: row.label, selected: index === Report.leaderboard.rules.baseline })));
  };

  const draw = () => { if (window.Plotly) { drawTradeoff(); drawDistributions(); } };

  // Plots follow the window by themselves, the paper not.
  const fit = () => { for (const plot of document.querySelectorAll(".js-plotly-plot")) Plotly.relayout(plot, { autosize: true }); };
  for (const name of ["beforeprint", "afterprint"]) addEventListener(name, fit);

  for (const radio of axisRadios) radio.addEventListener("change", () => { axis = chosenAxis = radio.value; draw(); });
  baselineSelect.addEventListener("change", draw);
  Report.onChange((what) => { if (what === "board" || what === "edition") readyBoard(); draw(); });

  readyBoard();
  // Read after the table has been painted: its megabytes would hold that up.
  requestAnimationFrame(() => setTimeout(() => Report.script(Report.plotly).then(draw), 0));
}
