// Cards as elements: headings, paragraphs, lists, tables, code, emphasis. Whatever else a text holds stays text: it becomes
// neither markup nor an address, so that nothing of a card is run or fetched. A card may come from anybody: every pattern
// here takes a time that grows with the text's length, not with its square.

import { el } from "./dom.js";

const LOWEST = 6;
const MOST = 2000; // blocks of a text, rows of a table, items of a list, marks of a line; what is beyond is not shown

/**
 * Return a text's blocks as elements.
 * @param {string} text - Markdown
 * @param {number} below - the level of the heading above; the text's own begin one further down
 * @returns {HTMLElement[]}
 */
export function markdown(text, below = 1) {
  const lines = text.split(/\r\n?|\n/);
  const blocks = [];
  for (let at = 0; at < lines.length && blocks.length < MOST;) {
    if (!lines[at].trim()) {
      at += 1;
    } else {
      const { block, n_lines } = blockAt(lines, at, below);
      blocks.push(block);
      at += n_lines;
    }
  }
  return blocks;
}

function blockAt(lines, at, below) {
  const heading = /^(#{1,6})\s(.*)$/.exec(lines[at]);
  if (heading) return { block: el(`h${Math.min(LOWEST, heading[1].length + below)}`, {}, ...inline(heading[2].trim())), n_lines: 1 };
  if (/^```/.test(lines[at])) return fenced(lines, at);
  if (isTable(lines, at)) return table(lines, at);
  if (itemOf(lines[at])) return list(lines, at);
  return paragraph(lines, at);
}

function paragraph(lines, at) {
  const end = endOf(lines, at + 1, (line, i) => !line.trim() || /^(#{1,6}\s|```)/.test(line) || itemOf(line) !== null || isTable(lines, i));
  return { block: el("p", {}, ...inline(lines.slice(at, end).join(" "))), n_lines: end - at };
}

function fenced(lines, at) {
  const end = endOf(lines, at + 1, (line) => /^```/.test(line));
  return { block: el("pre", { tabindex: "0" }, el("code", { text: lines.slice(at + 1, end).join("\n") })), n_lines: end + 1 - at };
}

/** An item of a list: whether it is numbered, and its text; null for another line. */
function itemOf(line) {
  const [, mark, text] = /^\s{0,3}([-*+]|\d{1,4}[.)])\s+(.*)$/.exec(line) ?? [];
  return mark === undefined ? null : { isNumbered: /\d/.test(mark), text };
}

/** A list; a line that is indented goes on with the item above it. */
function list(lines, at) {
  const { isNumbered } = itemOf(lines[at]);
  const items = [];
  const end = endOf(lines, at, (line) => {
    const item = itemOf(line);
    if (item && item.isNumbered === isNumbered) items.push([item.text]);
    else if (line.trim() && /^\s/.test(line) && !item) items.at(-1).push(line.trim());
    else return true;
    return false;
  });
  return { block: el(isNumbered ? "ol" : "ul", {}, ...items.slice(0, MOST).map((parts) => el("li", {}, ...inline(parts.join(" "))))), n_lines: end - at };
}

function isTable(lines, at) {
  const rule = lines[at + 1]?.trim() ?? "";
  return lines[at].trimStart().startsWith("|") && rule.includes("-") && rule.includes("|") && /^[|:\s-]+$/.test(rule);
}

function table(lines, at) {
  const end = endOf(lines, at + 2, (line) => !/^\s*\|/.test(line));
  const head = cellsOf(lines[at]).slice(0, MOST);
  const rows = lines.slice(at + 2, Math.min(end, at + 2 + MOST)).map(cellsOf);
  const isNumber = head.map((_, i) => rows.length > 0 && rows.every((row) => /^[-−+±\d.,%\s]*$/.test(row[i] ?? "") || row[i] === "nan"));
  const cell = (tag) => (text, i) => el(tag, { scope: tag === "th" ? "col" : undefined, class: isNumber[i] ? "num" : undefined }, ...inline(text));
  const body = rows.map((row) => el("tr", {}, ...head.map((_, i) => cell("td")(row[i] ?? "", i))));
  return {
    block: el("div", { class: "scroll-x", role: "region", tabindex: "0", "aria-label": `Table: ${head.filter(Boolean).join(", ")}` },
      el("table", {}, el("thead", {}, el("tr", {}, ...head.map(cell("th")))), el("tbody", {}, ...body))),
    n_lines: end - at,
  };
}

/** The cells of a line; a bar with a backslash before it is a part of its cell. */
function cellsOf(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/\|$/, "");
  return inner.split(/(?<!\\)\|/).map((text) => text.trim().replaceAll("\\|", "|"));
}

/** The first position from one on at which a line ends a block. */
function endOf(lines, from, isEnd) {
  let at = from;
  while (at < lines.length && !isEnd(lines[at], at)) at += 1;
  return at;
}

/** Code and strong text of a line, and links as their text with the address behind it; beyond many marks, the text as it is. */
function inline(text) {
  const parts = [];
  let last = 0;
  for (const found of text.matchAll(/`([^`]+)`|\*\*([^*]+)\*\*|\[([^\][]*)\]\(([^()\s]*)\)/g)) {
    if (parts.length > MOST) break;
    const [whole, code, strong, link, address] = found;
    parts.push(text.slice(last, found.index));
    if (code !== undefined) parts.push(el("code", { text: code }));
    else if (strong !== undefined) parts.push(el("strong", { text: strong }));
    else parts.push(address && address !== link ? `${link} (${address})` : link);
    last = found.index + whole.length;
  }
  parts.push(text.slice(last));
  return parts.filter((part) => part !== "");
}
