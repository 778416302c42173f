// Every ceremony from the page, on real devices; and what it did, as the tool and the files tell.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { rm } from "node:fs/promises";

import { Browser, begin, dialog, fill, fillPassphrase, finished, press } from "./browser.js";
import { PASSPHRASE, PIN, Server } from "./server.js";

describe("the ceremonies", () => {
  let browser;
  let server;
  let page;
  let key;
  before(async () => {
    browser = await Browser.start();
    server = await Server.withRing();
    key = await server.strongroom("derive --generation 1 backups/db1");
    page = await browser.open(await server.cockpit());
  });
  after(async () => {
    await server?.end();
    await browser?.end();
  });

  test("generate makes the next generation, and the old one stays", async () => {
    await begin(page, "Generate");
    await fill(page, "Backup file, on the server", server.path("usb/payroll-2.backup"));
    await press(page, "Continue");
    await dialog(page).getByText("from then on, derive without --generation gives other keys").waitFor();
    await dialog(page).getByText("Make the new generation?").waitFor();
    await fillPassphrase(page, PASSPHRASE, "--yes, the usual one");
    await press(page, "Generate");
    const steps = (await finished(page)).join("\n");
    assert.match(steps, /generation 2 .* made inside tpm1[^]*backup written[^]*generation 2 .* is active/);
    assert.equal((await server.status()).active.number, 2);
    assert.match(await server.read("usb/payroll-2.backup"), /^# password hint: --yes, the usual one$/m);
    assert.equal(await server.strongroom("derive --generation 1 backups/db1"), key);
    await page.getByRole("heading", { name: "Master secret" }).waitFor();
    await page.getByText("Generation 2").first().waitFor();
  });

  test("what happened can be copied", async () => {
    await begin(page, "Back up");
    await fill(page, "Backup file, on the server", server.path("usb/copied.backup"));
    await press(page, "Continue");
    await fillPassphrase(page, PASSPHRASE, "the usual one");
    await press(page, "Back up");
    await dialog(page).getByText("Back up the master secret: done.").waitFor();
    await press(page, "Copy what happened");
    await dialog(page).getByText("Copied.", { exact: true }).waitFor();
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    assert.match(copied, /^ok backup written: .*copied.backup\n[^]*done: Back up the master secret\n$/m);
    await press(page, "Close");
  });

  test("verify is a drill, and is recorded", async () => {
    const path = server.path("usb/copied.backup");
    await page.getByRole("button", { name: `Verify ${path}` }).click();
    await press(page, "Continue");
    await dialog(page).getByText("the usual one").waitFor();
    await dialog(page).getByText("is written down, where it proves every generation in it").waitFor();
    await fill(page, "Passphrase of the backup", PASSPHRASE);
    await press(page, "Verify");
    const steps = (await finished(page)).join("\n");
    assert.match(steps, /generation 1 .* proved on tpm1[^]*generation 2 .* proved on tpm1[^]*drill recorded for/);
    const log = await server.strongroom("audit show --last 1 --what verify --json");
    assert.equal(JSON.parse(log).entry.outcome, "done");
  });

  test("add brings every generation to a token", async () => {
    await page.getByRole("button", { name: "Add a device" }).click();
    await dialog(page)
      .getByRole("radio", { name: /^token payroll/ })
      .check();
    assert.equal(
      await dialog(page).getByRole("radio", { name: /^TPM/ }).isDisabled(),
      true,
      "it is in the ring already",
    );
    await press(page, "Continue");
    await dialog(page).getByText("sealed on hsm1 too: generations 1-2").waitFor();
    await fill(page, "User PIN of the token payroll", PIN);
    await browser.accessible(page, "a plan with a PIN");
    await press(page, "Add");
    const steps = (await finished(page)).join("\n");
    assert.match(steps, /generation 2 .* sealed on hsm1[^]*hsm1 serves/);
    await page.getByRole("button", { name: "Remove hsm1" }).waitFor();
  });

  test("remove takes a device away once the others were shown to serve", async () => {
    await page.getByRole("button", { name: "Remove tpm1" }).click();
    await dialog(page).getByText("tpm1 serves no more").waitFor();
    await fill(page, "User PIN of the token payroll", PIN);
    await press(page, "Remove");
    assert.match((await finished(page)).join("\n"), /tpm1 is removed from the ring/);
    assert.deepEqual(
      (await server.status()).devices.map(({ id }) => id),
      ["hsm1"],
    );
    const again = await server.strongroom("derive --generation 1 --pin-file pin backups/db1");
    assert.equal(again, key);
  });

  test("restore brings the same secret onto the other device, of a server that lost all", async () => {
    await rm(server.path("state"), { recursive: true });
    await page.getByText("This server has no master secret yet.").waitFor();
    await page.getByRole("button", { name: "Restore" }).click();
    await fill(page, "Backup file, on the server", server.path("usb/copied.backup"));
    await dialog(page).getByRole("radio", { name: /^TPM/ }).check();
    await dialog(page).getByText("the usual one").waitFor();
    await fill(page, "Passphrase of the backup", PASSPHRASE);
    await press(page, "Continue");
    await dialog(page).getByText("this server takes over as the master (term 2)").waitFor();
    await dialog(page).getByText("Restore, and take over as master?").waitFor();
    await press(page, "Restore");
    assert.match((await finished(page)).join("\n"), /generation 1 .* restored onto tpm1[^]*generation 2 .* is active/);
    assert.equal(await server.strongroom("derive --generation 1 backups/db1"), key);
    await page.getByText("term 2").waitFor();
  });

  test("repair brings a device up to date, and a damaged ring is recovered", async () => {
    await page.getByRole("button", { name: "Repair tpm1" }).click();
    await dialog(page).getByText("every seal on tpm1 is checked").waitFor();
    await press(page, "Repair");
    assert.match((await finished(page)).join("\n"), /tpm1 holds every generation/);
    await server.file("state/ring.json", "a disk went bad\n");
    await page.getByText("can't read the ring").waitFor();
    await browser.accessible(page, "a damaged ring");
    await page.getByRole("button", { name: "Recover" }).click();
    await press(page, "Recover");
    assert.match((await finished(page)).join("\n"), /the ring is back/);
    assert.equal((await server.status()).active.number, 2);
  });
});
