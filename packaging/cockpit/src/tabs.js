// Views of which one is shown.

import { h } from "./dom.js";

/** Tabs that the arrow keys move between. */
export class Tabs {
  /** `views`: for each name, its title and its element; `shown` hears the name of the view that is shown, the first at once. */
  constructor(views, shown) {
    this.views = views;
    this.onshow = shown;
    this.tabs = Object.fromEntries(
      Object.entries(views).map(([name, [title]]) => [
        name,
        h(
          "button",
          {
            type: "button",
            role: "tab",
            id: `tab-${name}`,
            "aria-controls": `view-${name}`,
            class: "pf-v6-c-tabs__link",
            click: () => this.show(name),
            keydown: (event) => this.key(event),
          },
          h("span", { class: "pf-v6-c-tabs__item-text" }, title),
        ),
      ]),
    );
    this.panels = Object.fromEntries(
      Object.entries(views).map(([name, [, element]]) => [
        name,
        h("div", { id: `view-${name}`, role: "tabpanel", "aria-labelledby": `tab-${name}` }, element),
      ]),
    );
    this.items = Object.fromEntries(
      Object.entries(this.tabs).map(([name, tab]) => [
        name,
        h("li", { class: "pf-v6-c-tabs__item", role: "presentation" }, tab),
      ]),
    );
    this.element = h(
      "div",
      {},
      h(
        "div",
        { class: "pf-v6-c-tabs" },
        h("ul", { class: "pf-v6-c-tabs__list", role: "tablist", "aria-label": "Views" }, Object.values(this.items)),
      ),
      Object.values(this.panels),
    );
    this.show(Object.keys(views)[0]);
  }

  show(name) {
    this.shown = name;
    for (const [other, tab] of Object.entries(this.tabs)) {
      const isShown = other === name;
      tab.setAttribute("aria-selected", `${isShown}`);
      tab.tabIndex = isShown ? 0 : -1;
      this.items[other].classList.toggle("pf-m-current", isShown);
      this.panels[other].hidden = !isShown;
    }
    this.onshow(name);
  }

  key(event) {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    const names = Object.keys(this.tabs);
    const step = event.key === "ArrowRight" ? 1 : names.length - 1;
    const next = names[(names.indexOf(this.shown) + step) % names.length];
    this.show(next);
    this.tabs[next].focus();
  }
}
