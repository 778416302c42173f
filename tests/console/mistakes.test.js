// What goes wrong at the keyboard: said where it was typed, in the tool's words, and nothing is changed by it.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { Browser, begin, dialog, failure, fill, fillPassphrase, press } from "./browser.js";
import { PASSPHRASE, Server } from "./server.js";

const FILE = "Backup file, on the server";

describe("mistakes", () => {
  let browser;
  let server;
  let page;
  let ring;
  before(async () => {
    browser = await Browser.start();
    server = await Server.withRing();
    ring = await server.read("state/ring.json");
    page = await browser.open(await server.cockpit());
  });
  afterEach(async () => {
    await page.keyboard.press("Escape");
    await dialog(page).waitFor({ state: "detached" });
    assert.equal(await server.read("state/ring.json"), ring, "the ring was changed");
  });
  after(async () => {
    await server?.end();
    await browser?.end();
  });

  test("a backup file that exists is refused while its path is typed", async () => {
    await begin(page, "Generate");
    await fill(page, FILE, server.path("usb/payroll-1.backup"));
    assert.match(await failure(page), /exists already|is there already|already/);
    await press(page, "Continue");
    assert.match(await failure(page), /already/);
    assert.equal(await dialog(page).getByLabel("Passphrase for the backup").count(), 0, "no passphrase is asked for");
  });

  test("a directory that does not exist is refused, and so is a path that is none", async () => {
    await begin(page, "Back up");
    await press(page, "Continue");
    assert.match(await failure(page), /A path on the server is needed/);
    await fill(page, FILE, server.path("nowhere/payroll.backup"));
    await dialog(page).getByText("nowhere").first().waitFor();
  });

  test("a weak passphrase is judged as it is typed, and not taken", async () => {
    await begin(page, "Back up");
    await fill(page, FILE, server.path("usb/weak.backup"));
    await press(page, "Continue");
    await fillPassphrase(page, "payroll2026");
    await dialog(page).getByText("The passphrase can be guessed", { exact: false }).waitFor();
    await browser.accessible(page, "a weak passphrase");
    await press(page, "Back up");
    await dialog(page).getByText("The passphrase can be guessed", { exact: false }).waitFor();
    assert.equal(await dialog(page).locator(".steps").count(), 0, "nothing has begun");
  });

  test("two passphrases that differ are not taken, nor is a hint that gives it away", async () => {
    await begin(page, "Back up");
    await fill(page, FILE, server.path("usb/differ.backup"));
    await press(page, "Continue");
    await fill(page, "Passphrase for the backup", PASSPHRASE);
    await fill(page, "The same again", `${PASSPHRASE} x`);
    await dialog(page).getByText("The two differ.").waitFor();
    await press(page, "Back up");
    assert.equal(await dialog(page).locator(".steps").count(), 0, "nothing has begun");
    await fill(page, "The same again", PASSPHRASE);
    await fill(page, "Hint", PASSPHRASE);
    await dialog(page).getByText("The hint gives the passphrase away").waitFor();
    await press(page, "Back up");
    assert.equal(await dialog(page).locator(".steps").count(), 0, "nothing has begun");
  });

  test("a wrong passphrase opens nothing, is written down, and can be typed again", async () => {
    await begin(page, "Verify");
    await fill(page, FILE, server.path("usb/payroll-1.backup"));
    await press(page, "Continue");
    await fill(page, "Passphrase of the backup", "a dozen wrong lanterns under snow");
    await press(page, "Verify");
    assert.match(await failure(page), /passphrase/);
    await browser.accessible(page, "a wrong passphrase");
    const entry = JSON.parse(await server.strongroom("audit show --last 1 --json")).entry;
    assert.deepEqual([entry.what, entry.outcome, entry.error], ["verify", "refused", "wrong-passphrase"]);
    await press(page, "Try again");
    await press(page, "Continue");
    assert.equal(await dialog(page).getByLabel("Passphrase of the backup").inputValue(), "");
  });

  test("a wrong passphrase of a restore is told beside the form", async () => {
    await begin(page, "Restore");
    await fill(page, FILE, server.path("usb/payroll-1.backup"));
    await fill(page, "Passphrase of the backup", "a dozen wrong lanterns under snow");
    await press(page, "Continue");
    assert.match(await failure(page), /passphrase/);
  });

  test("Escape leaves a dialog, and the focus goes back to where it came from", async () => {
    const button = page.locator("header").getByRole("button", { name: "Back up", exact: true });
    await button.focus();
    await page.keyboard.press("Enter");
    await dialog(page).waitFor();
    await page.keyboard.press("Escape");
    await dialog(page).waitFor({ state: "detached" });
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Back up");
  });
});
