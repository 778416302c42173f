// The fields of a ceremony's form. Each has an element, the words that it adds to the command line, and whether it is filled.

import { busy, freshId, h, told } from "./dom.js";
import { ask } from "./tool.js";
import { nameOf } from "./words.js";

/** A label above its input, and what is said below it. */
export function row(text, input, { note, id = input.id } = {}) {
  const about = note && freshId("note");
  if (about) input.setAttribute("aria-describedby", about);
  return h(
    "div",
    { class: "pf-v6-c-form__group" },
    h("label", { class: "pf-v6-c-form__label", for: id }, h("span", { class: "pf-v6-c-form__label-text" }, told(text))),
    h("span", { class: "pf-v6-c-form-control" }, input),
    note && h("p", { id: about, class: "note" }, note),
  );
}

export function textInput(attributes = {}) {
  return h("input", { id: freshId("input"), type: "text", autocomplete: "off", spellcheck: "false", ...attributes });
}

/** An input for a secret: no browser keeps it, none fills it in. */
export function secretInput(attributes = {}) {
  return textInput({ type: "password", autocomplete: "new-password", autocapitalize: "off", ...attributes });
}

/** A path on the server; it goes last, after the flags. */
export function path(text, { value = "", placeholder = "", note } = {}) {
  const input = textInput({ value, placeholder, required: true, class: "mono" });
  const typed = () => input.value.trim();
  return {
    element: row(text, input, { note }),
    input,
    words: () => [],
    last: () => [typed()],
    // Relative to what? Cockpit's session has a directory that nobody thinks of.
    isFilled: () => typed().startsWith("/"),
    missing: "A path on the server is needed; it begins with /.",
  };
}

export function text(flag, label, { value = "", note } = {}) {
  const input = textInput({ value });
  const typed = () => input.value.trim();
  return {
    element: row(label, input, { note }),
    input,
    words: () => (typed() ? [`${flag}=${typed()}`] : []),
    isFilled: () => true,
  };
}

/** A flag to be set or not. */
export function flag(words, label) {
  const { element, input } = checkbox(label);
  return { element, input, words: () => (input.checked ? words : []), isFilled: () => true };
}

/** Which PCRs a TPM's seals are bound to. */
export function pcrs(value = "", note = "") {
  const usual = "Such as 7, which is Secure Boot's, or 7+14. What is bound opens only while the machine starts as it does now.";
  return text("--pcrs", "Bind to PCRs", { value, note: note ? `${usual} ${note}` : usual });
}

export function checkbox(label) {
  const id = freshId("check");
  const input = h("input", { id, type: "checkbox", class: "pf-v6-c-check__input" });
  return {
    element: h("div", { class: "pf-v6-c-check" }, input, h("label", { class: "pf-v6-c-check__label", for: id }, label)),
    input,
  };
}

/** Fields that few need, folded away. */
export function folded(summary, fields) {
  return {
    element: h(
      "details",
      { class: "more" },
      h("summary", {}, summary),
      h(
        "div",
        { class: "dialog-stack" },
        fields.map((field) => field.element),
      ),
    ),
    words: () => fields.flatMap((field) => field.words()),
    isFilled: () => true,
  };
}

/**
 * A choice among the TPMs and tokens of the server, with a PIN and PCRs for the secret where it is a TPM. `flag` names the device on the
 * command line; none: it goes last. `own`: text for "those of the ring". `fresh`: only devices that the ring does not have.
 */
export function device({ flag: name, own, fresh = false, changed }) {
  const group = freshId("device");
  const list = h(
    "div",
    { class: "choices", role: "radiogroup", "aria-label": "Device" },
    busy("Looking for TPMs and tokens ..."),
  );
  const uri = textInput({
    class: "mono",
    "aria-label": "URI of the device",
    placeholder: "pkcs11:token=payroll",
    input: () => changed(),
  });
  const guard = checkbox("Guard the secret with a PIN of its own");
  const bound = pcrs();
  const guards = h("div", { class: "dialog-stack" }, guard.element, bound.element);
  const kinds = new Map();
  const chosen = () => list.querySelector("input:checked")?.value;
  const picked = () => (chosen() === "other" ? uri.value.trim() : chosen());
  const isTpm = () => (picked() ?? "").startsWith("tpm:");
  const choose = () => {
    uri.hidden = chosen() !== "other";
    uri.parentElement.hidden = uri.hidden;
    guards.hidden = !isTpm();
    changed();
  };
  guards.hidden = true;
  guard.input.addEventListener("change", () => changed());
  const option = (value, title, { lines = [], checked = false, disabled = false } = {}) => {
    const id = freshId("option");
    return h(
      "div",
      { class: "pf-v6-c-radio" },
      h("input", {
        id,
        type: "radio",
        class: "pf-v6-c-radio__input",
        name: group,
        value,
        checked,
        disabled,
        change: choose,
      }),
      h("label", { class: `pf-v6-c-radio__label${disabled ? " pf-m-disabled" : ""}`, for: id }, title),
      lines.length > 0 &&
        h(
          "div",
          { class: "pf-v6-c-radio__description" },
          lines.map((line) => h("p", {}, line)),
        ),
    );
  };
  const offer = (found) => {
    let first = !own;
    const options = found.map(({ uri: at, description, trouble, ring_device: known }) => {
      const unfit = trouble ?? (description.lacks.length > 0 || (fresh && known));
      const lines = [h("span", { class: "path" }, at)];
      if (trouble) lines.push(`Can't be used: ${trouble.message}`);
      if (description?.lacks.length) lines.push(`Can't keep the secret: it lacks ${description.lacks.join(", ")}`);
      if (known) lines.push(`${known} in the ring of this server`);
      lines.push(...(description?.notes ?? []).map(told));
      const checked = first && !unfit;
      if (checked) first = false;
      kinds.set(at, description?.kind);
      return option(at, description ? nameOf(description) : at, { lines, checked, disabled: Boolean(unfit) });
    });
    if (own) options.unshift(option("", own, { checked: true }));
    if (!options.length) options.push(h("p", {}, "No TPM and no token was found."));
    options.push(option("other", "Another, by its URI"), h("span", { class: "pf-v6-c-form-control" }, uri));
    list.replaceChildren(...options);
    choose();
  };
  ask(["device", "list"]).then(
    ({ devices }) => offer(devices),
    (error) => {
      offer([]);
      list.prepend(h("p", {}, error.message));
    },
  );
  return {
    element: h(
      "fieldset",
      { class: "pf-v6-c-form__group" },
      h("legend", { class: "pf-v6-c-form__label-text" }, "Device"),
      list,
      guards,
    ),
    words: () => [
      ...(name && picked() ? [`${name}=${picked()}`] : []),
      ...(isTpm() && guard.input.checked ? ["--with-pin"] : []),
      ...(isTpm() ? bound.words() : []),
    ],
    last: () => (name ? [] : [picked()]),
    // Those of the ring need no list of what else is there: it may still be looked for.
    isFilled: () => Boolean(picked()) || (Boolean(own) && !chosen()),
    missing: "A device has to be chosen.",
  };
}
