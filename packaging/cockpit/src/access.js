// Cockpit's administrative access: whether this session has it, and how it is had.

import { button, freshId, h, alert } from "./dom.js";
import { Dialog } from "./dialog.js";

const cockpit = window.cockpit;
const internal = () => cockpit.dbus(null, { bus: "internal" });

/** Loads the page anew when access was gained or given up, here or in Cockpit's own menu. */
export function reloadOnChange() {
  const permission = cockpit.permission({ admin: true });
  let before = permission.allowed;
  permission.addEventListener("changed", () => {
    if (typeof before === "boolean" && before !== permission.allowed) window.location.reload();
    before = permission.allowed;
  });
}

/** What is shown to who is not the administrator. */
export function refusal(error) {
  const offer = h("div", { class: "actions" });
  const box = h(
    "section",
    { class: "pf-v6-c-card first", "aria-labelledby": "refused" },
    h(
      "div",
      { class: "pf-v6-c-card__title" },
      h("h2", { id: "refused", class: "pf-v6-c-card__title-text" }, "Administrators only"),
    ),
    h(
      "div",
      { class: "pf-v6-c-card__body dialog-stack" },
      alert("warning", `${error.message}`, error.hint),
      h("p", {}, "Strongroom's state, and all that it does, belongs to the administrator of this server."),
      offer,
    ),
  );
  if (error.id === "no-access") offerAccess(offer);
  return box;
}

async function offerAccess(offer) {
  const superuser = internal().proxy("cockpit.Superuser", "/superuser");
  await superuser.wait();
  if (superuser.valid && superuser.Bridges?.length) {
    offer.append(button("Turn on administrative access", "primary", () => begin(superuser)));
  } else {
    offer.append(
      h("p", {}, "This session of Cockpit has no way to gain it: log in as root, or as a user who may use sudo."),
    );
  }
}

/** Starts the first way that Cockpit knows (sudo, as a rule), and passes its questions on. */
function begin(superuser) {
  const id = freshId("answer");
  const dialog = new Dialog("Administrative access");
  const place = h("div", { class: "dialog-stack" });
  dialog.body.replaceChildren(place);
  dialog.buttons(button("Cancel", "link", () => dialog.close()));
  const prompt = (_event, message, question, _default, echo, error) => {
    const input = h("input", { id, type: echo ? "text" : "password", autocomplete: "off", spellcheck: "false" });
    const answer = (event) => {
      event.preventDefault();
      superuser.Answer(input.value);
      input.value = "";
    };
    place.replaceChildren(
      h(
        "form",
        { class: "pf-v6-c-form", submit: answer },
        error && alert("danger", error),
        message && h("p", {}, message),
        h(
          "label",
          { class: "pf-v6-c-form__label", for: id },
          h("span", { class: "pf-v6-c-form__label-text" }, question || "Password"),
        ),
        h("span", { class: "pf-v6-c-form-control" }, input),
      ),
    );
    dialog.buttons(
      button("Authenticate", "primary", answer),
      button("Cancel", "link", () => dialog.close()),
    );
    input.focus();
  };
  superuser.addEventListener("Prompt", prompt);
  dialog.onclose = () => {
    superuser.removeEventListener("Prompt", prompt);
    superuser.Stop().catch(() => {});
  };
  // Where it is granted, the page is loaded anew.
  superuser.Start(superuser.Bridges[0]).catch((error) => place.replaceChildren(alert("danger", error.message)));
  dialog.open();
}
