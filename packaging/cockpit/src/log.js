// The log of ceremonies, searchable. `audit show` gives all of it once; searching asks nobody.

import { busy, button, freshId, h } from "./dom.js";
import { outcome, who } from "./entries.js";
import { failure } from "./steps.js";
import { run } from "./tool.js";
import { count } from "./words.js";

/** How many rows are drawn at once: a browser with 10,000 of them is slow, and nobody reads them. */
const PAGE = 100;

export class Log {
  constructor() {
    this.entries = [];
    this.limit = PAGE;
    this.search = this.field("search", "Search", "generate, a name, a host, a generation's id ...");
    this.what = this.choice("About");
    this.outcome = this.choice("Outcome", ["done", "begun", "refused", "failed", "cut off"]);
    this.found = h("p", { class: "quiet", role: "status" });
    this.note = h("div", { class: "attention" });
    this.rows = h("tbody", { class: "pf-v6-c-table__tbody" });
    this.more = h("p", { class: "actions" });
    const columns = ["No.", "Time (UTC)", "What", "Outcome", "Who", "Generations", "Devices"];
    this.element = h(
      "section",
      { class: "pf-v6-c-card", "aria-label": "Log" },
      h(
        "div",
        { class: "pf-v6-c-card__body" },
        this.note,
        h(
          "form",
          { class: "filters", role: "search", submit: (event) => event.preventDefault() },
          this.search.element,
          this.what.element,
          this.outcome.element,
        ),
        this.found,
        h(
          "table",
          { class: "pf-v6-c-table pf-m-compact log", "aria-label": "Entries, the newest first" },
          h(
            "thead",
            { class: "pf-v6-c-table__thead" },
            h(
              "tr",
              { class: "pf-v6-c-table__tr" },
              columns.map((text) => h("th", { class: "pf-v6-c-table__th", scope: "col" }, text)),
            ),
          ),
          this.rows,
        ),
        this.more,
      ),
    );
  }

  /** Reads the log anew: the newest first, so that there is something to see at once. */
  async load() {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    if (!this.entries.length) this.found.replaceChildren(busy("Reading the log ..."));
    try {
      if (!this.entries.length) this.take(await run(["audit", "show", "--last", `${PAGE}`]).done);
      const all = await run(["audit", "show"]).done;
      if (turn !== this.turn) return;
      this.take(all, true);
      this.note.replaceChildren();
    } catch (error) {
      this.found.replaceChildren();
      this.note.replaceChildren(failure(error));
    }
  }

  take(objects, complete = false) {
    this.entries = objects.map(({ entry }) => ({ entry, text: haystack(entry) })).reverse();
    this.complete = complete;
    this.what.offer([...new Set(this.entries.map(({ entry }) => entry.what))].sort());
    this.draw();
  }

  draw() {
    const words = this.search.input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const { value: what } = this.what.select;
    const { value: ended } = this.outcome.select;
    const hits = this.entries.filter(
      ({ entry, text }) =>
        (!what || entry.what === what) &&
        (!ended || endOf(entry) === ended) &&
        words.every((word) => text.includes(word)),
    );
    this.rows.replaceChildren(...hits.slice(0, this.limit).map(({ entry }) => row(entry)));
    const of = hits.length === this.entries.length ? "" : ` of ${count(this.entries.length, "entry", "entries")}`;
    this.found.textContent = `${count(hits.length, "entry", "entries")}${of}${this.complete ? "" : "; reading on ..."}`;
    const more = () => {
      this.limit += PAGE;
      this.draw();
    };
    this.more.replaceChildren(...(hits.length > this.limit ? [button(`Show ${PAGE} more`, "secondary", more)] : []));
  }

  /** Draws what a changed filter finds, from the top. */
  changed() {
    this.limit = PAGE;
    this.draw();
  }

  field(type, name, placeholder) {
    const id = freshId("filter");
    const input = h("input", { id, type, placeholder, autocomplete: "off", input: () => this.changed() });
    const element = h(
      "div",
      { class: "filter wide" },
      h("label", { for: id }, name),
      h("span", { class: "pf-v6-c-form-control" }, input),
    );
    return { element, input };
  }

  choice(name, options = []) {
    const id = freshId("filter");
    const select = h("select", { id, change: () => this.changed() });
    const offer = (texts) => {
      const { value } = select;
      select.replaceChildren(
        h("option", { value: "" }, "anything"),
        ...texts.map((text) => h("option", { value: text }, text)),
      );
      select.value = texts.includes(value) ? value : "";
    };
    offer(options);
    const element = h(
      "div",
      { class: "filter" },
      h("label", { for: id }, name),
      h("span", { class: "pf-v6-c-form-control" }, select),
    );
    return { element, select, offer };
  }
}

function endOf({ phase, outcome: ended }) {
  if (phase === "intent") return "begun";
  return phase === "closed" ? "cut off" : ended;
}

function haystack(entry) {
  const { n, time, what, error, generations = [], devices = [] } = entry;
  const words = [
    n,
    time,
    what,
    endOf(entry),
    error ?? "",
    who(entry),
    ...generations,
    ...generations.map(short),
    ...devices,
  ];
  return words.join(" ").toLowerCase();
}

/** A generation's id as it is shown: its first 16 hex digits. */
function short(id) {
  return id.slice(0, 16).replace(/(.{4})(?=.)/g, "$1-");
}

function row(entry) {
  const { n, time, what, generations = [], devices = [] } = entry;
  const cell = (name, ...content) => h("td", { class: "pf-v6-c-table__td", "data-label": name }, ...content);
  return h(
    "tr",
    { class: "pf-v6-c-table__tr" },
    cell("No.", `${n}`),
    cell("Time", h("time", { datetime: time }, time.replace("T", " ").replace("Z", ""))),
    cell("What", what),
    cell("Outcome", outcome(entry)),
    cell("Who", who(entry)),
    // An empty cell is empty: on a narrow screen it is left out.
    cell(
      "Generations",
      generations.length > 0 &&
        h(
          "div",
          {},
          generations.map((id) => h("span", { class: "mono id", title: id }, short(id))),
        ),
    ),
    cell("Devices", devices.length > 0 && devices.join(", ")),
  );
}
