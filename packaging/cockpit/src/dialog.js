// A native modal dialog: the browser keeps the focus inside, gives it back afterwards, and closes it with Escape.

import { freshId, h } from "./dom.js";

export class Dialog {
  constructor(title) {
    const id = freshId("dialog");
    this.title = h("h2", { id, class: "pf-v6-c-modal-box__title", tabindex: "-1" }, title);
    this.body = h("div", { class: "pf-v6-c-modal-box__body dialog-body" });
    this.footer = h("footer", { class: "pf-v6-c-modal-box__footer dialog-footer" });
    /** While this is set, Escape does nothing: what runs is not left by a slip of the hand. */
    this.held = false;
    this.onclose = () => {};
    this.element = h(
      "dialog",
      {
        class: "pf-v6-c-modal-box dialog",
        "aria-labelledby": id,
        // A browser lets a second Escape through `cancel` alone.
        keydown: (event) => this.held && event.key === "Escape" && event.preventDefault(),
        cancel: (event) => this.held && event.preventDefault(),
        close: () => this.ended(),
      },
      h("header", { class: "pf-v6-c-modal-box__header dialog-header" }, this.title),
      this.body,
      this.footer,
    );
  }

  open() {
    document.body.append(this.element);
    this.element.showModal();
  }

  close() {
    this.element.close();
  }

  buttons(...buttons) {
    this.footer.replaceChildren(...buttons);
  }

  /** What was typed goes with the elements that held it. */
  ended() {
    for (const input of this.element.querySelectorAll("input")) input.value = "";
    this.element.remove();
    this.onclose();
  }
}
