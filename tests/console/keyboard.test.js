// Without a mouse: Tab, Enter, Escape and the arrow keys are enough, and the focus is always where one looks.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Browser, dialog } from "./browser.js";
import { PASSPHRASE, Server } from "./server.js";

describe("the keyboard", () => {
  let browser;
  let server;
  let page;
  before(async () => {
    browser = await Browser.start();
    server = await Server.withRing();
    page = await browser.open(await server.cockpit());
  });
  after(async () => {
    await server?.end();
    await browser?.end();
  });

  /** What has the focus: its label or its text. */
  const focus = () =>
    page.evaluate(() => document.activeElement.labels?.[0]?.textContent ?? document.activeElement.textContent);
  const tabTo = async (name) => {
    for (let tries = 0; (await focus()) !== name; tries += 1) {
      assert.ok(tries < 30, `Tab does not come to ${name}`);
      await page.keyboard.press("Tab");
    }
  };

  test("makes a backup", async () => {
    await tabTo("Back up");
    await page.keyboard.press("Enter");
    await dialog(page).waitFor();
    assert.equal(await focus(), "Backup file, on the server");
    await page.keyboard.type(server.path("usb/typed.backup"));
    await page.keyboard.press("Enter");
    await dialog(page).getByText("a backup of generation 1 is written to").waitFor();
    assert.equal(await focus(), "What will change");
    await tabTo("Passphrase for the backup");
    await page.keyboard.type(PASSPHRASE);
    await tabTo("The same again");
    await page.keyboard.type(PASSPHRASE);
    await page.keyboard.press("Enter");
    await dialog(page).getByText("Back up the master secret: done.").waitFor();
    await dialog(page).getByRole("button", { name: "Close" }).and(page.locator(":focus")).waitFor();
    await page.keyboard.press("Enter");
    await dialog(page).waitFor({ state: "detached" });
    assert.equal((await server.status()).backups.length, 2);
  });

  test("moves between the tabs with the arrows, and finds an entry of the log", async () => {
    await page.getByRole("tab", { name: "Overview" }).focus();
    await page.keyboard.press("ArrowRight");
    assert.equal(await focus(), "Log");
    await page.getByText("4 entries", { exact: true }).waitFor();
    await tabTo("Search");
    await page.keyboard.type("BACKUP done");
    await page.getByText("1 entry of 4 entries").waitFor();
    const row = page.locator(".log tbody tr");
    assert.match(await row.innerText(), /backup\s+done/);
    await page.getByLabel("Outcome").selectOption("refused");
    await page.getByText("0 entries of 4 entries").waitFor();
    await browser.accessible(page, "nothing found");
  });

  test("Escape does not end what runs", async () => {
    await page.getByRole("tab", { name: "Overview" }).click();
    await page.getByRole("button", { name: "Repair tpm1" }).click();
    await dialog(page).getByText("every seal on tpm1 is checked").waitFor();
    server.swtpm.kill("SIGSTOP");
    await dialog(page).getByRole("button", { name: "Repair" }).click();
    await dialog(page).getByRole("button", { name: "Stop" }).waitFor();
    await page.keyboard.press("Escape");
    await page.keyboard.press("Escape");
    assert.equal(await dialog(page).count(), 1);
    await dialog(page).getByRole("button", { name: "Stop" }).click();
    await dialog(page).getByText("interrupted").waitFor();
    server.swtpm.kill("SIGCONT");
    await page.keyboard.press("Escape");
    await dialog(page).waitFor({ state: "detached" });
    assert.equal((await server.status()).active.number, 1);
  });
});
