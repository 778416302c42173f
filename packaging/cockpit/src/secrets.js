// The secrets that a plan asks for, as fields. The order is the plan's, which is the order in which the tool reads them from
// standard input.

import { h } from "./dom.js";
import { row, secretInput } from "./fields.js";
import { NewPassphrase } from "./passphrase.js";

/** A field for one secret of a plan. `known` are words that a guesser of passphrases tries first. */
export function fieldFor(wanted, known) {
  if (wanted.id === "pin") return new Pin(wanted);
  if (wanted.id === "new-pin") return new NewPin(wanted);
  return wanted.new ? new NewPassphrase(wanted.text, known) : new Passphrase(wanted.text);
}

/** A PIN that a device has. One that is not required may stay empty: then its device is passed over. */
class Pin {
  constructor({ device, text, required }) {
    this.device = device;
    this.required = required;
    this.input = secretInput();
    this.problem = problem();
    const note = required
      ? `For ${device}.`
      : `For ${device}. Left empty, the device is passed over; one that answers is needed.`;
    this.element = h("div", { class: "dialog-stack" }, row(text, this.input, { note }), this.problem);
  }

  async isGood() {
    const missing = this.required && !this.input.value;
    this.problem.textContent = missing ? "It is needed." : "";
    if (missing) this.input.focus();
    return !missing;
  }

  words() {
    return this.input.value ? ["--pin-fd", `${this.device}=0`] : [];
  }

  secrets() {
    return this.input.value ? [this.input.value] : [];
  }

  forget() {
    this.input.value = "";
  }
}

/** A PIN that is chosen now, typed twice. What it must be, the tool says. */
class NewPin {
  constructor({ text }) {
    this.first = secretInput();
    this.again = secretInput();
    this.problem = problem();
    this.element = h(
      "div",
      { class: "dialog-stack" },
      row(text, this.first),
      row("The same again", this.again),
      this.problem,
    );
  }

  async isGood() {
    const { first, again } = this;
    const text = first.value ? "The two differ." : "It is needed.";
    const good = Boolean(first.value) && first.value === again.value;
    this.problem.textContent = good ? "" : text;
    if (!good) first.focus();
    return good;
  }

  words() {
    return ["--new-pin-fd", "0"];
  }

  secrets() {
    return [this.first.value];
  }

  forget() {
    this.first.value = "";
    this.again.value = "";
  }
}

/** The passphrase of a backup that exists. */
export class Passphrase {
  constructor(text) {
    this.input = secretInput();
    this.problem = problem();
    this.element = h("div", { class: "dialog-stack" }, row(text, this.input), this.problem);
  }

  async isGood() {
    this.problem.textContent = this.input.value ? "" : "It is needed.";
    if (!this.input.value) this.input.focus();
    return Boolean(this.input.value);
  }

  words() {
    return ["--passphrase-fd", "0"];
  }

  secrets() {
    return [this.input.value];
  }

  forget() {
    this.input.value = "";
  }
}

function problem() {
  return h("p", { class: "note problem", role: "status" });
}
