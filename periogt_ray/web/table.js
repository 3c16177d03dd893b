// A table that holds elements for the visible rows alone, so that ten thousand rows stay usable.

import { el } from "./dom.js";
import { counted } from "./warnings.js";

const ROW_PX = 35;
const SPARE = 8; // rows above and below what is visible

export class VirtualTable extends EventTarget {
  /**
   * @param {HTMLElement} area - becomes the scrolling part; takes the focus, arrows move the selection
   * @param {string} label
   */
  constructor(area, label) {
    super();
    this.area = area;
    this.columns = [];
    this.order = [];
    this.selected = -1;
    this.sort = { column: -1, isDescending: false };
    this.head = el("thead");
    this.body = el("tbody");
    this.table = el("table", { role: "grid", "aria-label": label, tabindex: "0" }, this.head, this.body);
    area.replaceChildren(this.table);
    area.addEventListener("scroll", () => this.#soon());
    new ResizeObserver(() => this.#soon()).observe(area);
    this.table.addEventListener("keydown", (event) => this.#key(event));
    // Not on click alone: rows may be drawn anew between pressing and letting go, and then there is none.
    for (const type of ["mousedown", "click"]) this.body.addEventListener(type, (event) => this.#pick(event, true));
    this.body.addEventListener("pointerover", (event) => this.#pick(event, false));
  }

  /** @param {{title: string, class?: string, cell: (row: number) => string, failed?: (row: number) => boolean,
   *   notes?: (row: number) => string[], isTicked?: (row: number) => boolean}[]} columns - notes are marked in the cell; a
   *   screen reader reads them there; a column of ticks has a box a row, which the space bar ticks, too: event `ticked` */
  setColumns(columns) {
    this.columns = columns;
    this.sort = { column: -1, isDescending: false };
    this.titles = columns.map((column, i) =>
      el("th", { scope: "col", class: column.class },
        el("button", { type: "button", text: column.title, on: { click: () => this.#sortBy(i) } })));
    this.head.replaceChildren(el("tr", { "aria-rowindex": 1 }, ...this.titles));
    this.table.setAttribute("aria-colcount", columns.length);
  }

  /** Show these rows, in this order. */
  setOrder(order) {
    this.order = order;
    this.table.setAttribute("aria-rowcount", order.length + 1);
    if (this.selected >= 0 && !order.includes(this.selected)) this.selected = -1;
    this.draw();
  }

  #sortBy(column) {
    const { sort } = this;
    // Ascending, descending, and back to the order of the file.
    if (sort.column !== column) this.sort = { column, isDescending: false };
    else if (!sort.isDescending) this.sort = { column, isDescending: true };
    else this.sort = { column: -1, isDescending: false };
    this.titles.forEach((title, i) => {
      if (i === this.sort.column) title.setAttribute("aria-sort", this.sort.isDescending ? "descending" : "ascending");
      else title.removeAttribute("aria-sort");
    });
    this.dispatchEvent(new Event("sorted"));
  }

  #tick(at) {
    if (at >= 0) this.dispatchEvent(new CustomEvent("ticked", { detail: this.order[at] }));
  }

  #pick({ target, type, detail }, isChosen) {
    const row = target.closest("tr[data-at]");
    if (!row) return;
    if (isChosen) this.table.focus({ preventScroll: true });
    const at = Number(row.dataset.at);
    // When the mouse is pressed: the click that follows finds the row drawn anew. A click without a mouse has the detail 0.
    if (isChosen && (type === "mousedown" || detail === 0) && target.closest("td.tick")) this.#tick(at);
    if (isChosen) this.select(at);
    else this.dispatchEvent(new CustomEvent("pointed", { detail: this.order[at] }));
  }

  #key(event) {
    if (event.target !== this.table) return;
    if (event.key === " " && this.columns.some(({ isTicked }) => isTicked)) {
      event.preventDefault();
      this.#tick(this.order.indexOf(this.selected));
      return;
    }
    const page = Math.max(1, Math.floor(this.area.clientHeight / ROW_PX) - 2);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || this.order.length === 0) return;
    event.preventDefault();
    const now = this.order.indexOf(this.selected);
    const next = now < 0 ? 0 : Math.max(0, Math.min(this.order.length - 1, now + steps[event.key]));
    this.#reveal(next);
    this.select(next);
  }

  #reveal(at) {
    const top = at * ROW_PX;
    const visible = this.area.clientHeight - 2 * ROW_PX;
    if (top < this.area.scrollTop) this.area.scrollTop = top;
    else if (top > this.area.scrollTop + visible) this.area.scrollTop = top - visible;
  }

  /** Select the row at a position of the order. */
  select(at) {
    this.selected = this.order[at] ?? -1;
    this.draw();
    this.dispatchEvent(new CustomEvent("selected", { detail: this.selected }));
  }

  #soon() {
    this.frame ??= requestAnimationFrame(() => { this.frame = null; this.draw(); });
  }

  draw() {
    const first = Math.max(0, Math.floor(this.area.scrollTop / ROW_PX) - SPARE);
    const last = Math.min(this.order.length, first + Math.ceil(this.area.clientHeight / ROW_PX) + 2 * SPARE);
    const rows = [];
    for (let at = first; at < last; at += 1) rows.push(this.#row(at));
    this.body.replaceChildren(...spacer(first, this.columns.length), ...rows, ...spacer(this.order.length - last, this.columns.length));
    if (this.selected >= 0 && rows.some((row) => row.id)) this.table.setAttribute("aria-activedescendant", "row-selected");
    else this.table.removeAttribute("aria-activedescendant");
  }

  #row(at) {
    const row = this.order[at];
    const isSelected = row === this.selected;
    const cells = this.columns.map((column) => {
      if (column.isTicked) return tickCell(column, row);
      const text = column.cell(row);
      const hasFailed = column.failed?.(row) ?? false;
      const notes = column.notes?.(row) ?? [];
      const title = notes.length > 0 ? notes.join("\n") : text;
      return el("td", { class: [column.class, hasFailed ? "bad" : ""].join(" ").trim() || undefined, text, title: title.length > 12 ? title : undefined },
        ...(notes.length > 0 ? [mark(notes)] : []));
    });
    return el("tr", {
      "data-at": at, "aria-rowindex": at + 2, "aria-selected": String(isSelected), id: isSelected ? "row-selected" : undefined,
    }, ...cells);
  }
}

/** A box that shows a tick. The table has the focus, so that the arrow keys go on working. */
function tickCell(column, row) {
  const box = el("input", { type: "checkbox", tabindex: "-1", "aria-label": column.cell(row) });
  box.checked = column.isTicked(row);
  return el("td", { class: "tick" }, box);
}

function mark(notes) {
  return el("span", { class: "mark" }, el("span", { "aria-hidden": "true", text: ` ⚠ ${notes.length}` }),
    el("span", { class: "visually-hidden", text: `, ${counted(notes.length)}: ${notes.join("; ")}` }));
}

function spacer(n_rows, n_columns) {
  if (n_rows <= 0) return [];
  const cell = el("td", { colspan: n_columns });
  cell.style.height = `${n_rows * ROW_PX}px`;
  return [el("tr", { class: "spacer", "aria-hidden": "true" }, cell)];
}
