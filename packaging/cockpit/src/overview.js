// The overview: how things stand, as `status` tells it. What the tool's answer does not hold is not on it.

import { deviceList } from "./devices.js";
import { alert, busy, button, freshId, h, label } from "./dom.js";
import { outcome, who } from "./entries.js";
import { ago, count, moment, ranges } from "./words.js";

/** A warning's id, and the ceremony that the page offers beside it. Its text says what to do in any case. */
const REMEDIES = {
  "no-backup": ["Back up", (acts) => acts.backup()],
  "same-disk": ["Back up", (acts) => acts.backup()],
  "old-drill": ["Verify", (acts) => acts.verify()],
  pending: ["Verify", (acts) => acts.verify()],
  "old-secret": ["Generate", (acts) => acts.generate()],
};

export class Overview {
  /** `acts` are the ceremonies that its buttons begin. */
  constructor(acts) {
    this.acts = acts;
    this.shown = {};
    this.attention = h("section", { class: "attention", "aria-label": "What needs attention", "aria-live": "polite" });
    this.secret = card("Master secret");
    this.backups = card(
      "Backups",
      button("Back up", "secondary", () => acts.backup(), { "data-act": "backup-card" }),
    );
    this.devices = card(
      "Devices",
      button("Add a device", "secondary", () => acts.add(), { "data-act": "add" }),
    );
    this.recent = card(
      "Last in the log",
      button("All of the log", "link", () => acts.log()),
    );
    this.element = h(
      "div",
      { class: "overview" },
      this.attention,
      h("div", { class: "columns" }, this.secret.element, this.backups.element),
      this.devices.element,
      this.recent.element,
    );
  }

  /** Shows a status. `asked`: its devices were asked; else that goes on, and what is known of them stays. */
  show(status, asked) {
    this.part("attention", [status.warnings, asked], () => this.showAttention(status.warnings, asked));
    this.part("secret", [status.active, status.generations, hour()], () => this.secret.fill(...this.ofSecret(status)));
    this.part("backups", [status.backups, hour()], () => this.backups.fill(...this.ofBackups(status.backups)));
    this.part("devices", [status.devices, asked], () =>
      this.devices.fill(deviceList(status.devices, asked, this.acts)),
    );
  }

  /** Shows the last ceremonies of the log's entries (the newest first): each once, as it ended. */
  showRecent(entries) {
    const ended = new Set(entries.map(({ of }) => of));
    const last = entries.filter(({ n }) => !ended.has(n)).slice(0, 5);
    const key = last.map(({ n }) => n);
    this.part("recent", [key, hour()], () =>
      this.recent.fill(last.length ? recentList(last) : h("p", {}, "Nothing yet.")),
    );
  }

  /** Draws a part of the page only when what it shows has changed: focus, selection and scrolling stay where they are. */
  part(name, data, draw) {
    const key = JSON.stringify(data);
    if (this.shown[name] === key) return;
    this.shown[name] = key;
    const act = document.activeElement?.dataset.act;
    draw();
    if (act && document.activeElement === document.body) document.querySelector(`[data-act="${act}"]`)?.focus();
  }

  showAttention(warnings, asked) {
    const boxes = warnings.map(({ id, text }) => {
      const [name, act] = REMEDIES[id] ?? [];
      return alert(
        "warning",
        text,
        name && button(name, "link", () => act(this.acts), { class: "pf-v6-c-button pf-m-link pf-m-inline" }),
      );
    });
    if (!boxes.length && asked) boxes.push(alert("ok", "Nothing needs attention."));
    this.attention.replaceChildren(...boxes);
  }

  ofSecret({ active, generations }) {
    const parts = [];
    if (active) {
      const made = generations.find(({ number }) => number === active.number);
      parts.push(
        h("p", { class: "headline" }, `Generation ${active.number}`, " ", label("active", "green")),
        h("p", { class: "identity" }, h("span", { class: "mono", title: active.id }, active.short_id)),
        h(
          "p",
          { class: "quiet" },
          `Made ${ago(made.created)} on ${made.made_on}`,
          made.restored && `, restored ${ago(made.restored)}`,
          made.pin && ", guarded by a PIN",
          ".",
        ),
      );
    } else {
      parts.push(h("p", {}, "No generation is active yet."));
    }
    if (generations.length > 1 || !active) parts.push(generationList(generations));
    return parts;
  }

