// A ceremony in a dialog: what it shall be about, what the tool says that it will change, and then each step as it happens.
//
// The page knows which questions a command has, and nothing of what it does: plans, warnings, questions, steps and errors are
// the tool's own words. A secret is in its field until the command starts, and nowhere afterwards.

import { alert, busy, button, h, told } from "./dom.js";
import { Dialog } from "./dialog.js";
import { checkbox } from "./fields.js";
import { Passphrase, fieldFor } from "./secrets.js";
import { Steps, failure } from "./steps.js";
import { run } from "./tool.js";

/** How long typing has to rest before the tool is asked to look, in milliseconds. */
const REST = 400;

export class Ceremony {
  /**
   * `definition` is one of ceremonies.js; `known` are words that a guesser of passphrases tries first; `ended` is called when
   * the dialog is closed.
   */
  constructor(definition, { known = [], ended = () => {} } = {}) {
    this.definition = definition;
    this.known = known;
    this.dialog = new Dialog(definition.title);
    this.dialog.onclose = () => {
      clearTimeout(this.timer);
      this.looking?.stop();
      this.running?.stop();
      this.forget();
      ended();
    };
    this.found = h("div", { class: "dialog-stack", role: "status", "aria-live": "polite" });
    this.fields = definition.fields(() => this.changed());
    // A backup that exists has its plan inside: the tool can tell it only once the passphrase opened the file.
    this.passphrase = definition.opensFirst ? new Passphrase("Passphrase of the backup") : null;
    /** The fields of the plan's secrets. */
    this.secrets = [];
    this.lastTry = checkbox("Send the PIN although the device takes only one more wrong one before it locks");
    this.lastTry.element.hidden = true;
  }

  open() {
    this.dialog.open();
    if (this.fields.length) this.showForm();
    else this.showPlan();
  }

  /** The command's words so far. */
  words(...flags) {
    const of = (part) => this.fields.flatMap((field) => field[part]?.() ?? []);
    return [...this.definition.words, ...of("words"), ...flags, ...(this.definition.last ?? []), ...of("last")];
  }

  /** Nothing secret stays in a field that is not shown any more. */
  forget() {
    for (const secret of this.secrets) secret.forget();
    this.passphrase?.forget();
  }

  // First, what it shall be about.

  showForm() {
    const form = h(
      "form",
      {
        class: "pf-v6-c-form",
        submit: (event) => {
          event.preventDefault();
          this.showPlan();
        },
        input: () => this.changed(),
        novalidate: true,
      },
      this.fields.map((field) => field.element),
      this.found,
      this.passphrase?.element,
      // Enter in a field goes on, as the button below does.
      h("button", { type: "submit", hidden: true }),
    );
    this.dialog.body.replaceChildren(form);
    this.dialog.buttons(
      button("Continue", "primary", () => this.showPlan()),
      this.cancel(),
    );
    form.querySelector("input:not([hidden]), select")?.focus();
    this.changed();
  }

