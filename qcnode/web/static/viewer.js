/** The case viewer: grey values, the query's contours and the predicted errors, slice by slice. What it reads: qcnode/report/viewer.py. */

import { Controls } from "./viewer-controls.js";
import { PlaneGeometry } from "./viewer-geometry.js";
import { followKeys, followPointer } from "./viewer-gestures.js";
import { tellFailure } from "./viewer-notices.js";
import { Outlines } from "./viewer-outline.js";
import { made, Panel } from "./viewer-panel.js";
import { loadAll, LoadError, SliceFile } from "./viewer-slices.js";
import { Strip } from "./viewer-strip.js";

const NEAREST_MM = 15; // a panel shows at least this much
const FARTHEST_MM = 2000; // and at most this
const PER_PIXEL = 0.004; // what dragging the grey values by one pixel changes, of their width
const GAP_PX = 2;

/** Show the case whose viewer.json lies at baseUrl + "viewer.json" in `element`, which needs a height.
 *
 * options: `slice`, the slice to begin with instead of the worst one; `keyTarget`, where keys are listened to instead of the document.
 * Returns the Viewer, which is also element.viewer. Its promise `ready` is kept with the first whole picture. The first picture of all, which
 * may lack contours and errors that are still on their way, is marked "first picture" in the page's timeline (User Timing).
 */
export function mountViewer(element, baseUrl, options = {}) {
  element.viewer?.destroy();
  element.viewer = new Viewer(element, baseUrl, options);
  return element.viewer;
}

class Viewer {
  constructor(element, baseUrl, options) {
    Object.assign(this, { element, baseUrl, options, panels: [], pointer: null });
    this.lifetime = new AbortController();
    element.replaceChildren();
    element.classList.add("qcv");
    element.tabIndex = 0;
    element.setAttribute("role", "group");
    element.setAttribute("aria-label", "Pictures of the case");
    this.ready = this.open();
    this.ready.catch((error) => this.tell([error]));
  }

  /** End every request and stop listening. */
  destroy() {
    this.lifetime.abort();
    this.observer?.disconnect();
  }

  async open() {
    const { signal } = this.lifetime;
    const answer = await fetch(`${this.baseUrl}viewer.json`, { signal, credentials: "same-origin" }).catch((error) => {
      throw signal.aborted ? error : new LoadError(0);
    });
    if (!answer.ok) throw new LoadError(answer.status);
    this.description = await answer.json();
    this.begin();
    this.build();
    const first = new Promise((resolve) => { this.resolveFirst = resolve; });
    const everything = loadAll(this.files, () => this.position[0], (file) => this.arrived(file), signal);
    everything.catch(() => {}); // this viewer was closed
    await Promise.race([first, everything]);
    this.drawNow();
  }

  begin() {
    const { contrasts, planes, prediction, query, size, spacing_mm: spacing, tissues } = this.description;
    const file = (kind, part, bytes) => new SliceFile(kind, this.baseUrl + part.file, part, size[1] * size[2], bytes);
    this.geometries = planes.map((plane) => new PlaneGeometry(plane, size, spacing));
    this.contrastFiles = contrasts.map((contrast) => file("image", contrast, 2));
    this.queryOutlines = query && new Outlines(file("segmentation", query, 1));
    this.errorOutlines = prediction && new Outlines(file("error map", prediction, 1));
    this.outlines = [this.queryOutlines, this.errorOutlines].filter(Boolean);
    this.files = [...this.contrastFiles, ...this.outlines.map((outlines) => outlines.file)];
    this.shows = { query: true, errors: true, tissues: tissues.map(() => true), opacity: 0.6 };
    this.shownContrasts = contrasts.map((_, i) => i);
    Object.assign(this, { layout: "stack", activePlane: 0 });
    const focus = planes[0].focus;
    this.position = [this.options.slice ?? this.description.first_slice, Math.round(focus.down), Math.round(focus.right)];
    planes.forEach(({ axis }, plane) => {
      if (axis !== 0 || this.options.slice === undefined) this.position[axis] = this.worstOf(plane) ?? this.position[axis];
      this.position[axis] = clamp(this.position[axis], 0, size[axis] - 1);
    });
    this.reset();
  }

  build() {
    const { element } = this;
    this.controls = new Controls(this, element);
    this.stage = made("div", "qcv-stage", element);
    this.strip = new Strip(this, element);
    this.observer = new ResizeObserver(() => {
      this.arrange();
      this.drawNow();
    });
    this.observer.observe(this.stage);
    followKeys(this, this.options.keyTarget ?? document);
    this.setPanels();
  }

