// Elements from plain data. Text is always text: nothing here, or elsewhere on the page, reads HTML out of a string.

/**
 * Makes an element. Of `attributes`, functions become listeners, `true` an empty attribute, and what is false, null or
 * undefined is left out.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== false && child != null));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";
const DISC = "M16 1C7.729 1 1 7.729 1 16s6.729 15 15 15 15-6.729 15-15S24.271 1 16 1Z";
const ICONS = {
  ok: [DISC, "M9 16.5l4.7 4.7 9.3-9.3"],
  warning: ["M16 2 L31 29 H1 Z", "M16 12v8M16 24v1.5"],
  danger: [DISC, "M16 8v10M16 22v1.5"],
  info: [DISC, "M16 14v9M16 8.5v1.5"],
};

/** A small picture that says nothing which the text beside it doesn't say. */
export function icon(name) {
  const [filled, drawn] = ICONS[name];
  const svg = document.createElementNS(SVG, "svg");
  const set = (element, attributes) => {
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const path = (attributes) => svg.append(set(document.createElementNS(SVG, "path"), attributes));
  set(svg, { class: "pf-v6-svg", viewBox: "0 0 32 32", "aria-hidden": "true", width: "1em", height: "1em" });
  path({ d: filled, fill: "currentColor" });
  path({ d: drawn, class: "icon-line", fill: "none", "stroke-width": "3", "stroke-linecap": "round" });
  return svg;
}

/** A text of the tool: what it puts between backticks is something to type, and `**` does not occur. */
export function told(text) {
  return text.split("`").map((part, at) => (at % 2 ? h("code", {}, part) : part));
}

let ids = 0;

/** An id that the page does not have yet. */
export function freshId(stem) {
  ids += 1;
  return `${stem}-${ids}`;
}

/** A button of PatternFly's. */
export function button(text, kind, click, attributes = {}) {
  return h(
    "button",
    { type: "button", class: `pf-v6-c-button pf-m-${kind}`, click, ...attributes },
    h("span", { class: "pf-v6-c-button__text" }, text),
  );
}

/** A box that says that something is so: `level` is ok, info, warning or danger. */
export function alert(level, title, ...more) {
  const style = { ok: "success", info: "info", warning: "warning", danger: "danger" }[level];
  const spoken = { ok: "Done", info: "Note", warning: "Warning", danger: "Error" }[level];
  return h(
    "div",
    { class: `pf-v6-c-alert pf-m-inline pf-m-${style}` },
    h("div", { class: "pf-v6-c-alert__icon" }, icon(level)),
    h(
      "p",
      { class: "pf-v6-c-alert__title" },
      h("span", { class: "pf-v6-screen-reader" }, `${spoken}: `),
      typeof title === "string" ? told(title) : title,
    ),
    more.some(Boolean) && h("div", { class: "pf-v6-c-alert__description" }, ...more),
  );
}

/** A word in a coloured lozenge. */
export function label(text, colour) {
  return h(
    "span",
    { class: `pf-v6-c-label pf-m-compact${colour ? ` pf-m-${colour}` : ""}` },
    h("span", { class: "pf-v6-c-label__content" }, h("span", { class: "pf-v6-c-label__text" }, text)),
  );
}

/** Something that goes on, with what it is. */
export function busy(text) {
  return h("p", { class: "busy" }, h("span", { class: "spinner", "aria-hidden": "true" }), text);
}
