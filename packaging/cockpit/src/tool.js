// The only file that starts the tool: words in, JSON objects out, secrets through standard input.
//
// Every command runs with --json and with Cockpit's administrative access. A secret is never an argument: the lines of
// standard input are read in the order that docs/automation.md tells (PINs, new PIN, passphrase). What somebody typed goes
// behind an equals sign (`--hint=...`): it may begin with a hyphen, and is no flag for that.

const cockpit = window.cockpit;
const PROGRAM = "strongroom";

/** What the tool, or Cockpit in its place, says did not happen; with the objects that came before. */
export class ToolError extends Error {
  constructor({ id, message, hint = "", exit = null, device_code: deviceCode = null }, objects) {
    super(message);
    Object.assign(this, { id, hint, exit, deviceCode, objects });
  }
}

/**
 * Runs a command. `on` hears each object as it comes, errors left out. `judges`: an exit code other than 0 is its verdict,
 * and no failure. Gives `done`, a promise of all objects, and `stop()`, which ends the command.
 */
export function run(words, { secrets = [], on = () => {}, judges = false } = {}) {
  const process = cockpit.spawn([PROGRAM, ...words, "--json"], {
    superuser: "require",
    err: "message",
    binary: true,
  });
  // An end of input at once, where there is no secret: what asks for one then says so instead of waiting for it.
  process.input(encoded(secrets));
  const objects = [];
  const lines = new Lines((object) => {
    objects.push(object);
    if (!object.error) on(object);
  });
  process.stream((bytes) => lines.take(bytes));
  const done = new Promise((resolve, reject) => {
    const failed = () => objects.find((object) => object.error)?.error;
    const settle = (ended) => {
      lines.end();
      const error = failed() ?? (ended && !(judges && objects.length) && unspoken(ended));
      if (error) reject(new ToolError(error, objects));
      else resolve(objects);
    };
    process.then(() => settle(null), settle);
  });
  return { done, stop: () => process.close("terminated") };
}

/** The same for a command that prints one object. */
export async function ask(words, options) {
  const objects = await run(words, options).done;
  return objects.at(-1);
}

function encoded(secrets) {
  return new TextEncoder().encode(secrets.map((secret) => `${secret}\n`).join(""));
}

/** An end without a word of the tool's own. */
function unspoken({ problem, message, exit_status: status, exit_signal: signal }) {
  if (problem === "access-denied" || problem === "not-authorized")
    return { id: "no-access", message: "this needs administrative access" };
  if (problem === "not-found")
    return { id: "not-installed", message: "the program strongroom is not installed on this server" };
  if (problem === "terminated" || signal)
    return { id: "interrupted", message: "interrupted", hint: "the overview says what was left unfinished" };
  if (problem) return { id: "cockpit", message: `Cockpit could not run strongroom: ${message || problem}` };
  return { id: "failed", exit: status, message: message || `strongroom ended with exit code ${status}` };
}

/** Cuts a stream of bytes into lines, each a JSON object. */
class Lines {
  constructor(on) {
    this.on = on;
    this.decoder = new TextDecoder();
    this.rest = "";
  }

  take(bytes) {
    const lines = (this.rest + this.decoder.decode(bytes, { stream: true })).split("\n");
    this.rest = lines.pop();
    lines.forEach((line) => this.one(line));
  }

  end() {
    const rest = this.rest + this.decoder.decode();
    this.rest = "";
    this.one(rest);
  }

  one(line) {
    if (!line.trim()) return;
    let object;
    try {
      object = JSON.parse(line);
    } catch {
      object = { error: { id: "not-json", message: "strongroom answered something that is not JSON" } };
    }
    this.on(object);
  }
}
