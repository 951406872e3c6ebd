/** The list of error regions in the decision panel: go to a region, and say whether it is real. The panel is drawn anew now and then. */

/** Keys of a case page for the regions in `panel`; `viewer()`: the Viewer that shows them, once it is there. */
export function regionKeys(panel, viewer) {
  let chosen = null; // the region's number

  const rows = () => [...panel.querySelectorAll("#regions li")];
  const rowOf = (number) => panel.querySelector(`#regions li[data-region="${number}"]`);

  const choose = (row) => {
    if (!row) return;
    chosen = row.dataset.region;
    showChosen();
    row.scrollIntoView({ block: "nearest" });
    if (viewer()?.description) viewer().setSlice(Number(row.dataset.slice));
  };

  const showChosen = () => {
    for (const row of rows()) row.classList.toggle("chosen", row.dataset.region === chosen);
  };

  const step = (by) => {
    const all = rows();
    if (!all.length) return;
    panel.querySelector("#regions").open = true;
    const at = all.indexOf(rowOf(chosen));
    choose(all[at < 0 ? 0 : (at + by + all.length) % all.length]);
  };

  /** The same mark a second time takes it away. */
  const mark = (value) => {
    const field = rowOf(chosen)?.querySelector(`input[value="${value}"]:enabled`);
    if (field) field.checked = !field.checked;
  };

  panel.addEventListener("click", (event) => {
    const row = event.target.closest("#regions li");
    if (row) choose(row);
  });
  panel.addEventListener("pointerdown", (event) => {
    const field = event.target.closest("#regions .marks label")?.querySelector("input");
    if (field) field.dataset.wasChecked = field.checked ? "yes" : "";
  });
  panel.addEventListener("click", (event) => {
    if (!event.target.matches("#regions .marks input") || !event.target.dataset.wasChecked) return;
    event.target.checked = false;
    event.target.dataset.wasChecked = "";
  });

  return {
    keys: { g: () => step(1), G: () => step(-1), y: () => mark("REAL"), n: () => mark("NOT_REAL"), m: () => mark("UNSURE") },
    showChosen,
  };
}
