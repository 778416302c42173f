// What is shown where there is no ring to be shown.

import * as ceremonies from "./ceremonies.js";
import { button, h } from "./dom.js";
import { failure } from "./steps.js";

/** A server without a ring: the two ways to one. */
export function first(begin) {
  const way = (title, text, name, definition) =>
    h(
      "section",
      { class: "pf-v6-c-card first-way" },
      h("div", { class: "pf-v6-c-card__title" }, h("h2", { class: "pf-v6-c-card__title-text" }, title)),
      h("div", { class: "pf-v6-c-card__body" }, h("p", {}, text)),
      h(
        "div",
        { class: "pf-v6-c-card__footer" },
        button(name, "primary", () => begin(definition())),
      ),
    );
  return h(
    "div",
    { class: "overview" },
    h("p", {}, "This server has no master secret yet."),
    h(
      "div",
      { class: "columns" },
      way("A new system", "For the first server of a system.", "Set up", ceremonies.init),
      way("From a backup", "For a server that takes over from another, or joins it.", "Restore", () =>
        ceremonies.restore(null),
      ),
    ),
  );
}

/** A ring that can't be read. */
export function damaged(begin, error) {
  return h(
    "div",
    { class: "overview" },
    failure(error),
    h(
      "p",
      { class: "actions" },
      button("Recover", "primary", () => begin(ceremonies.recover())),
      button("Restore from a backup", "secondary", () => begin(ceremonies.restore([]))),
    ),
  );
}
