// Two pictures of one image: a slider between them, zoomed crops of the same place, and where they are wrong.
"use strict";

// Errors of an image arrive as a script: a page opened from disk may not fetch files.
// Each tells whose they are by where it lies, for several may be under way.
Report.errorCodes = new Map();
Report.errors = (key, codes) => Report.errorCodes.set(document.currentScript.getAttribute("src").replace(/[^/]*$/, "") + key, codes);

{
  const CELL = 4;
  const FULL_ERROR = 64;
  const STOPS = [[0, 0, 4], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]];
  const byId = (id) => document.getElementById(id);
  const stage = byId("stage");
  const state = { image: null, lens: [0, 0] };

  // One byte a cell: the root of its mean squared error is 2 ** ((code - 70) / 23) levels, and 0 for code 0.
  const rootError = (code) => (code === 0 ? 0 : 2 ** ((code - 70) / 23));

  const ramp = Array.from({ length: 256 }, (_, code) => {
    const place = Math.min(1, rootError(code) / FULL_ERROR) * (STOPS.length - 1);
    const low = Math.min(Math.floor(place), STOPS.length - 2);
    return STOPS[low].map((from, channel) => Math.round(from + (place - low) * (STOPS[low + 1][channel] - from)));
  });

  const titles = () => ({ ...Report.comparison.labels, bicubic: "LR, bicubic", hr: "HR" });

  const codesOf = (kind) => {
    const codes = Report.errorCodes.get(`${Report.comparison.folder}/${state.image.key}`)?.[kind];
    return codes && Uint8Array.from(atob(codes), (char) => char.charCodeAt(0));
  };

  const loadErrors = async (image) => {
    const { folder } = Report.comparison;
    if (Report.errorCodes.has(`${folder}/${image.key}`)) return;
    await Report.script(`${folder}/${image.errors}`);
  };

  // PSNR of a rectangle in pixels of the picture, from its cells; null where there is nothing to compare.
  Report.cropPsnr = (kind, [x, y, width, height]) => {
    const codes = kind === "hr" ? null : codesOf(kind);
    if (!codes) return null;
    const columns = state.image.area[2] / CELL;
    let sum = 0;
    for (let row = y / CELL; row < (y + height) / CELL; row++) {
      for (let column = x / CELL; column < (x + width) / CELL; column++) sum += rootError(codes[row * columns + column]) ** 2;
    }
    return 10 * Math.log10(255 ** 2 / (sum / ((width / CELL) * (height / CELL))));
  };

  const decibels = (psnr) => (psnr === null ? "" : `${Number.isFinite(psnr) ? psnr.toFixed(2) : "∞"} dB`);

  // The root of a cell's error is known to 1.6%, which is 0.13 dB; identical pixels are known to be so.
  const about = (psnr) => (Number.isFinite(psnr) ? `about ${psnr.toFixed(1)} dB` : decibels(psnr));

  const picture = (kind) => Report.element("img", {
    src: `${Report.comparison.folder}/${state.image.sources[kind]}`, alt: `${state.image.name}, ${titles()[kind]}`, draggable: false,
  });

  const errorMap = (kind) => {
    const [, , width, height] = state.image.area;
    const canvas = Report.element("canvas", { width: width / CELL, height: height / CELL, role: "img" });
    canvas.setAttribute("aria-label", `Errors of ${titles()[kind]}`);
    // The HR image alone has no errors.
    const codes = kind === "hr" ? new Uint8Array(canvas.width * canvas.height) : codesOf(kind);
    if (!codes) return canvas;
    const pixels = new Uint8ClampedArray(codes.length * 4);
    codes.forEach((code, i) => pixels.set([...ramp[code], 255], i * 4));
    canvas.getContext("2d").putImageData(new ImageData(pixels, canvas.width, canvas.height), 0, 0);
    return canvas;
  };

  const zoomSide = () => Math.min(Number(byId("zoom").value), state.image.area[2], state.image.area[3]) & ~3;

  const chosenKinds = () => [byId("left").value, byId("right").value];

  const drawStage = () => {
    const make = byId("view").value === "error" ? errorMap : picture;
    const [left, right] = chosenKinds();
    stage.querySelector(".under").replaceChildren(make(left));
    stage.querySelector(".over").replaceChildren(make(right));
    const [, , width, height] = state.image.area;
    stage.style.aspectRatio = `${width} / ${height}`;
    stage.style.width = `min(100%, calc(75vh * ${width / height}), ${2 * width}px)`;
    const whole = (kind) => `${titles()[kind]} ${kind in state.image.psnrs_db ? decibels(state.image.psnrs_db[kind]) : ""}`;
    byId("left-name").textContent = whole(left);
    byId("right-name").textContent = whole(right);
    byId("slider").setAttribute("aria-valuetext", `${titles()[left]} left, ${titles()[right]} right`);
  };

  const cropOf = (made) => {
    const [, , width, height] = state.image.area;
    const box = Report.element("div", { className: "crop" }, made);
    const percent = 100 / zoomSide();
    made.style.width = `${width * percent}%`;
    made.style.height = `${height * percent}%`;
    made.style.left = `${-state.lens[0] * percent}%`;
    made.style.top = `${-state.lens[1] * percent}%`;
    return box;
  };

  const captioned = (title, detail, box) =>
    Report.element("figure", {}, Report.element("figcaption", {}, title, Report.element("small", { textContent: detail || "\u00a0" })), box);

  // Place a box over a picture of a size: [left, top, width, height], all in pixels.
  const frame = (box, area, size) =>
    ["left", "top", "width", "height"].forEach((side, i) => { box.style[side] = `${(100 * area[i]) / size[i % 2]}%`; });

  const overview = () => {
    const { area, size, thumbnail, name } = state.image;
    const mark = Report.element("div", { className: "lens" });
    frame(mark, area, size);
    const image = Report.element("img", { src: `${Report.comparison.folder}/${thumbnail}`, alt: `${name} as a whole` });
    return Report.element("div", { className: "overview" }, image, mark);
  };

  const drawCrops = () => {
    const [left, right] = chosenKinds();
    const side = zoomSide();
    const place = [...state.lens, side, side];
    const figures = [left, right, "hr"].map((kind, i) =>
      [kind, captioned(i === 2 ? "HR" : titles()[kind], i === 2 ? "ground truth" : about(Report.cropPsnr(kind, place)), cropOf(picture(kind)))]);
    const errors = [left, right].map((kind) => captioned("error", titles()[kind], cropOf(errorMap(kind))));
    byId("crops").replaceChildren(...figures.map(([, figure]) => figure), ...errors, captioned("whole image", "what is shown here", overview()));
    frame(stage.querySelector(":scope > .lens"), place, state.image.area.slice(2));
    byId("crop-status").textContent = [left, right].map((kind) => `${titles()[kind]} ${about(Report.cropPsnr(kind, place))}`).join(", ");
  };

  const moveLens = (x, y) => {
    const [, , width, height] = state.image.area;
    const side = zoomSide();
    const snap = (value, most) => Math.round(Math.min(Math.max(0, value), most - side) / CELL) * CELL;
    state.lens = [snap(x, width), snap(y, height)];
    drawCrops();
  };

  const split = (percent) => {
    byId("slider").value = percent;
    stage.style.setProperty("--split", `${percent}%`);
  };

  // The square where the two chosen pictures differ most is shown first.
  const mostDifferent = () => {
    const [, , width, height] = state.image.area;
    const [a, b] = chosenKinds().map(codesOf);
    const side = zoomSide();
    const columns = width / CELL;
    let best = [-1, (width - side) / 2, (height - side) / 2];
    const difference = (cell) => Math.abs(rootError(a?.[cell] ?? 0) ** 2 - rootError(b?.[cell] ?? 0) ** 2);
    for (let y = 0; y + side <= height; y += side / 2) {
      for (let x = 0; x + side <= width; x += side / 2) {
        let sum = 0;
        for (let row = 0; row < side / CELL; row++) {
          for (let column = 0; column < side / CELL; column++) sum += difference((Math.floor(y / CELL) + row) * columns + Math.floor(x / CELL) + column);
        }
        if (sum > best[0]) best = [sum, x, y];
      }
    }
    return best.slice(1);
  };

  // A model of which this image has no picture cannot be chosen; what had been gives way to the next that can.
  const offerKinds = () => {
    for (const side of ["left", "right"]) {
      const select = byId(side);
      for (const option of select.options) option.disabled = !(option.value in state.image.sources);
      if (select.selectedOptions[0]?.disabled ?? true) select.value = [...select.options].find((option) => !option.disabled).value;
    }
  };

  const showImage = async (image) => {
    state.image = image;
    offerKinds();
    await loadErrors(image);
    if (state.image !== image) return;
    drawStage();
    moveLens(...mostDifferent());
  };

  const fillImages = () => {
    const orders = {
      spread: (a, b) => b.spread_db - a.spread_db,
      mean: (a, b) => a.mean_db - b.mean_db,
      name: (a, b) => a.name.localeCompare(b.name),
    };
    const images = [...Report.comparison.images].sort(orders[byId("order").value]);
    byId("image").replaceChildren(...images.map((image) => Report.element("option", {
      value: image.key,
      textContent: `${image.name} · ${image.mean_db.toFixed(2)} dB, range ${image.spread_db.toFixed(2)} dB`,
    })));
    return images[0];
  };

  const fillKinds = () => {
    const { labels } = Report.comparison;
    const chosen = Report.leaderboard.chosen.map(([index]) => labels.indexOf(Report.current.rows[index].label)).filter((at) => at >= 0);
    const first = ["bicubic", String(chosen[0] ?? 0)];
    ["left", "right"].forEach((side, i) => {
      const kinds = [...labels.map((_, at) => String(at)), "bicubic", "hr"];
      byId(side).replaceChildren(...kinds.map((kind) =>
        Report.element("option", { value: kind, textContent: titles()[kind], selected: kind === first[i] })));
    });
  };

  const note = () => {
    const { images, labels, of: all } = Report.comparison;
    // The border that PSNR leaves out is as wide as a cell.
    const cropped = images.filter(({ size, area }) => size.some((side, i) => side - 2 * CELL > area[2 + i]));
    const where = labels.length > 1 ? "the models differ most" : "errors are largest";
    const parts = cropped.length
      ? `${cropped.length === images.length ? "Each image" : "A large image"} is cropped to the region where ${where}.`
      : "Images are shown without the 4 pixels at their border.";
    const lossy = images.filter((image) => !image.lossless).length;
    const which = lossy < images.length ? ` of ${lossy} of ${images.length} images are visually lossless (AVIF), all others lossless` : " are visually lossless (AVIF)";
    const kept = lossy ? `Pictures${which}; PSNR and errors come from the pixels before compression.` : "Pictures are lossless.";
    const left = images.length < all ? ` ${images.length} of ${all} images are shown: those with the lowest PSNR and those with the largest differences.` : "";
    return `${parts} ${kept}${left} Click or drag to move the square that is zoomed.`;
  };

  const ready = () => {
    const here = Boolean(Report.comparison);
    byId("compare-missing").hidden = here;
    byId("compare-body").hidden = !here;
    if (!here) return;
    byId("compare-note").textContent = note();
    fillKinds();
    showImage(fillImages());
  };

  const current = () => Report.comparison.images.find((image) => image.key === byId("image").value);

  const step = (by) => {
    const select = byId("image");
    select.selectedIndex = (select.selectedIndex + by + select.length) % select.length;
    showImage(current());
  };

  byId("order").addEventListener("change", () => showImage(fillImages()));
  byId("image").addEventListener("change", () => showImage(current()));
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  for (const id of ["left", "right", "view"]) byId(id).addEventListener("change", () => { drawStage(); drawCrops(); });
  byId("zoom").addEventListener("change", () => moveLens(...state.lens));
  byId("slider").addEventListener("input", () => split(Number(byId("slider").value)));

  const pointed = (event) => {
    const box = stage.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  const centreLens = ([x, y]) => {
    const [, , width, height] = state.image.area;
    moveLens(x * width - zoomSide() / 2, y * height - zoomSide() / 2);
  };
  let drag = null;
  stage.addEventListener("pointerdown", (event) => {
    const [x, y] = pointed(event);
    const near = Math.abs(x * 100 - Number(byId("slider").value)) < 2.5;
    drag = near ? ([at]) => split(Math.min(100, Math.max(0, 100 * at))) : centreLens;
    stage.setPointerCapture(event.pointerId);
    drag([x, y]);
  });
  stage.addEventListener("pointermove", (event) => drag?.(pointed(event)));
  for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, () => { drag = null; });
  stage.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const by = zoomSide() / 4;
    moveLens(state.lens[0] + by * steps[event.key][0], state.lens[1] + by * steps[event.key][1]);
  });

  Report.onChange((what) => { if (what === "board") ready(); });
  ready();
}