  ofBackups(backups) {
    if (!backups.length) return [h("p", {}, "None.")];
    // The newest first: the one that matters.
    const items = [...backups].reverse().map((backup) =>
      h(
        "li",
        { class: "row" },
        h(
          "div",
          { class: "row-main" },
          h("p", { class: "path" }, backup.path, " ", !backup.present && label("not at its path now", "orange")),
          h(
            "p",
            { class: "quiet" },
            `${backup.generations.length === 1 ? "Generation" : "Generations"} ${ranges(backup.generations)}, made `,
            h("time", { datetime: backup.made, title: moment(backup.made) }, ago(backup.made)),
            ". ",
            backup.proved
              ? [
                  "Last proved ",
                  h("time", { datetime: backup.proved, title: moment(backup.proved) }, ago(backup.proved)),
                  ".",
                ]
              : h("strong", {}, "Never proved."),
          ),
        ),
        button("Verify", "secondary", () => this.acts.verify(backup.path), {
          class: "pf-v6-c-button pf-m-secondary pf-m-small",
          "aria-label": `Verify ${backup.path}`,
          "data-act": `verify ${backup.path}`,
        }),
      ),
    );
    return [scrolled("Backups", items)];
  }
}

/** Ages are told: what is drawn in one hour is drawn anew in the next. */
function hour() {
  return Math.floor(Date.now() / 3_600_000);
}

function card(title, ...actions) {
  const id = freshId("card");
  const body = h("div", { class: "pf-v6-c-card__body" }, busy("Looking ..."));
  const element = h(
    "section",
    { class: "pf-v6-c-card", "aria-labelledby": id },
    h(
      "div",
      { class: "pf-v6-c-card__header card-header" },
      h("h2", { class: "pf-v6-c-card__title-text", id }, title),
      h("div", { class: "card-actions" }, actions),
    ),
    body,
  );
  return { element, fill: (...content) => body.replaceChildren(...content.flat(Infinity).filter(Boolean)) };
}

/** A list that scrolls where it is long: then the keyboard must reach it too. */
function scrolled(name, items) {
  const long = items.length > 6;
  return h("ul", { class: long ? "rows scrolled" : "rows", tabindex: long && "0", "aria-label": long && name }, items);
}

function generationList(generations) {
  const rows = [...generations]
    .reverse()
    .map((generation) =>
      h(
        "tr",
        { class: "pf-v6-c-table__tr" },
        cell(`${generation.number}`),
        cell(h("span", { class: "mono", title: generation.id }, generation.short_id)),
        cell(generation.state),
        cell(
          h(
            "time",
            { datetime: generation.created, title: moment(generation.created) },
            generation.created.slice(0, 10),
          ),
        ),
      ),
    );
  const table = h(
    "table",
    { class: "pf-v6-c-table pf-m-compact", "aria-label": "Generations" },
    h(
      "thead",
      { class: "pf-v6-c-table__thead" },
      h("tr", { class: "pf-v6-c-table__tr" }, ["No.", "Id", "State", "Made"].map(head)),
    ),
    h("tbody", { class: "pf-v6-c-table__tbody" }, rows),
  );
  const long = rows.length > 6;
  return h(
    "details",
    { class: "more" },
    h("summary", {}, `All generations (${generations.length})`),
    h(
      "div",
      {
        class: long && "scrolled",
        tabindex: long && "0",
        role: long && "group",
        "aria-label": long && "All generations",
      },
      table,
    ),
  );
}

function head(text) {
  return h("th", { class: "pf-v6-c-table__th", scope: "col" }, text);
}

function cell(content) {
  return h("td", { class: "pf-v6-c-table__td" }, content);
}

function recentList(entries) {
  return h(
    "ul",
    { class: "rows" },
    entries.map((entry) =>
      h(
        "li",
        { class: "row" },
        h(
          "div",
          { class: "row-main" },
          h("strong", {}, entry.what),
          " ",
          outcome(entry),
          " ",
          h(
            "span",
            { class: "quiet" },
            h("time", { datetime: entry.time, title: moment(entry.time) }, ago(entry.time)),
            `, ${who(entry)}`,
          ),
        ),
      ),
    ),
  );
}

/** How many warnings there are, for the page's title. */
export function summary(status) {
  return status.warnings.length ? count(status.warnings.length, "warning") : "all well";
}
