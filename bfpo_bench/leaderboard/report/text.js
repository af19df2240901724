"use strict";
// Untrusted text as DOM nodes. Everything goes through text nodes; innerHTML is used nowhere, and
// the page's policy (Trusted Types) would refuse it.

/** An element with attributes (a property where it starts with "on") and children. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** Lists of what a function gives the same key, by that key. */
function grouped(list, key) {
  const groups = new Map();
  for (const one of list) {
    const name = key(one);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(one);
  }
  return groups;
}

// Characters that show nothing or turn the direction of others; escaping.py has the same list.
// Line feed and tab are ordinary here. Tag characters can smuggle whole sentences past a reader.
const UNSEEN =
  /([\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]|\p{Cs})\1*/gu;
const NAMES = {
  0x00: "NUL", 0x08: "BS", 0x0d: "CR", 0x1b: "ESC", 0x7f: "DEL", 0xad: "SHY", 0x61c: "ALM", 0x200b: "ZWSP",
  0x200e: "LRM", 0x200f: "RLM", 0x2028: "LS", 0x2029: "PS", 0x202a: "LRE", 0x202b: "RLE", 0x202c: "PDF",
  0x202d: "LRO", 0x202e: "RLO", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI", 0xfeff: "BOM",
};

/** Nodes that show a text, unseen characters by their names, found words marked. */
function visible(text, words = []) {
  const nodes = [];
  let from = 0;
  for (const match of text.matchAll(UNSEEN)) {
    nodes.push(...marked(text.slice(from, match.index), words));
    const code = match[1].codePointAt(0);
    const name = NAMES[code] ?? "U+" + code.toString(16).toUpperCase().padStart(4, "0");
    const times = match[0].length / match[1].length;
    nodes.push(element("span", { class: "unseen" }, times > 1 ? `${name}×${times}` : name));
    from = match.index + match[0].length;
  }
  nodes.push(...marked(text.slice(from), words));
  return nodes;
}

function marked(text, words) {
  if (!words.length || !text) return text ? [text] : [];
  const pattern = words.map((word) => word.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&")).join("|");
  return text
    .split(new RegExp(`(${pattern})`, "giu"))
    .map((part, index) => (index % 2 ? element("mark", {}, part) : part))
    .filter((part) => part !== "");
}

const FIRST = 4000;
const STEP = 20000;
const UNDER_VEIL = 600;

/**
 * A box with an untrusted text: isolated from the page's direction, cut when it is long, blurred
 * and kept from screen readers while it is veiled.
 */
function textBox(text, { words = [], veiled = false, label = "text", reveal = null } = {}) {
  const box = element("div", { class: "text" });
  const show = (end) => {
    // Never between the halves of a surrogate pair.
    if (/[\ud800-\udbff]/.test(text[end - 1] ?? "")) end += 1;
    const body = element("div", { class: "words", dir: "auto" }, ...visible(text.slice(0, end), words));
    if (text === "") body.append(element("span", { class: "quiet" }, "(empty)"));
    const rest = text.length - end;
    const more =
      rest > 0
        ? element("button", { type: "button", class: "more", onclick: () => grow(end) },
            `Show ${rest > STEP ? STEP.toLocaleString("en") + " more of " + rest.toLocaleString("en") : "all, " + rest.toLocaleString("en") + " more"} characters`)
        : null;
    box.replaceChildren(body, ...(more ? [more] : []));
  };
  const grow = (end) => {
    show(end + STEP);
    (box.querySelector(".more") ?? box).focus();
  };
  box.tabIndex = -1;
  if (!veiled) {
    show(FIRST);
    return box;
  }
  const veil = element("div", { class: "words veiled", dir: "auto", "aria-hidden": "true", inert: true },
    ...visible(text.slice(0, UNDER_VEIL)));
  const button = element("button", { type: "button", class: "reveal" }, `Show this ${label}`);
  button.addEventListener("click", () => {
    show(FIRST);
    box.focus();
    if (reveal) reveal();
  });
  box.append(veil, button);
  return box;
}
