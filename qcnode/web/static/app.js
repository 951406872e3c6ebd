// What the pages do by themselves: live changes, keyboard, countdowns, leases. Everything that changes something is also a plain form.

import { regionKeys } from "./case-regions.js";

const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";
const byId = (id) => document.getElementById(id);
document.documentElement.classList.add("scripted");

/** A call of the API, with the session's token. */
function call(path, method = "POST") {
  return fetch(`/api/v1${path}`, { method, headers: { "X-CSRF-Token": meta("csrf") } });
}

/** Ask for a part of this page; where nobody is signed in any more, go to the sign-in page. */
async function part(address) {
  const answer = await fetch(address, { headers: { Accept: "text/fragment" } });
  if (answer.status === 401) location.reload();
  return answer.ok ? answer.text() : null;
}

// --- times

function ageText(milliseconds) {
  const minutes = Math.floor(milliseconds / 60000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${minutes} min`;
  return minutes < 48 * 60 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 1440)} days`;
}

function countdownText(milliseconds) {
  if (milliseconds <= 0) return "now";
  const seconds = Math.ceil(milliseconds / 1000);
  return `in ${Math.floor(seconds / 60)}:${two(seconds % 60)}`;
}

const two = (number) => String(number).padStart(2, "0");
const clockText = (at) => `${two(at.getHours())}:${two(at.getMinutes())}`;
const momentText = (at) => `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clockText(at)}`;

function showTimes() {
  const now = Date.now();
  for (const time of document.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if ("age" in time.dataset) time.textContent = ageText(now - at);
    if ("countdown" in time.dataset) time.textContent = countdownText(at - now);
    if ("clock" in time.dataset) time.textContent = clockText(at);
    if ("moment" in time.dataset) time.textContent = momentText(at);
  }
  const told = byId("told");
  if (told && new Date(told.querySelector("time").dateTime) <= now) told.remove();
}

// --- live changes

function listen(element, onItem) {
  const source = new EventSource(`/events?after=${element.dataset.lastEvent}`);
  source.addEventListener("item", (event) => onItem(JSON.parse(event.data)));
  source.addEventListener("signed-out", () => { source.close(); location.reload(); });
  addEventListener("pagehide", () => source.close());
}

// --- queue

function startQueue(items) {
  const rows = () => [...items.querySelectorAll("tbody tr")].filter((row) => !row.hidden);
  const text = byId("search-text");
  let added = 0;
  const changed = new Set();

  const refresh = async () => {
    const numbers = [...changed].slice(0, 50);
    changed.clear();
    const query = new URLSearchParams(items.dataset.view);
    numbers.forEach((number) => query.append("item_id", number));
    const fragment = await part(`/queue/rows?${query}`);
    if (fragment === null) return;
    const table = document.createElement("table");
    table.innerHTML = fragment;
    for (const row of table.querySelectorAll("tr")) {
      const old = items.querySelector(`tr[data-item="${row.dataset.item}"]`);
      if (!old) continue;
      const focused = old === document.activeElement;
      row.classList.add("fresh");
      old.replaceWith(row);
      if (focused) row.focus();
    }
    narrow();
    showTimes();
  };

  listen(items, ({ item_id: number, action }) => {
    if (items.querySelector(`tr[data-item="${number}"]`)) {
      if (!changed.size) setTimeout(refresh, 200);
      changed.add(number);
    } else if (action === "create") {
      added += 1;
      byId("new-text").textContent = `${added} new`;
      byId("new-bar").hidden = false;
    }
  });

  const narrow = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of items.querySelectorAll("tbody tr")) {
      const said = `${row.cells[3].textContent} ${row.cells[4].textContent}`.toLowerCase();
      row.hidden = !words.every((word) => said.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    const nothing = byId("nothing-matches");
    if (nothing) nothing.hidden = shown > 0 || !words.length;
  };
  text.addEventListener("input", narrow);

  for (const select of document.querySelectorAll("#filters select")) select.addEventListener("change", () => submitFilters(select.form));
  items.addEventListener("click", (event) => {
    const row = event.target.closest("tbody tr");
    if (row && !event.target.closest("a") && !getSelection().toString()) open(row);
  });

  const open = (row) => { location.href = row.querySelector("a").href; };
  const step = (by) => {
    const all = rows();
    const at = all.indexOf(document.activeElement?.closest("tr"));
    all[Math.max(0, Math.min(all.length - 1, at < 0 ? 0 : at + by))]?.focus();
  };
  return {
    j: () => step(1),
    k: () => step(-1),
    "/": () => text.focus(),
    Enter: () => { const row = document.activeElement?.closest("tbody tr"); if (row) open(row); },
    u: () => byId("undo")?.click(),
  };
}

/** The form without what was left at "any", so that addresses stay short. */
function submitFilters(form) {
  for (const field of form.elements) if (field.name && !field.value) field.disabled = true;
  form.submit();
}

// --- case

function startCase(page) {
  const number = page.dataset.item;
  const panel = byId("panel");
  const claim = () => byId("claim").dataset;
  const regions = regionKeys(panel, () => byId("viewer")?.viewer);
  let taken = sessionStorage.getItem("taken") === number; // by opening the page, so that going on gives it back

  const refresh = async () => {
    const fragment = await part(`/cases/${number}/panel${page.dataset.query ? `?${page.dataset.query}` : ""}`);
    if (fragment === null) return;
    const said = byId("decision") && new FormData(byId("decision"));
    const focused = panel.contains(document.activeElement) ? document.activeElement.name : null;
    const open = [...panel.querySelectorAll("details[open]")].map((details) => details.className);
    panel.innerHTML = fragment;
    for (const details of panel.querySelectorAll("details")) details.open = open.includes(details.className);
    if (said && byId("decision")) restore(byId("decision"), said);
    regions.showChosen();
    if (focused) panel.querySelector(`[name="${focused}"]`)?.focus();
    showTimes();
  };

  listen(page, ({ item_id: changed }) => { if (String(changed) === number) refresh(); });

  const take = async () => {
    if (claim().state !== "OPEN" || claim().mayRead !== "yes") return;
    taken = (await call(`/items/${number}/claim`)).ok;
    if (taken) sessionStorage.setItem("taken", number);
    await refresh();
  };
  take();

  const leave = async (link) => {
    if (!link) return;
    if (taken && claim().state === "CLAIMED" && claim().mine === "yes") await call(`/items/${number}/release`);
    location.href = link.href;
  };
  for (const id of ["to-queue", "previous", "next"]) {
    byId(id)?.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      leave(event.currentTarget);
    });
  }

  // whoever does something is still reading: at most one call a minute
  let renewed = Date.now();
  const active = () => {
    if (Date.now() - renewed < 60000) return;
    renewed = Date.now();
    if (claim().state === "CLAIMED" && claim().mine === "yes") call(`/items/${number}/renew`).then(refresh);
    else call("/session", "GET");
  };
  for (const kind of ["pointermove", "keydown", "wheel"]) addEventListener(kind, active, { passive: true });

  const reopen = () => {
    byId("reopen-form")?.classList.add("open");
    byId("because")?.focus();
  };
  panel.addEventListener("click", (event) => { if (event.target.closest("#reopen-button")) reopen(); });

  // a decision is sent once, however often the key is pressed
  panel.addEventListener("submit", (event) => {
    if (event.target.id !== "decision") return;
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = "yes";
  });

  // after a click the keys belong to the pictures again
  panel.addEventListener("click", (event) => {
    if (event.detail) setTimeout(() => { if (document.activeElement?.matches("#panel input")) document.activeElement.blur(); });
  });

  const decide = (value) => panel.querySelector(`button[name="decision"][value="${value}"]:enabled`)?.click();
  const rate = (stars) => { const field = panel.querySelector(`input[name="rating"][value="${stars}"]:enabled`); if (field) field.checked = true; };
  startViewer();
  return {
    a: () => decide("ACCEPT"),
    r: () => decide("REJECT"),
    c: () => decide("NEEDS_CORRECTION"),
    o: reopen,
    ...regions.keys,
    u: () => (byId("undo") ?? panel.querySelector("#undo-form button"))?.click(),
    j: () => leave(byId("next")),
    k: () => leave(byId("previous")),
    Escape: () => leave(byId("to-queue")),
    ...Object.fromEntries([1, 2, 3, 4, 5, 6].map((stars) => [String(stars), () => rate(stars)])),
  };
}

