// The ring's devices: how each is, and what it was shown to serve.

import { button, h, label, told } from "./dom.js";
import { nameOf, ranges } from "./words.js";

/** `asked`: what they answered is known; else they are being asked. `acts` are the ceremonies that the buttons begin. */
export function deviceList(devices, asked, acts) {
  const items = devices.map((device) => {
    const small = (text, act) =>
      button(text, "secondary", act, {
        class: "pf-v6-c-button pf-m-secondary pf-m-small",
        "aria-label": `${text} ${device.id}`,
        "data-act": `${text} ${device.id}`,
      });
    return h(
      "li",
      { class: "row" },
      h(
        "div",
        { class: "row-main" },
        h(
          "p",
          {},
          h("strong", {}, device.id),
          " ",
          deviceState(device, asked),
          " ",
          device.description && nameOf(device.description),
        ),
        h("p", { class: "path quiet" }, device.uri),
        h("p", { class: "quiet" }, seals(device, asked)),
        device.bound && h("p", { class: "quiet" }, `Bound to PCRs ${device.bound}${signed(device)}.`),
        device.notes.map((note) => h("p", { class: "quiet" }, told(note))),
      ),
      h(
        "div",
        { class: "row-acts" },
        // Only a TPM has PCRs; one that is away may be bound again when it is back.
        device.uri.startsWith("tpm:") && small("Bind", () => acts.bind(device)),
        device.bound && small("Unbind", () => acts.unbind(device)),
        small("Repair", () => acts.repair(device.id)),
        small("Remove", () => acts.remove(device.id)),
      ),
    );
  });
  return h("ul", { class: "rows" }, items);
}

function signed({ signed_by: key }) {
  return key ? ` as key ${key.slice(0, 16)} signs it` : "";
}

function deviceState(device, asked) {
  if (!asked) return label("asking ...");
  if (!device.reachable) return label(device.state, "red");
  if (device.seals.some(({ state }) => ["pcrs-changed", "not-signed", "failed"].includes(state))) {
    return label("seals don't open", "red");
  }
  return label(device.state, device.state.startsWith("ready") ? "green" : "orange");
}

/** What of the ring's generations a device was shown to serve, and what not. */
function seals({ seals: all, reachable }, asked) {
  const unchecked = reachable ? "not checked without a PIN:" : "not checked:";
  const words = {
    good: "serves",
    "not-checked": asked ? unchecked : "holds",
    missing: "lacks",
    "pcrs-changed": "DOES NOT OPEN, its PCRs have changed:",
    "not-signed": "DOES NOT OPEN, the machine's state is not signed:",
    failed: "FAILS:",
  };
  // A state that only a later version of the tool knows is shown by its name.
  const states = new Set([...Object.keys(words), ...all.map(({ state }) => state)]);
  const parts = [];
  for (const state of states) {
    const numbers = all.filter((seal) => seal.state === state).map((seal) => seal.generation);
    const noun = numbers.length === 1 ? "generation" : "generations";
    if (numbers.length) parts.push(`${words[state] ?? `${state}:`} ${noun} ${ranges(numbers)}`);
  }
  const text = parts.join("; ");
  return text ? `${text[0].toUpperCase()}${text.slice(1)}.` : "";
}