  setPanels() {
    const { layout, shownContrasts, geometries } = this;
    const wanted = layout === "planes" ? geometries.map((_, plane) => [shownContrasts[0], plane]) : shownContrasts.map((contrast) => [contrast, 0]);
    this.panels = wanted.map(([contrast, plane]) => new Panel(this, contrast, plane));
    for (const panel of this.panels) followPointer(this, panel);
    this.stage.replaceChildren(...this.panels.map((panel) => panel.element));
    this.pointer = null;
    this.arrange();
    this.drawNow();
  }

  /** As many columns as make the panels largest. */
  arrange() {
    const { width, height } = this.stage.getBoundingClientRect();
    const count = this.panels.length;
    const sideOf = (columns) => {
      const rows = Math.ceil(count / columns);
      return Math.min((width - (columns - 1) * GAP_PX) / columns, (height - (rows - 1) * GAP_PX) / rows);
    };
    let best = 1;
    for (let columns = 2; columns <= count; columns += 1) if (sideOf(columns) > sideOf(best)) best = columns;
    this.stage.style.gridTemplateColumns = `repeat(${best}, minmax(0, 1fr))`;
    this.stage.style.gridTemplateRows = `repeat(${Math.ceil(count / best)}, minmax(0, 1fr))`;
    this.stage.classList.toggle("qcv-small", sideOf(best) < 300);
  }

  arrived(file) {
    this.outlines.find((outlines) => outlines.file === file)?.forget();
    const failed = this.files.filter(({ failure }) => failure);
    if (file.failure) this.tell(failed.map(({ failure }) => failure));
    if (this.files.every((each) => each.failure || each.isLoaded[this.position[0]])) this.resolveFirst();
    this.invalidate();
  }

  /** Draw with the next frame. */
  invalidate() {
    this.frame ??= requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    if (this.frame) cancelAnimationFrame(this.frame);
    this.frame = null;
    if (this.lifetime.signal.aborted) return;
    for (const panel of this.panels) panel.draw();
    if (!this.hasDrawn && this.panels.some((panel) => panel.hasGrey)) {
      this.hasDrawn = true;
      performance.mark("first picture");
    }
    this.strip.draw();
    this.controls.refresh();
    this.showPoint();
  }

  /** The slice of the stack. */
  get slice() {
    return this.position[0];
  }

  /** Go to a slice, the nearest that there is, of a plane. */
  setSlice(slice, plane = 0) {
    const { axis, slices } = this.geometries[plane];
    this.activePlane = plane;
    this.position[axis] = clamp(Math.round(slice), 0, slices - 1);
    this.invalidate();
  }

  scroll(steps, plane = this.activePlane) {
    const { axis, slices } = this.geometries[plane];
    this.setSlice(clamp(this.position[axis] + steps, 0, slices - 1), plane);
  }

  worstOf(plane) {
    const areas = this.description.prediction?.planes[plane].error_area_mm2;
    const most = areas && Math.max(...areas);
    return most > 0 ? areas.indexOf(most) : null;
  }

  goToWorst() {
    const worst = this.worstOf(this.activePlane);
    if (worst !== null) this.setSlice(worst, this.activePlane);
  }

  /** The panel's place is looked at: the other planes go there. */
  pick(panel, voxel) {
    if (this.layout !== "planes" || !voxel) return;
    this.position = voxel;
    this.activePlane = panel.plane;
    this.invalidate();
  }

  /** Change what is drawn: query, errors (bool), opacity (0 to 1), tissues (a bool for each). */
  show(changes) {
    Object.assign(this.shows, changes);
    this.invalidate();
  }

  toggle(name) {
    this.show({ [name]: !this.shows[name] });
  }

  toggleTissue(index) {
    this.show({ tissues: this.shows.tissues.map((isOn, i) => (i === index ? !isOn : isOn)) });
  }

  toggleContrast(index) {
    const others = this.shownContrasts.filter((i) => i !== index);
    if (this.layout === "planes") this.shownContrasts = [index];
    else if (others.length < this.shownContrasts.length) this.shownContrasts = others.length ? others : [index];
    else this.shownContrasts = [...others, index].sort((a, b) => a - b);
    this.setPanels();
  }

  /** "stack": the shown contrasts side by side; "planes": three planes of the first of them. */
  setLayout(layout) {
    this.layout = layout;
    this.activePlane = 0;
    this.shownContrasts = layout === "planes" ? [this.shownContrasts[0]] : this.description.contrasts.map((_, i) => i);
    this.setPanels();
  }

