/** Outlines of segmentations along the edges of voxels. */

const STEPS = [[1, 0], [0, 1], [-1, 0], [0, -1]]; // right, down, left, up
const KEPT = 400;

/** Closed loops around the voxels of `bits` (row by row) that have `bit`, as a Path2D in picture coordinates. Fill it by "evenodd". */
export function outline(bits, bit, columns, rows) {
  const edges = edgesAround(bits, bit, columns, rows);
  const path = new Path2D();
  for (let corner = 0; corner < edges.length; corner += 1) {
    while (edges[corner]) trace(path, edges, corner, columns + 1);
  }
  return path;
}

/** For each corner of the grid the directions (bit 0 right, 1 down, 2 left, 3 up) of edges that begin there, the inside on their right. */
function edgesAround(bits, bit, columns, rows) {
  const width = columns + 1;
  const edges = new Uint8Array(width * (rows + 1));
  for (let v = 0, i = 0; v < rows; v += 1) {
    for (let u = 0; u < columns; u += 1, i += 1) {
      if (!(bits[i] & bit)) continue;
      const corner = v * width + u;
      if (v === 0 || !(bits[i - columns] & bit)) edges[corner] |= 1;
      if (u === columns - 1 || !(bits[i + 1] & bit)) edges[corner + 1] |= 2;
      if (v === rows - 1 || !(bits[i + columns] & bit)) edges[corner + width + 1] |= 4;
      if (u === 0 || !(bits[i - 1] & bit)) edges[corner + width] |= 8;
    }
  }
  return edges;
}

/** Walk along one loop and take its edges away. Where two voxels touch by a corner, the turn to the right keeps them apart. */
function trace(path, edges, start, width) {
  let [u, v] = [start % width, Math.floor(start / width)];
  let [corner, direction] = [start, 31 - Math.clz32(edges[start] & -edges[start])];
  path.moveTo(u, v);
  do {
    edges[corner] &= ~(1 << direction);
    u += STEPS[direction][0];
    v += STEPS[direction][1];
    corner = v * width + u;
    const next = [1, 0, 3].map((turn) => (direction + turn) % 4).find((turn) => edges[corner] & (1 << turn));
    if (next !== direction) path.lineTo(u, v);
    direction = next;
  } while (corner !== start && direction !== undefined);
  path.closePath();
}

/** The outlines of one SliceFile's bits, made once for each slice and tissue. */
export class Outlines {
  constructor(file) {
    this.file = file;
    this.paths = new Map();
  }

  of(geometry, slice, tissue) {
    const key = `${geometry.axis} ${slice} ${tissue}`;
    const known = this.paths.get(key);
    if (known) return known;
    const bits = geometry.copySlice(this.file.volume, slice, new Uint8Array(geometry.rows * geometry.columns));
    const path = outline(bits, 1 << tissue, geometry.columns, geometry.rows);
    if (this.paths.size >= KEPT) this.paths.delete(this.paths.keys().next().value);
    this.paths.set(key, path);
    return path;
  }

  /** More slices came: planes across the stack have changed. */
  forget() {
    this.paths.clear();
  }
}
