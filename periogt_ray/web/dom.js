// Building elements. Every value goes in as text or as a property, never as markup.

export const byId = (id) => document.getElementById(id);

/**
 * Make an element.
 * @param {string} tag
 * @param {Object} options - `class`, `text`, `on` (listeners), and attributes; undefined ones are left out.
 * @param {...(Node|string)} children
 */
export function el(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || value === null) continue;
    if (name === "class") node.className = value;
    else if (name === "text") node.textContent = value;
    else if (name === "on") for (const [type, listener] of Object.entries(value)) node.addEventListener(type, listener);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Make an SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Call a function once after calls have stopped for a while. */
export function debounced(wait_ms, call) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...given), wait_ms);
  };
}

/** Call a function at most once in an interval, and once after the last call. */
export function throttled(wait_ms, call) {
  let timer = null;
  return () => {
    timer ??= setTimeout(() => { timer = null; call(); }, wait_ms);
  };
}

/** Offer text as a file. */
export function download(name, content, type) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = el("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Put text on the clipboard; away from https and localhost browsers offer the old way alone. */
export async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = el("textarea", { class: "visually-hidden", "aria-hidden": "true", tabindex: "-1" });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("The browser does not allow copying.");
}

/** Wait; ends early with an AbortError. */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(new DOMException("cancelled", "AbortError"));
    const timer = setTimeout(() => { signal?.removeEventListener("abort", stop); resolve(); }, seconds * 1000);
    function stop() { clearTimeout(timer); reject(new DOMException("cancelled", "AbortError")); }
    signal?.addEventListener("abort", stop, { once: true });
    return undefined;
  });
}

/** Show a value with about four significant digits, without exponents where people read none. */
export function shown(value) {
  if (!Number.isFinite(value)) return "";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-4)) return value.toExponential(3).replace("-", "−");
  const digits = Math.max(0, Math.min(4, 3 - Math.floor(Math.log10(size || 1))));
  return value.toFixed(Math.min(digits, 3)).replace("-", "−");
}

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "an unknown time";
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