  setWindow(contrast, low, high) {
    this.windows[contrast] = { low, high: Math.max(high, low + 1e-6 * (Math.abs(low) + 1)) };
    this.preset = "own";
    this.invalidate();
  }

  /** Grey values of all contrasts: "organ", "full", "narrow" or "wide". */
  setPreset(name) {
    this.windows = this.description.contrasts.map(({ window: [low, high], range }) => {
      if (name === "full") return { low: range[0], high: Math.max(range[1], range[0] + 1) };
      const [middle, half] = [(low + high) / 2, ((high - low) / 2) * ({ narrow: 0.5, wide: 2 }[name] ?? 1)];
      return { low: middle - half, high: middle + half };
    });
    this.preset = name;
    this.invalidate();
  }

  /** To the right: wider; upwards: brighter. */
  dragWindow(panel, dx, dy) {
    const { low, high } = this.windows[panel.contrast];
    const width = (high - low) * Math.exp(dx * PER_PIXEL);
    const middle = (low + high) / 2 + dy * PER_PIXEL * (high - low);
    this.setWindow(panel.contrast, middle - width / 2, middle + width / 2);
  }

  /** Place and grey values as at the beginning. */
  reset() {
    this.restoreFocus();
    this.setPreset("organ");
  }

  restoreFocus() {
    const { planes, prediction } = this.description;
    this.views = planes.map((plane, i) => {
      const { down, right, side_mm: sideMm } = prediction?.planes[i].focus ?? plane.focus;
      return { u: right + 0.5, v: down + 0.5, sideMm };
    });
    this.invalidate();
  }

  toggleWhole() {
    if (this.views[this.activePlane].sideMm) this.views = this.geometries.map(({ columns, rows }) => ({ u: columns / 2, v: rows / 2, sideMm: null }));
    else this.restoreFocus();
    this.invalidate();
  }

  /** Larger or smaller by a factor, around a place on the screen or the middle of the picture. */
  zoom(factor, panel = this.panels.find(({ plane }) => plane === this.activePlane), at = null) {
    const view = this.views[panel.plane];
    const { width, height } = panel.canvas;
    const sideMm = Math.min(width, height) / panel.pixelsPerMm(view, width, height);
    const before = at && panel.pictureAt(at.clientX, at.clientY);
    view.sideMm = clamp(sideMm / factor, NEAREST_MM, FARTHEST_MM);
    const after = at && panel.pictureAt(at.clientX, at.clientY);
    if (at) this.move(view, before.u - after.u, before.v - after.v, panel.geometry);
    this.invalidate();
  }

  pan(panel, dx, dy) {
    const { across, along } = panel.transform;
    this.move(this.views[panel.plane], (-dx * devicePixelRatio) / across, (-dy * devicePixelRatio) / along, panel.geometry);
    this.invalidate();
  }

  /** The middle of what is seen stays in the picture. */
  move(view, du, dv, { columns, rows }) {
    view.u = clamp(view.u + du, 0, columns);
    view.v = clamp(view.v + dv, 0, rows);
  }

  pointAt(panel, clientX, clientY) {
    this.pointer = panel && { panel, clientX, clientY };
    this.showPoint();
  }

  showPoint() {
    const { panel, clientX, clientY } = this.pointer ?? {};
    const voxel = panel?.voxelAt(clientX, clientY) ?? null;
    for (const each of this.panels) each.point(voxel, each === panel);
  }

  /** The voxel [z, y, x] that is drawn at a place on the screen, or null. */
  voxelAt(clientX, clientY) {
    const panel = this.panels.find(({ element }) => {
      const { left, right, top, bottom } = element.getBoundingClientRect();
      return clientX >= left && clientX < right && clientY >= top && clientY < bottom;
    });
    return panel?.voxelAt(clientX, clientY) ?? null;
  }

  /** The value of a contrast at a voxel, null where it is not there yet. */
  valueAt(contrast, [z, y, x]) {
    const file = this.contrastFiles[contrast];
    const { offset, scale } = this.description.contrasts[contrast];
    return file.isLoaded[z] ? offset + scale * file.volume[z * file.voxels + y * this.description.size[2] + x] : null;
  }

  tell(errors) {
    if (this.lifetime.signal.aborted) return;
    tellFailure(this.element, errors, () => mountViewer(this.element, this.baseUrl, this.options));
  }
}

function clamp(value, least, most) {
  return Math.min(Math.max(value, least), most);
}
