/** One picture: a contrast in a plane, with the query's contours, the predicted errors and what tells where it lies. */

import { waitingText } from "./viewer-notices.js";

const HATCH_ANGLES = [45, 135, 90, 0]; // of the tissues' errors, so that they are told apart without colours too
const SCALE_LENGTHS_MM = [1, 2, 5, 10, 20, 50, 100, 200];

export class Panel {
  /** viewer: the Viewer; contrast and plane: numbers in viewer.json. */
  constructor(viewer, contrast, plane) {
    Object.assign(this, { viewer, contrast, plane, geometry: viewer.geometries[plane] });
    this.element = made("div", "qcv-panel");
    this.canvas = made("canvas", "qcv-canvas", this.element);
    this.canvas.setAttribute("role", "img");
    this.texts = {};
    const letters = ["left", "right", "top", "bottom"];
    for (const name of [...letters, "name", "notice", "where", "scale", "value", "loading", "cross"]) {
      this.texts[name] = made("span", `qcv-${letters.includes(name) ? "letter qcv-" : ""}${name}`, this.element);
    }
    for (const edge of letters) this.texts[edge].textContent = viewer.description.planes[plane].edges[edge];
    this.texts.notice.textContent = "Not for diagnosis";
    this.texts.cross.hidden = true;
    this.grey = document.createElement("canvas");
    Object.assign(this.grey, { width: this.geometry.columns, height: this.geometry.rows });
    this.pixels = new ImageData(this.geometry.columns, this.geometry.rows);
    this.pixels.data.fill(255);
    this.stored = new Uint16Array(this.geometry.rows * this.geometry.columns);
    this.drawnGrey = "";
  }

  get slice() {
    return this.viewer.position[this.geometry.axis];
  }

  /** Device pixels of the canvas: x = left + across * u, y = top + along * v. */
  get transform() {
    const { width, height } = this.canvas;
    const view = this.viewer.views[this.plane];
    const perMm = this.pixelsPerMm(view, width, height);
    const [across, along] = [perMm * this.geometry.right.mm, perMm * this.geometry.down.mm];
    return { across, along, left: width / 2 - view.u * across, top: height / 2 - view.v * along, perMm };
  }

  pixelsPerMm(view, width, height) {
    if (view.sideMm) return Math.min(width, height) / view.sideMm;
    return Math.min(width / this.geometry.widthMm, height / this.geometry.heightMm);
  }

  /** Match the canvas to the element and the screen's pixels. */
  fit() {
    const box = this.element.getBoundingClientRect();
    const [width, height] = [box.width, box.height].map((side) => Math.max(1, Math.round(side * devicePixelRatio)));
    if (this.canvas.width === width && this.canvas.height === height) return;
    Object.assign(this.canvas, { width, height });
  }

  /** Picture coordinates {u, v} of a place on the screen. */
  pictureAt(clientX, clientY) {
    const box = this.canvas.getBoundingClientRect();
    const { across, along, left, top } = this.transform;
    const [x, y] = [((clientX - box.left) * this.canvas.width) / box.width, ((clientY - box.top) * this.canvas.height) / box.height];
    return { u: (x - left) / across, v: (y - top) / along };
  }

  voxelAt(clientX, clientY) {
    const { u, v } = this.pictureAt(clientX, clientY);
    return this.geometry.voxelAt(this.slice, u, v);
  }

  /** Where the centre of a voxel [z, y, x] is drawn: {x, y} on the screen and {column, row} in the canvas. */
  screenOf(voxel) {
    const box = this.canvas.getBoundingClientRect();
    const { across, along, left, top } = this.transform;
    const { u, v } = this.geometry.placeOf(voxel);
    const [column, row] = [left + u * across, top + v * along];
    return { x: box.left + (column * box.width) / this.canvas.width, y: box.top + (row * box.height) / this.canvas.height, column, row };
  }

