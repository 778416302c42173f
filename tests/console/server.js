// A server of the test's own: a TPM and a token, a state directory, and Cockpit's web server with the built page. All of it is
// real; nothing is shared with the machine or with another test, and only what was started here is ended, by its pid.

import { execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export const REPO = fileURLToPath(new URL("../..", import.meta.url));
/** The program, as ci/console built it. */
const PROGRAM = process.env.STRONGROOM ?? join(REPO, "target/release/strongroom");
const PAGE = join(REPO, "packaging/cockpit/dist");

export const PASSPHRASE = "three dull knives under blue snow";
export const PIN = "1234-user";
const OFFICER = "5678-officer";
const NOBODY = 65534;
/** How long something may take that is known to happen, in milliseconds: the machine may be busy. */
export const PATIENCE = 60_000;

export class Server {
  /** Nothing yet but directories. */
  static async make(dir) {
    const server = new Server();
    server.dir = dir ?? (await mkdtemp(join(tmpdir(), "strongroom-console-")));
    server.processes = [];
    const www = server.path("www/cockpit");
    await mkdir(www, { recursive: true });
    await mkdir(server.path("bin"));
    await mkdir(server.path("run"), { mode: 0o700 });
    await mkdir(server.path("usb"), { recursive: true });
    await cp(PAGE, join(www, "strongroom"), { recursive: true });
    await symlink(PROGRAM, server.path("bin/strongroom"));
    await server.file("pass", `${PASSPHRASE}\n`);
    await server.file("pin", `${PIN}\n`);
    server.env = {
      PATH: `${server.path("bin")}:${process.env.PATH}`,
      LANG: "C.UTF-8",
      STRONGROOM_DIR: server.path("state"),
      XDG_DATA_DIRS: `${server.path("www")}:/usr/share`,
      XDG_RUNTIME_DIR: server.path("run"),
      TSS2_LOG: "all+NONE",
      // Without these two, Cockpit starts a message bus and an SSH agent, which outlive it.
      DBUS_SESSION_BUS_ADDRESS: "unix:path=/nonexistent",
      SSH_AUTH_SOCK: "/nonexistent",
    };
    return server;
  }

  /** With a TPM, a token `payroll`, and no ring. */
  static async fresh(dir) {
    const server = await Server.make(dir);
    await server.startTpm();
    server.addToken("payroll");
    return server;
  }

  /** With a ring on the TPM and its first backup, usb/payroll-1.backup. */
  static async withRing() {
    const server = await Server.fresh();
    await server.strongroom(`init --device ${server.tpm} --name payroll --passphrase-file pass usb/payroll-1.backup`);
    return server;
  }

  path(name) {
    return join(this.dir, name);
  }

  async file(name, content) {
    await writeFile(this.path(name), content, { mode: 0o600 });
  }

  async directory(name) {
    await mkdir(this.path(name), { mode: 0o700 });
  }

  async read(name) {
    return readFile(this.path(name), "utf8");
  }

  /** Runs the tool as an admin would at a shell, in the server's directory; gives its standard output. */
  async strongroom(line) {
    return this.tool(line.split(" "));
  }

  async tool(words) {
    const running = execFile(PROGRAM, words, { cwd: this.dir, env: this.env, maxBuffer: 1 << 27 });
    running.stdin.end();
    let [out, err] = ["", ""];
    running.stdout.on("data", (text) => (out += text));
    running.stderr.on("data", (text) => (err += text));
    const [code] = await once(running, "close");
    if (code !== 0)
      throw Object.assign(new Error(`strongroom ${words.join(" ")}: ${code}\n${out}${err}`), { code, out });
    return out;
  }

  async status() {
    return JSON.parse(await this.strongroom("status --json"));
  }

  /** A simulated TPM, with its state in a directory of its own. The first is the one that is found when devices are looked for. */
  async startTpm(name = "tpm") {
    await mkdir(this.path(name), { recursive: true });
    const port = await freePair();
    const options = { stdio: ["ignore", "ignore", "pipe"] };
    const words = [
      ...["socket", "--tpm2", "--flags", "startup-clear,not-need-init", "--tpmstate", `dir=${this.path(name)}`],
      ...[
        "--server",
        `type=tcp,port=${port},bindaddr=127.0.0.1`,
        "--ctrl",
        `type=tcp,port=${port + 1},bindaddr=127.0.0.1`,
      ],
    ];
    const swtpm = this.start("swtpm", words, options);
    await answers(swtpm, port + 1);
    const tcti = `swtpm:host=127.0.0.1,port=${port}`;
    if (!this.tpm) {
      this.tpm = `tpm:${tcti}`;
      this.env.TPM2TOOLS_TCTI = tcti;
      this.swtpm = swtpm;
    }
    return { uri: `tpm:${tcti}`, process: swtpm };
  }

  /** One more token; its URI names it by its label. */
  addToken(label) {
    const words = [this.path("hsm"), label, PIN, OFFICER];
    const out = execFileSync(join(REPO, "softhsm-config/new-token"), words, { encoding: "utf8" });
    this.env.SOFTHSM2_CONF = this.path("hsm/softhsm2.conf");
    if (!out.includes("SOFTHSM2_MODULE=")) throw new Error(`new-token said: ${out}`);
    return `pkcs11:token=${label}?module-name=softhsm2`;
  }

  /** Cockpit's web server, in a session that needs no login: as root, or as nobody. */
  async cockpit({ asNobody = false } = {}) {
    const port = await freePair();
    const words = [
      "--no-tls",
      "--address",
      "127.0.0.1",
      "--port",
      `${port}`,
      "--local-session=/usr/bin/cockpit-bridge",
    ];
    const ws = "/usr/lib/cockpit/cockpit-ws";
    const options = { env: this.env, detached: true, stdio: ["ignore", "ignore", "pipe"] };
    if (asNobody) {
      execFileSync("chmod", ["-R", "a+rX", this.path("www")]);
      execFileSync("chmod", ["0711", this.dir]);
    }
    const process = asNobody
      ? this.start("setpriv", [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", ws, ...words], options)
      : this.start(ws, words, options);
    await answers(process, port);
    return `http://127.0.0.1:${port}/cockpit/@localhost/strongroom/index.html`;
  }

  start(program, words, options) {
    const process = spawn(program, words, { cwd: this.dir, env: this.env, ...options });
    process.said = "";
    process.stderr?.on("data", (text) => (process.said += text));
    process.on("error", (error) => (process.said += `${error.message}; run ci/setup console`));
    this.processes.push({ process, group: options.detached === true });
    // A test that failed halfway shall end, and what it started with it.
    process.unref();
    process.stderr?.unref();
    globalThis.process.on("exit", () => kill(process, options.detached));
    return process;
  }

  /** Ends one of the server's processes. */
  async stop(process) {
    if (!isRunning(process)) return;
    process.ref();
    const ended = once(process, "exit");
    kill(process, this.processes.find((one) => one.process === process).group);
    await ended;
  }

  async end() {
    for (const { process } of [...this.processes].reverse()) await this.stop(process);
    await rm(this.dir, { recursive: true, force: true });
  }
}

function isRunning({ pid, exitCode, signalCode }) {
  return pid !== undefined && exitCode === null && signalCode === null;
}

/** Ends a process that was started here, or the group of its own that it was started in; a stopped one too. */
function kill(child, group) {
  if (!isRunning(child)) return;
  process.kill(group ? -child.pid : child.pid, "SIGTERM");
  process.kill(child.pid, "SIGCONT");
}

/** Waits until `port` takes a connection; fails when the process that should take it has ended. */
async function answers(process, port) {
  for (const end = Date.now() + PATIENCE; Date.now() < end; await sleep(30)) {
    if (process.exitCode !== null || process.pid === undefined) break;
    if (await connects(port)) return;
  }
  throw new Error(`${process.spawnfile} does not answer: ${process.said}`);
}

function connects(port) {
  return new Promise((resolve) => {
    const socket = createConnection(port, "127.0.0.1");
    socket.on("connect", () => socket.destroy(resolve(true)));
    socket.on("error", () => resolve(false));
  });
}

/** A port that is free, as is the one after it. */
async function freePair() {
  for (;;) {
    const port = 20_000 + 2 * Math.floor(Math.random() * 6_000);
    const both = [await isFree(port), await isFree(port + 1)];
    if (both.every(Boolean)) return port;
  }
}

function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.on("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
