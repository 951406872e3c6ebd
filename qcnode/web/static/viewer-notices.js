/** What the pictures lack, in words: what is still on its way, and what could not be loaded. */

import { made } from "./viewer-panel.js";

const LACKING = {
  image: "The image could not be loaded.",
  segmentation: "The segmentation could not be loaded: its contours are missing.",
  "error map": "The error map could not be loaded: predicted errors are missing.",
};

/** "Loading the segmentation and the error map", or nothing. kinds: of the files that are waited for. */
export function waitingText(kinds) {
  return kinds.length ? `Loading ${kinds.map((kind) => `the ${kind}`).join(" and ")}` : "";
}

/** A bar above the pictures, or alone where there are none, that says what failed; `onAgain` is called when its reader wants to try again. */
export function tellFailure(element, errors, onAgain) {
  element.querySelector(".qcv-alert")?.remove();
  const alert = made("div", "qcv-alert");
  alert.setAttribute("role", "alert");
  made("span", "", alert).textContent = failureText(errors);
  const again = made("button", "qcv-button", alert);
  Object.assign(again, { type: "button", textContent: "Try again" });
  again.addEventListener("click", onAgain);
  element.insertBefore(alert, element.querySelector(".qcv-stage"));
}

function failureText(errors) {
  if (errors.some(({ status }) => status === 401)) return "You are signed out.";
  const kinds = [...new Set(errors.map(({ kind }) => kind))];
  const said = kinds.map((kind) => LACKING[kind] ?? "The pictures could not be loaded.");
  if (errors.some(({ status }) => status === 0)) said.push("The server does not answer.");
  return said.join(" ");
}
