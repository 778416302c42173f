// An entry of the log, in words.

import { label } from "./dom.js";

/** Who it was: the login, and as whom. */
export function who({ login, user, host }) {
  const person = login && login !== user ? `${login} as ${user}` : user;
  return `${person} on ${host}`;
}

/** How an entry ended, in a word and a colour. */
export function outcome({ phase, outcome: ended, error, of }) {
  if (phase === "intent") return label("begun", "blue");
  if (phase === "closed") return label(`was cut off (begun in ${of})`, "orange");
  if (ended === "done") return label("done", "green");
  return label(`${ended}: ${error}`, ended === "failed" ? "red" : "orange");
}
