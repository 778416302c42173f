// The browser goes away in the middle; and the ring changes behind the page's back.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Browser, begin, dialog, fill, fillPassphrase, finished, press } from "./browser.js";
import { PASSPHRASE, PATIENCE, Server } from "./server.js";

describe("interruptions", () => {
  let browser;
  before(async () => (browser = await Browser.start()));
  after(() => browser?.end());

  test("closing the browser in the middle of generate leaves the ring whole, and the page says so", async () => {
    const server = await Server.withRing();
    try {
      const key = await server.strongroom("derive --generation 1 backups/db1");
      const url = await server.cockpit();
      const page = await browser.open(url);
      await begin(page, "Generate");
      await fill(page, "Backup file, on the server", server.path("usb/payroll-2.backup"));
      await press(page, "Continue");
      await fillPassphrase(page, PASSPHRASE);
      await press(page, "Generate");
      // The generation is in the ring and waits for the proof of its backup: from here on the TPM does not answer, so that
      // generate can't come to its end before the browser has gone.
      await until(async () =>
        JSON.parse(await server.read("state/ring.json")).generations.some(({ state }) => state === "pending"),
      );
      server.swtpm.kill("SIGSTOP");
      await dialog(page).getByText("made inside tpm1").waitFor();
      const running = await pidOf(server, "generate");
      await page.context().close();
      await until(() => hasEnded(running));
      server.swtpm.kill("SIGCONT");

      const status = await server.status();
      assert.equal(status.active.number, 1);
      assert.equal(await server.strongroom("derive --generation 1 backups/db1"), key);
      const again = await browser.open(url);
      await again.getByText("generation 2 is pending").waitFor();
      await again.getByText("Last in the log").waitFor();
      await again.getByText("begun").first().waitFor();
      await browser.accessible(again, "after an interruption");
      await browser.picture(again, "interrupted-1280-light");
      // The next one drops what was left, and says so.
      await begin(again, "Generate");
      await fill(again, "Backup file, on the server", server.path("usb/payroll-3.backup"));
      await press(again, "Continue");
      await fillPassphrase(again, PASSPHRASE);
      await press(again, "Generate");
      const steps = (await finished(again)).join("\n");
      assert.match(steps, /was cut off; that is written down now/);
      assert.match(steps, /generation 2, left pending by an earlier run, is dropped/);
      assert.equal((await server.status()).active.number, 3);
    } finally {
      await server?.end();
    }
  });

  test("a ring that is changed at a shell is seen by the page", async () => {
    const server = await Server.withRing();
    try {
      const page = await browser.open(await server.cockpit());
      await page.getByText("Generation 1").first().waitFor();
      await page.evaluate(() => (window.stayed = true));
      await server.strongroom("generate --yes --passphrase-file pass usb/payroll-2.backup");
      await page.getByText("Generation 2").first().waitFor();
      await page.getByText(server.path("usb/payroll-2.backup")).first().waitFor();
      assert.equal(await page.evaluate(() => window.stayed), true, "the page was not loaded anew");
    } finally {
      await server?.end();
    }
  });
});

async function until(holds) {
  for (const end = Date.now() + PATIENCE; Date.now() < end; await sleep(5)) {
    if (await holds()) return;
  }
  throw new Error(`it did not come to be within ${PATIENCE} ms`);
}

/** The process that the page started for a command of this server's. */
async function pidOf(server, verb) {
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const words = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    const environment = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
    if (words.startsWith(`strongroom\0${verb}\0`) && environment.includes(server.dir)) return pid;
  }
  throw new Error(`no process runs strongroom ${verb}`);
}

async function hasEnded(pid) {
  const status = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "gone) Z");
  return status.includes(") Z");
}
