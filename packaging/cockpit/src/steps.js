// A ceremony as it runs: each step as the tool tells it, how it ended, and all of it as a text to be copied.

import { alert, button, h, icon, told } from "./dom.js";
import { ranges } from "./words.js";

export class Steps {
  constructor() {
    this.lines = [];
    this.list = h("ol", { class: "steps" });
    this.end = h("div", { class: "dialog-stack", role: "status" });
    this.element = h(
      "div",
      { class: "dialog-stack" },
      h("div", { role: "log", "aria-label": "Steps" }, this.list),
      this.end,
    );
    this.working = null;
  }

  /** Hears an object of the stream. Plans were shown before, and are not repeated. */
  take(object) {
    if (object.schema === "strongroom.step/1") this.step(object);
    if (object.schema === "strongroom.verify/1") this.verdict = object;
  }

  step({ step, text, warning }) {
    this.rest();
    if (step === "working") {
      this.working = h("li", {}, h("span", { class: "spinner", "aria-hidden": "true" }), h("span", {}, `${text} ...`));
      this.list.append(this.working);
      return;
    }
    const level = warning ? "warning" : "ok";
    this.lines.push(`${warning ? "warning:" : "ok"} ${text}`);
    this.list.append(
      h("li", { class: `step-${level}` }, icon(level), h("span", {}, warning && "Warning: ", told(text))),
    );
  }

  rest() {
    this.working?.remove();
    this.working = null;
  }

  /** It is done. */
  done(title) {
    this.rest();
    this.lines.push(`done: ${title}`);
    const boxes = [alert("ok", `${title}: done.`)];
    const { unproved_because: because, whole = [] } = this.verdict ?? {};
    if (because) boxes.unshift(this.also(`nothing was proved against a device: ${because}`));
    else if (whole.length)
      boxes.unshift(
        this.also(`this server does not hold generation ${ranges(whole)}: \`strongroom restore\` adds what is missing`),
      );
    this.end.replaceChildren(...boxes, this.copy());
  }

  /** It did not happen, or stopped. */
  failed(error) {
    this.rest();
    this.lines.push(`error: ${error.message}`, ...(error.hint ? [`hint: ${error.hint}`] : []));
    this.end.replaceChildren(failure(error), this.copy());
  }

  also(text) {
    this.lines.push(`warning: ${text}`);
    return alert("warning", text);
  }

  copy() {
    const said = h("span", { role: "status", class: "quiet" });
    const copy = async () => {
      const text = `${this.lines.join("\n")}\n`;
      const copied = await toClipboard(text);
      said.textContent = copied ? "Copied." : "The browser does not let this page copy: select the text.";
    };
    return h(
      "p",
      { class: "actions" },
      button("Copy what happened", "link", copy, { class: "pf-v6-c-button pf-m-link pf-m-inline" }),
      said,
    );
  }
}

/** An error with its hint and the device's own code, as the tool tells them. */
export function failure({ message, hint, deviceCode }) {
  const code = deviceCode && !message.includes(deviceCode);
  return alert("danger", message, hint && h("p", {}, told(hint)), code && h("p", { class: "mono" }, deviceCode));
}

async function toClipboard(text) {
  // Over plain HTTP from elsewhere there is no such thing.
  if (!navigator.clipboard) return false;
  return navigator.clipboard.writeText(text).then(
    () => true,
    () => false,
  );
}