/** What was typed and ticked before the panel was drawn anew. */
function restore(form, said) {
  for (const box of form.querySelectorAll('input[name="reason"]')) box.checked = said.getAll("reason").includes(box.value);
  for (const mark of form.querySelectorAll(".marks input")) mark.checked = said.get(mark.name) === mark.value;
  for (const radio of form.querySelectorAll('input[name="rating"]')) radio.checked = radio.value === (said.get("rating") ?? "");
  form.elements.comment.value = said.get("comment") ?? "";
}

async function startViewer() {
  const element = byId("viewer");
  if (!element) return;
  const { mountViewer } = await import(element.dataset.script);
  mountViewer(element, element.dataset.base, {});
}

// --- every page

const help = byId("help");
byId("help-button")?.addEventListener("click", () => help.showModal());
const keys = { "?": () => help.showModal() };
if (byId("items")) Object.assign(keys, startQueue(byId("items")));
if (byId("case")) Object.assign(keys, startCase(byId("case")));
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("textarea, select, input:not([type=checkbox], [type=radio])");
  if (event.key === "Escape" && typing) { event.target.blur(); return; }
  if (typing || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  if (event.key === "Enter" && event.target.closest?.("button, a, input, summary")) return;
  const action = keys[event.key];
  if (action) { event.preventDefault(); action(); }
});
showTimes();
setInterval(showTimes, 1000);
