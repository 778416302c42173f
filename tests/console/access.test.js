// Who is not the administrator: told so, and shown the way that Cockpit has.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmod, mkdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { after, before, describe, test } from "node:test";

import { Browser } from "./browser.js";
import { Server } from "./server.js";

describe("access", () => {
  let browser;
  let server;
  before(async () => {
    browser = await Browser.start();
    server = await Server.withRing();
  });
  after(async () => {
    await server?.end();
    await browser?.end();
  });

  test("who is not the administrator is told so, and sees nothing of the ring", async () => {
    const page = await browser.open(await server.cockpit({ asNobody: true }));
    await page.getByRole("heading", { name: "Administrators only" }).waitFor();
    await page.getByText("no way to gain it").waitFor();
    assert.equal((await page.content()).includes("payroll"), false);
    await browser.accessible(page, "not the administrator");
    await browser.picture(page, "no-access-1280-light");
  });

  test("a server without the program is told so", async () => {
    const bare = await Server.make();
    try {
      await rm(bare.path("bin/strongroom"));
      const page = await browser.open(await bare.cockpit());
      await page.getByText("the program strongroom is not installed on this server").waitFor();
    } finally {
      await bare.end();
    }
  });

  test("administrative access is offered where Cockpit has a way to it, and the page goes on", async () => {
    // What sudo is to Cockpit: a way to a bridge that runs as root, spoken to through standard input and output.
    const path = server.path("www/root.socket");
    const sudo = createServer((socket) => {
      const bridge = spawn("cockpit-bridge", [], { env: server.env, stdio: ["pipe", "pipe", "ignore"] });
      socket.pipe(bridge.stdin);
      bridge.stdout.pipe(socket);
      socket.on("close", () => bridge.stdin.end());
      socket.on("error", () => bridge.stdin.end());
    });
    await new Promise((resolve) => sudo.listen(path, resolve));
    await chmod(path, 0o666);
    await mkdir(server.path("www/cockpit/ways"));
    const script = `const s = require("net").connect(${JSON.stringify(path)}); process.stdin.pipe(s); s.pipe(process.stdout);`;
    const way = { privileged: true, label: "root", spawn: [process.execPath, "-e", script] };
    await writeFile(server.path("www/cockpit/ways/manifest.json"), JSON.stringify({ version: "1", bridges: [way] }));
    try {
      const page = await browser.open(await server.cockpit({ asNobody: true }));
      await page.getByRole("button", { name: "Turn on administrative access" }).click();
      await page.getByText("Generation 1").first().waitFor();
      await page.getByText("payroll").first().waitFor();
    } finally {
      sudo.close();
    }
  });
});
