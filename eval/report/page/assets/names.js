// Names beside the markers of a plot, none over another.
"use strict";

{
  // Where a name can stand, as Plotly calls it: which way its middle lies from the marker's.
  const SIDES = {
    "top center": [0, -1], "middle right": [1, 0], "bottom center": [0, 1], "middle left": [-1, 0],
    "top right": [1, -1], "top left": [-1, -1], "bottom right": [1, 1], "bottom left": [-1, 1],
  };
  const LETTER = 6.8;
  const LINE = 15;

  // How far left of the leftmost marker a name can begin without crossing the axis.
  const LEFTMOST = -30;

  // Boxes are [x, y of the middle, half the width, half the height], in pixels.
  const overlap = ([ax, ay, aw, ah], [bx, by, bw, bh]) => Math.abs(ax - bx) < aw + bw && Math.abs(ay - by) < ah + bh;

  // Return a side for each marker: one on which its name covers no marker and no name before it, or null if there is
  // none. Markers have their middle in pixels, their size, and the length of their name; wanted says whose name comes
  // first.
  Report.placeNames = ({ pixels, sizes, lengths }, wanted) => {
    const taken = pixels.map(([x, y], i) => [x, y, sizes[i] / 2, sizes[i] / 2]);
    const sides = pixels.map(() => null);
    for (const i of wanted) {
      const [x, y] = pixels[i];
      const half = (LETTER * lengths[i]) / 2;
      const boxes = Object.entries(SIDES).map(([side, [right, down]]) =>
        [side, [x + right * (half + sizes[i] / 2), y + down * (LINE / 2 + sizes[i] / 2), half, LINE / 2]]);
      const inside = ([left]) => left - half >= LEFTMOST;
      const found = boxes.find(([, box]) => inside(box) && !taken.some((other, j) => j !== i && overlap(box, other)));
      if (!found) continue;
      sides[i] = found[0];
      taken.push(found[1]);
    }
    return sides;
  };
}