  changed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), REST);
  }

  /** Lets the tool look while the form is filled, and shows what speaks against it. */
  async look() {
    clearTimeout(this.timer);
    // A list of devices may come late: by then the form may have been sent, or be gone.
    if (this.planning || !this.found.isConnected) return;
    this.looking?.stop();
    if (!this.fields.every((field) => field.isFilled())) {
      this.found.replaceChildren();
      return;
    }
    const words = this.words("--dry-run");
    if (this.looked === words.join("\0")) return;
    const looking = (this.looking = run(words));
    const asked = () => this.looking === looking && this.dialog.element.isConnected;
    let objects = [];
    let error = null;
    try {
      objects = await looking.done;
    } catch (failed) {
      error = failed;
    }
    if (!asked()) return;
    this.looking = null;
    this.looked = words.join("\0");
    const preamble = objects.concat(error?.objects ?? []).find((object) => object.schema === "strongroom.preamble/1");
    if (preamble) this.found.replaceChildren(aboutBackup(preamble));
    else if (error) this.found.replaceChildren(failure(error));
    else this.found.replaceChildren(h("p", { class: "note good" }, "Checked: nothing speaks against it."));
    const isWrong = Boolean(error && !preamble);
    for (const { input } of this.fields) input?.setAttribute("aria-invalid", `${isWrong}`);
  }

  // Then, what will change, and the secrets that this takes.

  async showPlan() {
    clearTimeout(this.timer);
    this.looking?.stop();
    this.looking = null;
    this.looked = null;
    const missing = this.fields.find((field) => !field.isFilled());
    if (missing) {
      this.found.replaceChildren(alert("danger", missing.missing));
      missing.input?.focus();
      return;
    }
    if (this.passphrase && !(await this.passphrase.isGood())) return;
    const opening = this.passphrase
      ? { words: this.passphrase.words(), secrets: this.passphrase.secrets() }
      : { words: [], secrets: [] };
    this.planning = true;
    this.dialog.buttons(this.cancel());
    const wait = busy("Looking at everything ...");
    if (this.fields.length) this.found.replaceChildren(wait);
    else this.dialog.body.replaceChildren(wait);
    const looking = (this.looking = run(this.words("--dry-run", ...opening.words), { secrets: opening.secrets }));
    try {
      const objects = await looking.done;
      if (this.looking === looking) this.agree(objects);
    } catch (error) {
      if (this.looking !== looking || !this.dialog.element.isConnected) return;
      this.passphrase?.forget();
      if (this.fields.length) {
        this.showForm();
        clearTimeout(this.timer);
        // It stays until something in the form is different.
        this.looked = this.words("--dry-run").join("\0");
        this.found.replaceChildren(failure(error));
      } else {
        this.dialog.body.replaceChildren(failure(error));
        this.dialog.buttons(button("Close", "primary", () => this.dialog.close()));
      }
    } finally {
      this.planning = false;
      if (this.looking === looking) this.looking = null;
    }
  }

  agree(objects) {
    const plan = objects.find((object) => object.schema === "strongroom.plan/1");
    const preamble = objects.find((object) => object.schema === "strongroom.preamble/1");
    const known = [...this.known, plan.system];
    this.secrets = plan.secrets
      .filter(({ id }) => !(this.passphrase && id === "passphrase"))
      .map((wanted) => fieldFor(wanted, known));
    const act = () => this.execute(plan);
    const title = h("h3", { tabindex: "-1" }, "What will change");
    const form = h(
      "form",
      {
        class: "pf-v6-c-form",
        novalidate: true,
        submit: (event) => {
          event.preventDefault();
          act();
        },
      },
      preamble && aboutBackup(preamble),
      h(
        "section",
        { class: "plan" },
        title,
        h(
          "ul",
          {},
          plan.changes.map(({ text }) => h("li", {}, told(text))),
        ),
      ),
      plan.warnings.map(({ text }) => alert("warning", text)),
      this.secrets.map((secret) => secret.element),
      this.lastTry.element,
      plan.question && h("p", { class: "question" }, plan.question),
      h("button", { type: "submit", hidden: true }),
    );
    this.dialog.body.replaceChildren(form);
    const back = () => {
      this.forget();
      this.showForm();
    };
    this.dialog.buttons(
      button(this.definition.act, this.definition.danger ? "danger" : "primary", act),
      ...(this.fields.length ? [button("Back", "secondary", back)] : []),
      this.cancel(),
    );
    title.focus();
  }

  // Then it happens.

  async execute(plan) {
    if (this.running) return;
    for (const secret of this.secrets) {
      if (!(await secret.isGood())) return;
    }
    if (this.running || !this.dialog.element.isConnected) return;
    const all = this.passphrase ? [...this.secrets, this.passphrase] : this.secrets;
    const flags = all.flatMap((secret) => secret.words());
    if (plan.question) flags.push("--yes");
    if (this.lastTry.input.checked) flags.push("--use-last-try");
    const steps = new Steps();
    this.running = run(this.words(...flags), {
      secrets: all.flatMap((secret) => secret.secrets()),
      on: (object) => steps.take(object),
    });
    this.forget();
    this.dialog.body.replaceChildren(steps.element);
    this.dialog.held = true;
    this.dialog.buttons(button("Stop", "secondary", () => this.running?.stop()));
    this.dialog.title.focus();
    // Leaving in the middle is safe; it is asked about because it is hardly ever meant.
    const leaving = (event) => event.preventDefault();
    window.addEventListener("beforeunload", leaving);
    try {
      await this.running.done;
      steps.done(this.definition.title);
      this.dialog.buttons(this.close());
    } catch (error) {
      steps.failed(error);
      this.lastTry.element.hidden = error.id !== "last-try";
      this.lastTry.input.checked = false;
      const again = button("Try again", "secondary", () => (this.fields.length ? this.showForm() : this.showPlan()));
      this.dialog.buttons(this.close(), again);
    } finally {
      window.removeEventListener("beforeunload", leaving);
      this.running = null;
      this.dialog.held = false;
    }
    this.dialog.footer.querySelector("button")?.focus();
  }

  cancel() {
    return button("Cancel", "link", () => this.dialog.close());
  }

  close() {
    return button("Close", "primary", () => this.dialog.close());
  }
}

/** What a backup says of itself, and its hint. */
function aboutBackup({ lines, hint }) {
  return h(
    "section",
    { class: "plan" },
    h("h3", {}, "What the file says"),
    h(
      "ul",
      {},
      lines.map((line) => h("li", {}, told(line))),
    ),
    hint && h("p", {}, "Hint of the passphrase: ", h("strong", {}, hint)),
  );
}
