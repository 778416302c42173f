// A server without a ring: the wizard, on a TPM and on a token.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Browser, dialog, fill, fillPassphrase, finished, press } from "./browser.js";
import { PASSPHRASE, PIN, Server } from "./server.js";

describe("the first run", () => {
  let browser;
  before(async () => (browser = await Browser.start()));
  after(() => browser?.end());

  test("sets up a system on a TPM", async () => {
    const server = await Server.fresh();
    try {
      const page = await browser.open(await server.cockpit());
      await page.getByText("This server has no master secret yet.").waitFor();
      await browser.accessible(page, "first run");
      await page.getByRole("button", { name: "Set up" }).click();
      await dialog(page).getByRole("radio", { name: /^TPM/ }).check();
      await fill(page, "Name of the system", "payroll");
      await fill(page, "Backup file, on the server", server.path("usb/payroll-1.backup"));
      await dialog(page).getByText("Checked: nothing speaks against it.").waitFor();
      await browser.accessible(page, "wizard");
      await press(page, "Continue");
      await dialog(page).getByText("generation 1 is made inside tpm1 and becomes active").waitFor();
      await fillPassphrase(page, PASSPHRASE, "sheet 7 in the safe");
      await dialog(page).getByText("Strong enough.").waitFor();
      await browser.accessible(page, "plan");
      await press(page, "Set up");
      const steps = await finished(page);
      assert.match(steps.join("\n"), /generation 1 \(.*\) made inside tpm1[^]*backup re-opened[^]*is active/);
      await page.getByText("Generation 1").first().waitFor();
      const { active, system } = await server.status();
      assert.deepEqual([active.number, system.name], [1, "payroll"]);
      assert.match(await server.read("usb/payroll-1.backup"), /sheet 7 in the safe/);
      await server.strongroom("verify --passphrase-file pass usb/payroll-1.backup");
    } finally {
      await server?.end();
    }
  });

  test("sets up a system on a token, with a made passphrase", async () => {
    const server = await Server.fresh();
    try {
      const page = await browser.open(await server.cockpit());
      await page.getByRole("button", { name: "Set up" }).click();
      await dialog(page)
        .getByRole("radio", { name: /^token payroll/ })
        .check();
      await fill(page, "Backup file, on the server", server.path("usb/made.backup"));
      await press(page, "Continue");
      await fill(page, "User PIN of the token payroll", PIN);
      await press(page, "Make a strong one");
      const made = await dialog(page).locator(".suggestion").innerText();
      assert.equal(made.split(/[ -]/).length, 10, made);
      await fillPassphrase(page, made);
      await press(page, "Set up");
      await finished(page);
      assert.equal((await page.content()).includes(made), false, "the passphrase is still in the page");
      await server.file("made", `${made}\n`);
      await server.strongroom("verify --pin-file pin --passphrase-file made usb/made.backup");
    } finally {
      await server?.end();
    }
  });
});