  draw() {
    this.fit();
    const context = this.canvas.getContext("2d");
    const { width, height } = this.canvas;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    const at = this.transform;
    this.hasGrey = this.drawGrey(context, at);
    const { shows, description } = this.viewer;
    const tissues = [...description.tissues.keys()].filter((i) => shows.tissues[i]);
    const matrix = new DOMMatrix([at.across, 0, 0, at.along, at.left, at.top]);
    if (shows.errors) for (const i of tissues) this.drawErrors(context, i, matrix);
    if (shows.query) for (const i of tissues) this.drawContour(context, i, matrix);
    if (this.viewer.layout === "planes") this.drawOtherPlanes(context, at);
    this.write(at);
  }

  /** The grey values; false where they are not there yet. */
  drawGrey(context, at) {
    const { viewer, slice, geometry } = this;
    const file = viewer.contrastFiles[this.contrast];
    const isThere = geometry.axis !== 0 || file.isLoaded[slice];
    if (!isThere) return false;
    const { low, high } = viewer.windows[this.contrast];
    const key = [slice, low, high, geometry.axis === 0 ? "" : file.loads].join(" ");
    if (key !== this.drawnGrey) {
      geometry.copySlice(file.volume, slice, this.stored);
      this.shade(low, high);
      this.grey.getContext("2d").putImageData(this.pixels, 0, 0);
      this.drawnGrey = key;
    }
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.grey, at.left, at.top, at.across * geometry.columns, at.along * geometry.rows);
    return true;
  }

  shade(low, high) {
    const { offset, scale } = this.viewer.description.contrasts[this.contrast];
    const { stored } = this;
    const { data } = this.pixels;
    const [gain, bias] = [(255 * scale) / (high - low), (255 * (offset - low)) / (high - low)];
    for (let i = 0, to = 0; i < stored.length; i += 1, to += 4) data[to] = data[to + 1] = data[to + 2] = gain * stored[i] + bias;
  }

  /** Half transparent and hatched, for contours are lines without a filling. */
  drawErrors(context, tissue, matrix) {
    const outlines = this.viewer.errorOutlines;
    if (!outlines) return;
    const path = placed(outlines.of(this.geometry, this.slice, tissue), matrix);
    const { error_colour: colour } = this.viewer.description.tissues[tissue];
    const { opacity } = this.viewer.shows;
    context.save();
    context.globalAlpha = 0.55 * opacity;
    context.fillStyle = colour;
    context.fill(path, "evenodd");
    context.globalAlpha = opacity;
    const hatch = context.createPattern(hatchOf(colour, HATCH_ANGLES[tissue % HATCH_ANGLES.length]), "repeat");
    hatch.setTransform(new DOMMatrix().translate(matrix.e, matrix.f));
    context.fillStyle = hatch;
    context.fill(path, "evenodd");
    context.restore();
  }

  /** 1.5 pixels inside of the voxels' edges, so that neighbours that share an edge are both seen, on a dark seam. */
  drawContour(context, tissue, matrix) {
    const outlines = this.viewer.queryOutlines;
    if (!outlines) return;
    const path = placed(outlines.of(this.geometry, this.slice, tissue), matrix);
    context.save();
    context.clip(path, "evenodd");
    context.lineJoin = "miter";
    for (const [colour, width] of [["rgb(0 0 0 / 45%)", 2.5], [this.viewer.description.tissues[tissue].colour, 1.5]]) {
      context.strokeStyle = colour;
      context.lineWidth = 2 * width * devicePixelRatio; // the outer half is clipped
      context.stroke(path);
    }
    context.restore();
  }

  drawOtherPlanes(context, at) {
    const { u, v } = this.geometry.placeOf(this.viewer.position);
    const [x, y] = [at.left + u * at.across, at.top + v * at.along].map(Math.round);
    context.fillStyle = "rgb(86 180 233 / 55%)";
    context.fillRect(x, 0, devicePixelRatio, this.canvas.height);
    context.fillRect(0, y, this.canvas.width, devicePixelRatio);
  }

  write(at) {
    const { viewer, texts } = this;
    const { name, positions_mm: positions } = viewer.description.planes[this.plane];
    const contrast = viewer.description.contrasts[this.contrast];
    const { low, high } = viewer.windows[this.contrast];
    const planeName = viewer.layout === "planes" ? `, ${name}` : "";
    texts.name.textContent = `${contrast.name}${planeName}\nW ${short(high - low)}  L ${short((low + high) / 2)}`;
    const millimetres = `${positions[this.slice] < 0 ? "\u2212" : "+"}${Math.abs(positions[this.slice]).toFixed(1)} mm`;
    texts.where.textContent = `${this.slice + 1} / ${this.geometry.slices}\n${millimetres}`;
    texts.loading.textContent = waitingText(this.waitedFor());
    this.canvas.setAttribute("aria-label", `${contrast.name}, ${name}, slice ${this.slice + 1} of ${this.geometry.slices}`);
    const perMm = at.perMm / devicePixelRatio;
    const length = SCALE_LENGTHS_MM.findLast((mm) => mm * perMm <= 110) ?? SCALE_LENGTHS_MM[0];
    texts.scale.style.width = `${length * perMm}px`;
    texts.scale.textContent = length >= 10 ? `${length / 10} cm` : `${length} mm`;
  }

  /** Kinds of files that this picture lacks and that are still on their way. */
  waitedFor() {
    const { viewer, slice, geometry, contrast } = this;
    const { queryOutlines, errorOutlines, shows } = viewer;
    const wanted = [viewer.contrastFiles[contrast], shows.query && queryOutlines?.file, shows.errors && errorOutlines?.file];
    return wanted.filter((file) => file && !file.failure && !file.hasSlice(slice, geometry.axis)).map(({ kind }) => kind);
  }

  /** The value under the pointer; isHere: the pointer is in this panel, otherwise a cross shows the same place. */
  point(voxel, isHere) {
    const { texts, viewer } = this;
    const isSeen = Boolean(voxel) && (isHere || voxel[this.geometry.axis] === this.slice);
    texts.cross.hidden = !isSeen || isHere;
    texts.value.textContent = isSeen ? short(viewer.valueAt(this.contrast, voxel)) : "";
    if (texts.cross.hidden) return;
    const box = this.element.getBoundingClientRect();
    const { x, y } = this.screenOf(voxel);
    texts.cross.style.transform = `translate(${x - box.left}px, ${y - box.top}px)`;
  }
}

