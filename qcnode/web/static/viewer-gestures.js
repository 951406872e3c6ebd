/** Mouse and keyboard. */

const NOTCH = 50; // deltaY from which a wheel event is one notch of a mouse wheel, not a small step of a touch pad
const TOUCH_STEP = 30;
const CLICK_PX = 4;

/** Let the pointer work on a panel. */
export function followPointer(viewer, panel) {
  const { element } = panel;
  const options = { signal: viewer.lifetime.signal };
  let wheeled = 0;
  element.addEventListener("contextmenu", (event) => event.preventDefault(), options);
  element.addEventListener("dblclick", () => viewer.reset(), options);
  element.addEventListener("pointermove", (event) => viewer.pointAt(panel, event.clientX, event.clientY), options);
  element.addEventListener("pointerleave", () => viewer.pointAt(null), options);
  element.addEventListener("pointerdown", (event) => startDrag(viewer, panel, event), options);
  element.addEventListener("wheel", (event) => {
    event.preventDefault();
    viewer.activePlane = panel.plane;
    if (event.ctrlKey || event.metaKey) {
      viewer.zoom(Math.exp(-event.deltaY * (Math.abs(event.deltaY) >= NOTCH ? 0.002 : 0.01)), panel, event);
      return;
    }
    const isNotch = event.deltaMode !== 0 || Math.abs(event.deltaY) >= NOTCH;
    wheeled = isNotch ? 0 : wheeled + event.deltaY;
    const steps = isNotch ? Math.sign(event.deltaY) : Math.trunc(wheeled / TOUCH_STEP);
    wheeled -= isNotch ? 0 : steps * TOUCH_STEP;
    if (steps) viewer.scroll(steps, panel.plane);
  }, { ...options, passive: false });
}

/** Left button: move the picture; right button: grey values. A click without a move takes the other planes to its place. */
function startDrag(viewer, panel, down) {
  if (down.button !== 0 && down.button !== 2) return;
  const { element, plane } = panel;
  viewer.activePlane = plane;
  viewer.element.focus({ preventScroll: true });
  element.setPointerCapture(down.pointerId);
  const until = new AbortController();
  let [x, y, hasMoved] = [down.clientX, down.clientY, false];
  const move = (event) => {
    if (!hasMoved && Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY) < CLICK_PX) return;
    hasMoved = true;
    if (down.button === 0) viewer.pan(panel, event.clientX - x, event.clientY - y);
    else viewer.dragWindow(panel, event.clientX - x, event.clientY - y);
    [x, y] = [event.clientX, event.clientY];
  };
  const end = (event) => {
    until.abort();
    if (event.type === "pointerup" && !hasMoved && down.button === 0) viewer.pick(panel, panel.voxelAt(event.clientX, event.clientY));
  };
  const options = { signal: AbortSignal.any([until.signal, viewer.lifetime.signal]) };
  element.addEventListener("pointermove", move, options);
  element.addEventListener("pointerup", end, options);
  element.addEventListener("pointercancel", end, options);
  element.addEventListener("lostpointercapture", end, options);
}

/** Let the keys work while they are typed on `target`, but in fields that take keys themselves. */
export function followKeys(viewer, target) {
  const keys = {
    q: () => viewer.toggle("query"),
    e: () => viewer.toggle("errors"),
    w: () => viewer.goToWorst(),
    f: () => viewer.toggleWhole(),
    0: () => viewer.reset(),
    "+": () => viewer.zoom(1.25),
    "=": () => viewer.zoom(1.25),
    "-": () => viewer.zoom(1 / 1.25),
    ArrowUp: () => viewer.scroll(-1),
    ArrowDown: () => viewer.scroll(1),
    PageUp: () => viewer.scroll(-5),
    PageDown: () => viewer.scroll(5),
    Home: () => viewer.scroll(-Infinity),
    End: () => viewer.scroll(Infinity),
  };
  target.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || takesKeys(event.target)) return;
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }, { signal: viewer.lifetime.signal });
}

function takesKeys(element) {
  return element instanceof Element && Boolean(element.closest("input, select, textarea, dialog, [contenteditable]"));
}
