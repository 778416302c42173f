// A new passphrase: typed twice, judged by the tool as it is typed, with the hint that goes into the backup's clear text.

import { button, freshId, h, told } from "./dom.js";
import { row, secretInput, textInput } from "./fields.js";
import { ask } from "./tool.js";

/** How long typing has to rest before it is judged, in milliseconds. */
const REST = 250;

export class NewPassphrase {
  /** `label` is the tool's prompt; `known` are words that a guesser tries first. */
  constructor(label, known) {
    this.known = known;
    const verdict = freshId("verdict");
    this.first = secretInput({ "aria-describedby": verdict, input: () => this.typed() });
    this.again = secretInput({ input: () => this.compare() });
    this.hint = textInput({ maxlength: 200, input: () => this.typed() });
    this.meter = h("meter", {
      min: 0,
      max: 4,
      low: 3,
      high: 3.5,
      optimum: 4,
      value: 0,
      "aria-label": "Strength of the passphrase",
    });
    this.verdict = h("p", { id: verdict, class: "note", role: "status" });
    this.differ = h("p", { class: "note problem", role: "status" });
    this.made = h("div", { class: "made" });
    this.element = h(
      "div",
      { class: "dialog-stack" },
      row(label, this.first),
      h("div", { class: "strength" }, this.meter, this.verdict),
      h(
        "p",
        { class: "actions" },
        button("Make a strong one", "link", () => this.suggest(), { class: "pf-v6-c-button pf-m-link pf-m-inline" }),
      ),
      this.made,
      row("The same again", this.again),
      this.differ,
      row("Hint", this.hint, { note: "Anyone who finds the file can read this. It may stay empty." }),
    );
  }

  typed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.judge(), REST);
    this.compare();
  }

  /** Asks the tool; gives whether it would take the passphrase. */
  async judge() {
    clearTimeout(this.timer);
    const turn = (this.turn = (this.turn ?? 0) + 1);
    if (!this.first.value) {
      this.say(0, "", "");
      return false;
    }
    const words = [
      "passphrase",
      "check",
      "--passphrase-fd",
      "0",
      ...this.known.map((word) => `--known=${word}`),
      ...this.hintWords(),
    ];
    try {
      const found = await ask(words, { secrets: [this.first.value], judges: true });
      if (turn !== this.turn) return false;
      const { acceptable, score, problem, warnings } = found;
      const said = problem ? `${problem.message}. ${problem.hint ?? ""}` : "Strong enough.";
      this.say(score, acceptable ? "" : "problem", [said, ...warnings.map(({ text }) => `Note: ${text}.`)].join(" "));
      return acceptable;
    } catch (error) {
      if (turn === this.turn) this.say(0, "problem", `${error.message}. ${error.hint ?? ""}`);
      return false;
    }
  }

  say(score, kind, text) {
    this.meter.value = score ?? 0;
    this.verdict.className = `note ${kind}`;
    const [first = "", ...rest] = text;
    this.verdict.replaceChildren(...told(first.toUpperCase() + rest.join("")));
    if (kind) this.first.setAttribute("aria-invalid", "true");
    else this.first.removeAttribute("aria-invalid");
  }

  /** Whether both are the same; said once the second is as long as the first, or on `finally`. */
  compare(final = false) {
    const { first, again } = this;
    const same = first.value === again.value;
    this.differ.textContent =
      !same && (final || again.value.length >= first.value.length) && again.value ? "The two differ." : "";
    if (!same && final && !again.value) this.differ.textContent = "It has to be typed again.";
    return same;
  }

  /** Shows one of the tool's own: to be written down, and typed like any other. */
  async suggest() {
    try {
      const { passphrase } = await ask(["passphrase", "suggest"]);
      this.made.replaceChildren(
        h("p", {}, "Write this down, keep it apart from the backup file, then type it into both fields:"),
        h("p", { class: "mono suggestion" }, passphrase),
      );
    } catch (error) {
      this.made.replaceChildren(h("p", { class: "problem" }, error.message));
    }
    this.first.value = "";
    this.again.value = "";
    this.say(0, "", "");
    this.first.focus();
  }

  async isGood() {
    if (!this.first.value) {
      this.say(0, "problem", "A passphrase is needed.");
      this.first.focus();
      return false;
    }
    if (!this.compare(true)) {
      this.again.focus();
      return false;
    }
    if (!(await this.judge())) {
      this.first.focus();
      return false;
    }
    // Typing may have gone on while it was judged.
    return this.compare(true);
  }

  hintWords() {
    const hint = this.hint.value.trim();
    return hint ? [`--hint=${hint}`] : [];
  }

  words() {
    return ["--passphrase-fd", "0", ...this.hintWords()];
  }

  secrets() {
    return [this.first.value];
  }

  /** Nothing of it stays in the page. */
  forget() {
    clearTimeout(this.timer);
    this.first.value = "";
    this.again.value = "";
    this.made.replaceChildren();
    this.say(0, "", "");
  }
}
