// Devices that want a PIN, and devices that are away.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, test } from "node:test";

import { Browser, begin, dialog, failure, fill, fillPassphrase, finished, press } from "./browser.js";
import { PASSPHRASE, PIN, Server } from "./server.js";

describe("devices", () => {
  let browser;
  before(async () => (browser = await Browser.start()));
  after(() => browser?.end());

  test("a TPM's secret can be guarded by a PIN, and a wrong one is told and can be typed again", async () => {
    const server = await Server.fresh();
    try {
      const page = await browser.open(await server.cockpit());
      await page.getByRole("button", { name: "Set up" }).click();
      await dialog(page).getByRole("radio", { name: /^TPM/ }).check();
      await dialog(page).getByLabel("Guard the secret with a PIN of its own").check();
      await fill(page, "Backup file, on the server", server.path("usb/1.backup"));
      await press(page, "Continue");
      await fill(page, "New PIN of the master secret", "2468-seal");
      await dialog(page).getByLabel("The same again").first().fill("2468-seal");
      await fill(page, "Passphrase for the backup", PASSPHRASE);
      await dialog(page).getByLabel("The same again").last().fill(PASSPHRASE);
      await press(page, "Set up");
      await finished(page);
      await page.getByText("guarded by a PIN").waitFor();

      await begin(page, "Generate");
      await fill(page, "Backup file, on the server", server.path("usb/2.backup"));
      await press(page, "Continue");
      await fill(page, "PIN of the master secret", "1357-wrong");
      await fillPassphrase(page, PASSPHRASE);
      await press(page, "Generate");
      assert.match(await failure(page), /PIN/);
      await press(page, "Try again");
      await press(page, "Continue");
      assert.equal(await dialog(page).getByLabel("PIN of the master secret").inputValue(), "");
      await fill(page, "PIN of the master secret", "2468-seal");
      await fillPassphrase(page, PASSPHRASE);
      await press(page, "Generate");
      await finished(page);
      assert.equal((await server.status()).active.number, 2);
    } finally {
      await server.end();
    }
  });

  test("a device that is away is seen, and can be left behind", async () => {
    const server = await Server.withRing();
    try {
      await server.tool(["device", "add", "--yes", "--pin-file", "pin", "pkcs11:token=payroll?module-name=softhsm2"]);
      const page = await browser.open(await server.cockpit());
      await server.stop(server.swtpm);
      await page.reload();
      await page.locator(".pf-v6-c-label.pf-m-red").first().waitFor();
      await browser.accessible(page, "a device that is away");
      await browser.picture(page, "away-1280-light");
      await begin(page, "Generate");
      await fill(page, "Backup file, on the server", server.path("usb/2.backup"));
      await failure(page);
      await dialog(page).getByText("A device of the ring is not there").click();
      await dialog(page).getByLabel("tpm1 gets no seal, until it is repaired").check();
      await press(page, "Continue");
      await dialog(page).getByText("tpm1 is left behind").waitFor();
      await fill(page, "User PIN of the token payroll", PIN);
      await fillPassphrase(page, PASSPHRASE);
      await press(page, "Generate");
      assert.match((await finished(page)).join("\n"), /generation 2 .* made inside hsm1/);
    } finally {
      await server.end();
    }
  });

  test("a TPM is bound to PCRs, a change of them is seen, and mended out of a backup", async () => {
    const server = await Server.fresh();
    try {
      const page = await browser.open(await server.cockpit());
      await page.getByRole("button", { name: "Set up" }).click();
      await dialog(page).getByRole("radio", { name: /^TPM/ }).check();
      await fill(page, "Bind to PCRs", "16");
      await fill(page, "Backup file, on the server", server.path("usb/1.backup"));
      await press(page, "Continue");
      await fillPassphrase(page, PASSPHRASE);
      await press(page, "Set up");
      await finished(page);
      await page.getByText("Bound to PCRs sha256:16.").waitFor();
      await page.getByText("Serves generation 1.").waitFor();
      // PCR 16 is for debugging: anybody may extend it.
      const env = { ...server.env, TPM2TOOLS_TCTI: server.tpm.slice("tpm:".length) };
      execFileSync("tpm2_pcrextend", [`16:sha256=${"11".repeat(32)}`], { env });
      await page.reload();
      await page.getByText("DOES NOT OPEN, its PCRs have changed: generation 1.").waitFor();
      await page.getByText("seals don't open").waitFor();
      await page.getByText("PCR 16").first().waitFor();
      await browser.picture(page, "pcrs-1280-light");

      await page.getByRole("button", { name: "Bind tpm1", exact: true }).click();
      assert.equal(await dialog(page).getByLabel("Bind to PCRs").inputValue(), "sha256:16");
      await dialog(page).getByText("Its seals don't open any more").click();
      await fill(page, "Backup file, on the server", server.path("usb/1.backup"));
      await browser.accessible(page, "binding");
      await press(page, "Continue");
      await fill(page, "Passphrase of the backup", PASSPHRASE);
      await press(page, "Bind");
      await finished(page);
      await page.getByText("Serves generation 1.").waitFor();

      await page.getByRole("button", { name: "Unbind tpm1", exact: true }).click();
      await press(page, "Unbind");
      await finished(page);
      await page.getByText("Bound to PCRs").waitFor({ state: "detached" });
      assert.equal((await server.status()).devices[0].bound, null);
    } finally {
      await server.end();
    }
  });
});