/** A new element of a class, at the end of `parent`. */
export function made(tag, className, parent) {
  const element = document.createElement(tag);
  element.className = className;
  parent?.append(element);
  return element;
}

function placed(path, matrix) {
  const copy = new Path2D();
  copy.addPath(path, matrix);
  return copy;
}

function short(value) {
  if (value === null) return "";
  return Math.abs(value) >= 100 || Number.isInteger(value) ? String(Math.round(value)) : value.toPrecision(3);
}

/** A tile of parallel lines. */
function hatchOf(colour, degrees) {
  const side = Math.round(7 * devicePixelRatio);
  const tile = document.createElement("canvas");
  Object.assign(tile, { width: side, height: side });
  const context = tile.getContext("2d");
  context.strokeStyle = colour;
  context.lineWidth = 1.4 * devicePixelRatio;
  context.beginPath();
  for (const shift of [-side, 0, side]) {
    if (degrees === 90) context.rect(side / 2, -1, 0, side + 2);
    else if (degrees === 0) context.rect(-1, side / 2, side + 2, 0);
    else {
      const [from, to] = degrees === 45 ? [side + 1, -1] : [-1, side + 1];
      context.moveTo(shift - 1, from);
      context.lineTo(shift + side + 1, to);
    }
  }
  context.stroke();
  return tile;
}
