import { made } from "./viewer-panel.js";

const ERROR_COLOUR = "#d55e00";
const QUERY_COLOUR = "#7d8798";
const MARKER_COLOUR = "#eceef2";
const QUERY_HEIGHT = 3;
const TOP = 3;

/** A row of bars under the pictures: predicted wrong area per slice, where the query is drawn, and the slice that is shown. */
export class Strip {
  constructor(viewer, parent) {
    this.viewer = viewer;
    this.element = made("div", "qcv-strip", parent);
    const line = made("div", "qcv-strip-line", this.element);
    this.title = made("span", "qcv-strip-title", line);
    this.words = made("span", "qcv-strip-words", line);
    this.canvas = made("canvas", "qcv-strip-bars", this.element);
    this.canvas.tabIndex = 0;
    this.canvas.title = "Click or drag to go to a slice";
    for (const [name, value] of [["role", "slider"], ["aria-label", "Slice"], ["aria-valuemin", "1"]]) this.canvas.setAttribute(name, value);
    const { signal } = viewer.lifetime;
    this.canvas.addEventListener("pointerdown", (event) => this.drag(event), { signal });
    this.canvas.addEventListener("pointermove", (event) => event.buttons === 1 && this.drag(event), { signal });
  }

  get plane() {
    return this.viewer.activePlane;
  }

  drag(event) {
    if (event.type === "pointerdown") this.canvas.setPointerCapture(event.pointerId);
    const box = this.canvas.getBoundingClientRect();
    const { slices } = this.viewer.geometries[this.plane];
    this.viewer.setSlice(Math.floor(((event.clientX - box.left) / box.width) * slices), this.plane);
  }

  draw() {
    const { viewer, plane, canvas } = this;
    const box = canvas.getBoundingClientRect();
    const ratio = devicePixelRatio;
    const [width, height] = [Math.max(1, Math.round(box.width * ratio)), Math.max(1, Math.round(box.height * ratio))];
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    const query = viewer.description.planes[plane].query_area_mm2;
    const errors = viewer.description.prediction?.planes[plane].error_area_mm2;
    const step = width / query.length;
    const gap = step > 4 * ratio ? Math.round(ratio) : 0;
    const most = Math.max(...(errors ?? [0]), 1e-9);
    const floor = height - (QUERY_HEIGHT + 1) * ratio;
    query.forEach((area, i) => {
      const [left, right] = [Math.round(i * step), Math.max(Math.round((i + 1) * step) - gap, Math.round(i * step) + 1)];
      context.fillStyle = QUERY_COLOUR;
      if (area > 0) context.fillRect(left, height - QUERY_HEIGHT * ratio, right - left, QUERY_HEIGHT * ratio);
      if (!errors?.[i]) return;
      context.fillStyle = ERROR_COLOUR;
      const tall = Math.max((floor - TOP * ratio) * (errors[i] / most), ratio);
      context.fillRect(left, floor - tall, right - left, tall);
    });
    this.mark(context, step, gap, ratio);
    this.write(errors);
  }

  mark(context, step, gap, ratio) {
    const slice = this.viewer.position[this.viewer.geometries[this.plane].axis];
    const wide = Math.max(Math.round(step) - gap, Math.round(5 * ratio));
    const left = Math.round((slice + 0.5) * step - gap / 2 - wide / 2);
    context.fillStyle = "rgb(236 238 242 / 14%)";
    context.fillRect(left, 0, wide, context.canvas.height);
    context.strokeStyle = MARKER_COLOUR;
    context.lineWidth = 1.5 * ratio;
    const inset = context.lineWidth / 2;
    context.strokeRect(left + inset, inset, wide - 2 * inset, context.canvas.height - 2 * inset);
  }

  write(errors) {
    const { viewer, plane } = this;
    const { axis, slices } = viewer.geometries[plane];
    const slice = viewer.position[axis];
    const name = viewer.layout === "planes" ? `, ${viewer.description.planes[plane].name}` : "";
    this.title.textContent = errors ? `Predicted error per slice${name}` : `Slices with segmentation${name}`;
    const words = [`slice ${slice + 1} of ${slices}`];
    if (viewer.description.query && viewer.description.planes[plane].query_area_mm2[slice] === 0) words.push("not segmented");
    if (errors) {
      const worst = errors.indexOf(Math.max(...errors));
      words.push(`error ${areaText(errors[slice])}`);
      words.push(errors[worst] > 0 ? `worst: slice ${worst + 1}, ${areaText(errors[worst])}` : "no error predicted");
    }
    this.words.textContent = words.join(" \u00b7 ");
    this.canvas.setAttribute("aria-valuemax", String(slices));
    this.canvas.setAttribute("aria-valuenow", String(slice + 1));
    this.canvas.setAttribute("aria-valuetext", words.join(", "));
  }
}

function areaText(mm2) {
  return mm2 >= 100 || mm2 === 0 ? `${(mm2 / 100).toFixed(1)} cm\u00b2` : `${Math.round(mm2)} mm\u00b2`;
}
