// The page: what stands on it, and when it is looked at anew. Everything else is in a file of its own.

import { refusal, reloadOnChange } from "./access.js";
import { Ceremony } from "./ceremony.js";
import * as ceremonies from "./ceremonies.js";
import { alert, button, h, label } from "./dom.js";
import { damaged, first } from "./landing.js";
import { Log } from "./log.js";
import { Overview, summary } from "./overview.js";
import { failure } from "./steps.js";
import { Tabs } from "./tabs.js";
import { follow } from "./theme.js";
import { run } from "./tool.js";
import { watch } from "./watch.js";

/** How often a server without a ring is looked at, in milliseconds: there is no directory yet that could be watched. */
const NO_RING_INTERVAL = 5_000;
/** How many of the log's entries the overview looks at, to show the last ceremonies. */
const RECENT = 12;

const page = document.getElementById("page");

class Page {
  constructor() {
    this.turn = 0;
    this.status = null;
    this.busy = false;
    this.overview = new Overview({
      ...Object.fromEntries(
        ["backup", "verify", "add", "repair", "remove", "bind", "unbind"].map((name) => [name, (of) => this.begin(ceremonies[name](of))]),
      ),
      generate: () => this.begin(ceremonies.generate(this.devices() ?? [])),
      log: () => this.tabs.show("log"),
    });
    this.log = new Log();
    this.note = h("div", { class: "attention" });
    this.system = h("p", { class: "system" });
    const act = (name, kind, begin) => button(name, kind, begin, { "data-act": name });
    this.acts = h(
      "div",
      { class: "page-acts" },
      act("Generate", "primary", () => this.begin(ceremonies.generate(this.devices() ?? []))),
      act("Back up", "secondary", () => this.begin(ceremonies.backup())),
      act("Verify", "secondary", () => this.begin(ceremonies.verify())),
      act("Restore", "secondary", () => this.begin(ceremonies.restore(this.devices()))),
    );
    this.tabs = new Tabs({ overview: ["Overview", this.overview.element], log: ["Log", this.log.element] }, (name) => {
      if (name === "log") this.log.load();
    });
    this.header = h(
      "header",
      { class: "page-header" },
      h("div", {}, h("h1", { class: "pf-v6-c-title pf-m-2xl" }, "Strongroom"), this.system),
      this.acts,
    );
  }

  devices() {
    return this.status?.devices ?? null;
  }

  /** Looks at the ring, shows it, and then asks its devices. */
  async refresh() {
    const turn = ++this.turn;
    this.asking?.stop();
    clearTimeout(this.timer);
    try {
      const [status] = await run(["status", "--quick"]).done;
      if (turn !== this.turn) return;
      this.show(status);
      this.ready();
      this.recent(turn);
      if (this.tabs.shown === "log") this.log.load();
      await this.ask(turn);
    } catch (error) {
      if (turn === this.turn) this.refused(error);
    }
  }

  show(status) {
    const before = this.status;
    this.status = status;
    this.system.replaceChildren(
      h("strong", {}, status.system.name),
      " ",
      label(status.role, status.role === "master" ? "green" : "blue"),
      ` term ${status.term}${status.role === "master" ? "" : `; the master is ${status.master}`}`,
    );
    // What is known of the devices is shown until they answered again; of a new ring nothing is.
    const known = new Map((before?.asked ?? []).map((device) => [device.id, device]));
    status.asked = before?.asked;
    const devices = status.devices.map((device) => known.get(device.id) ?? device);
    const isKnown = status.devices.length > 0 && status.devices.every(({ id }) => known.has(id));
    this.overview.show({ ...status, devices }, isKnown);
    this.note.replaceChildren();
    if (!this.tabs.element.isConnected) page.replaceChildren(this.header, this.note, this.tabs.element);
    this.watchOver(status.directory);
  }

  /** Asks the devices, which takes them a while. Not while a ceremony uses them. */
  async ask(turn) {
    if (this.busy) return;
    const asking = (this.asking = run(["status"]));
    try {
      const [status] = await asking.done;
      if (turn !== this.turn) return;
      this.status = { ...status, asked: status.devices };
      this.overview.show(status, true);
      document.title = `Strongroom: ${status.system.name}, ${summary(status)}`;
    } catch (error) {
      if (turn === this.turn && error.id !== "interrupted") this.note.replaceChildren(failure(error));
    }
  }

  async recent(turn) {
    const objects = await run(["audit", "show", "--last", `${RECENT}`]).done.catch(() => []);
    if (turn === this.turn) this.overview.showRecent(objects.map(({ entry }) => entry).reverse());
  }

  /** There is no ring to be shown: why, and what can be done about it. */
  refused(error) {
    this.status = null;
    this.watchOver(null);
    const begin = (definition) => this.begin(definition);
    const acts = {
      "no-ring": () => first(begin),
      "ring-damaged": () => damaged(begin, error),
      "ring-lost": () => damaged(begin, error),
      "ring-format": () => damaged(begin, error),
      "no-access": () => refusal(error),
      "not-administrator": () => refusal(error),
    };
    const shown = acts[error.id]?.() ?? failure(error);
    page.replaceChildren(
      h("header", { class: "page-header" }, h("h1", { class: "pf-v6-c-title pf-m-2xl" }, "Strongroom")),
      shown,
    );
    this.ready();
    // What is refused to this session stays refused: asking again would only fill the journal.
    if (error.id !== "no-access" && error.id !== "not-administrator")
      this.timer = setTimeout(() => this.idle(error), NO_RING_INTERVAL);
  }

  /** Looks again, unless somebody is at work in a dialog: then the page stays as it is. */
  idle(error) {
    if (this.busy) this.timer = setTimeout(() => this.idle(error), NO_RING_INTERVAL);
    else this.refreshQuietly(error);
  }

  /** Looks whether that has changed by now; while it has not, nothing on the page does. */
  async refreshQuietly(before) {
    const turn = this.turn;
    const isSame = await run(["status", "--quick"]).done.then(
      () => false,
      ({ id, message }) => id === before.id && message === before.message,
    );
    if (turn !== this.turn) return;
    if (!isSame) this.refresh();
    else this.timer = setTimeout(() => this.idle(before), NO_RING_INTERVAL);
  }

  /** Watches a directory, or none. */
  watchOver(directory) {
    if (this.watched === directory) return;
    this.unwatch?.();
    this.watched = directory;
    this.unwatch = directory && watch(directory, () => this.busy || this.refresh());
  }

  /** Opens a ceremony's dialog. Until it is closed, the page asks no device: one that serves one at a time is the ceremony's. */
  begin(definition) {
    this.busy = true;
    this.asking?.stop();
    const ended = () => {
      this.busy = false;
      this.refresh();
    };
    new Ceremony(definition, { known: this.status ? [this.status.system.name] : [], ended }).open();
  }

  ready() {
    performance.mark("ready");
    page.setAttribute("aria-busy", "false");
  }
}

follow();
reloadOnChange();
page.replaceChildren(h("p", { class: "quiet" }, "Looking at this server ..."));
new Page().refresh().catch((error) => page.replaceChildren(alert("danger", error.message)));
