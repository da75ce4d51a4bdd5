// Names beside the markers of a plot, none over another, each nearest to its own marker.
"use strict";

{
  // Where a name can stand, as Plotly calls it: which way its middle lies from the marker's.
  const SIDES = {
    "top center": [0, -1], "middle right": [1, 0], "bottom center": [0, 1], "middle left": [-1, 0],
    "top right": [1, -1], "top left": [-1, -1], "bottom right": [1, 1], "bottom left": [-1, 1],
  };
  const LETTER = 6.8;
  const LINE = 15;

  // What Plotly leaves free beside the outermost markers, as a part of the way between them, and behind the axis.
  const ROOM = 0.07;
  const MARGIN = 16;

  // So many times as far as from its own marker a name is from any other. Figures for papers ask for more: there a line
  // can lead to a name.
  const CLEARLY = 1.5;

  // Boxes are [x, y of the middle, half the width, half the height], in pixels.
  const overlap = ([ax, ay, aw, ah], [bx, by, bw, bh]) => Math.abs(ax - bx) < aw + bw && Math.abs(ay - by) < ah + bh;
  const distance = ([x, y], [bx, by, bw, bh]) => Math.hypot(Math.max(Math.abs(x - bx) - bw, 0), Math.max(Math.abs(y - by) - bh, 0));

  // Return a side for each marker, or null if there is none on which its name lies inside, covers no marker and no name
  // before it, and is clearly nearest to its own marker. Markers have their middle in pixels from the leftmost one, their
  // size, and the length of their name; wanted says whose name comes first.
  Report.placeNames = ({ pixels, sizes, lengths }, wanted) => {
    const taken = [];
    const sides = pixels.map(() => null);
    const width = Math.max(...pixels.map(([x]) => x)) || Infinity;
    const inside = ([x, , half]) => x - half >= -ROOM * width && x + half <= (1 + ROOM) * width + MARGIN;
    const isClear = (box, i) => {
      const gaps = pixels.map((pixel, j) => distance(pixel, box) - sizes[j] / 2);
      return gaps.every((gap, j) => j === i || gap > CLEARLY * gaps[i]);
    };
    for (const i of wanted) {
      const [x, y] = pixels[i];
      const half = (LETTER * lengths[i]) / 2;
      // As far off as Plotly writes it.
      const reach = sizes[i] / 1.6 + 1;
      const boxes = Object.entries(SIDES).map(([side, [right, down]]) =>
        [side, [x + right * (half + reach), y + down * (LINE / 2 + reach), half, LINE / 2]]);
      const found = boxes.find(([, box]) => inside(box) && isClear(box, i) && !taken.some((other) => overlap(box, other)));
      if (!found) continue;
      sides[i] = found[0];
      taken.push(found[1]);
    }
    return sides;
  };
}
