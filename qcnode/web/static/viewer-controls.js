import { made } from "./viewer-panel.js";

const WINDOWS = [["organ", "Organ"], ["full", "Full range"], ["narrow", "High contrast"], ["wide", "Low contrast"]];

/** The row of buttons above the pictures. */
export class Controls {
  constructor(viewer, parent) {
    this.viewer = viewer;
    this.element = made("div", "qcv-controls", parent);
    this.element.setAttribute("role", "toolbar");
    this.element.setAttribute("aria-label", "Viewer");
    this.refreshers = [];
    this.addOverlays();
    this.addTissues();
    this.addLayout();
    this.addView();
  }

  refresh() {
    for (const refresh of this.refreshers) refresh();
  }

  addOverlays() {
    const { viewer } = this;
    const group = made("div", "qcv-group", this.element);
    if (viewer.description.query) this.addSwitch(group, "Query", "q", "Contours of the segmentation that is judged", () => viewer.shows.query, () => viewer.toggle("query"));
    if (!viewer.description.prediction) return;
    this.addSwitch(group, "Errors", "e", "Predicted errors", () => viewer.shows.errors, () => viewer.toggle("errors"));
    const label = made("label", "qcv-slider", group);
    made("span", "", label).textContent = "Opacity";
    label.title = "How strongly the predicted errors are coloured";
    const slider = made("input", "qcv-range", label);
    Object.assign(slider, { type: "range", min: "5", max: "100", value: String(100 * viewer.shows.opacity) });
    slider.setAttribute("aria-label", "Opacity of the predicted errors");
    slider.addEventListener("input", () => viewer.show({ opacity: Number(slider.value) / 100 }));
  }

  addTissues() {
    const { viewer } = this;
    const { tissues, prediction } = viewer.description;
    if (!viewer.description.query && !prediction) return;
    const group = made("div", "qcv-group qcv-tissues", this.element);
    tissues.forEach((tissue, i) => {
      const button = this.addSwitch(group, tissue.name, "", `Show or hide ${tissue.name}`, () => viewer.shows.tissues[i], () => viewer.toggleTissue(i));
      if (prediction) button.prepend(swatch("error", i, tissue.error_colour));
      if (viewer.description.query) button.prepend(swatch("contour", i, tissue.colour));
    });
  }

  addLayout() {
    const { viewer } = this;
    const { contrasts, planes } = viewer.description;
    if (contrasts.length === 1 && planes.length === 1) return;
    const group = made("div", "qcv-group", this.element);
    if (contrasts.length > 1) {
      contrasts.forEach(({ name }, i) => {
        this.addSwitch(group, name, "", `Show or hide ${name}`, () => viewer.shownContrasts.includes(i), () => viewer.toggleContrast(i));
      });
    }
    if (planes.length > 1) {
      const isOn = () => viewer.layout === "planes";
      this.addSwitch(group, "3 planes", "", "Three planes of one contrast; a click moves the other two", isOn, () => viewer.setLayout(isOn() ? "stack" : "planes"));
    }
  }

  addView() {
    const { viewer } = this;
    const group = made("div", "qcv-group qcv-view", this.element);
    if (viewer.description.prediction?.worst_slice != null) this.addButton(group, "Worst", "w", "Go to the slice with the largest predicted error", () => viewer.goToWorst());
    const select = made("select", "qcv-select", group);
    select.title = "Grey values: presets; or drag with the right mouse button";
    select.setAttribute("aria-label", "Grey values");
    for (const [value, text] of WINDOWS) select.append(new Option(text, value));
    const own = new Option("Own window", "own");
    own.hidden = true;
    select.append(own);
    select.addEventListener("change", () => viewer.setPreset(select.value));
    this.refreshers.push(() => Object.assign(select, { value: viewer.preset }));
    this.addButton(group, "\u2212", "-", "Smaller", () => viewer.zoom(1 / 1.25), "qcv-square");
    this.addButton(group, "+", "+", "Larger", () => viewer.zoom(1.25), "qcv-square");
    const whole = () => !viewer.views[viewer.activePlane].sideMm;
    this.addSwitch(group, "Whole slice", "f", "The whole slice, or what is segmented", whole, () => viewer.toggleWhole());
    this.addButton(group, "Reset", "0", "Place and grey values as they were (or double-click)", () => viewer.reset());
  }

  addButton(group, text, key, title, act, className = "") {
    const button = made("button", `qcv-button ${className}`.trim(), group);
    button.type = "button";
    button.textContent = text;
    button.title = key ? `${title} (key ${key})` : title;
    button.setAttribute("aria-label", title);
    if (key) button.setAttribute("aria-keyshortcuts", key);
    button.addEventListener("click", act);
    return button;
  }

  addSwitch(group, text, key, title, isOn, act) {
    const button = this.addButton(group, text, key, title, act);
    this.refreshers.push(() => button.setAttribute("aria-pressed", String(isOn())));
    return button;
  }
}

function swatch(kind, index, colour) {
  const mark = made("span", `qcv-swatch qcv-swatch-${kind} qcv-hatch-${index % 4}`);
  mark.style.setProperty("--colour", colour);
  return mark;
}
