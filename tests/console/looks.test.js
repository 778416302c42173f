// How the page looks: screenshots at two widths, light and dark, for people to look at; and that nothing is cut off.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Browser, begin, dialog, fill, fillPassphrase, press } from "./browser.js";
import { PASSPHRASE, Server } from "./server.js";

const LOOKS = [1280, 400].flatMap((width) =>
  [false, true].map((dark) => ({ width, dark, name: `${width}-${dark ? "dark" : "light"}` })),
);

describe("looks", () => {
  let browser;
  let empty;
  let server;
  before(async () => {
    browser = await Browser.start();
    empty = await Server.fresh();
    server = await Server.withRing();
    const again = "--yes --passphrase-file pass --pin-file pin";
    await server.strongroom(`generate ${again} usb/payroll-2.backup`);
    await server.strongroom(`device add --yes --pin-file pin pkcs11:token=payroll?module-name=softhsm2`);
    await server.strongroom(`generate ${again} usb/payroll-3.backup`);
    await server.strongroom(`verify --passphrase-file pass --pin-file pin usb/payroll-2.backup`);
    empty.url = await empty.cockpit();
    server.url = await server.cockpit();
  });
  after(async () => {
    await empty?.end();
    await server?.end();
    await browser?.end();
  });

  for (const look of LOOKS) {
    test(`looked at ${look.name}`, async () => {
      const shoot = async (page, name) => {
        await browser.accessible(page, `${name} ${look.name}`);
        const wide = await page.evaluate(
          () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
        );
        assert.ok(wide <= 0, `${name} is ${wide} pixels too wide`);
        await browser.picture(page, `${name}-${look.name}`);
      };
      const first = await browser.open(empty.url, look);
      await shoot(first, "first-run");
      await first.getByRole("button", { name: "Set up" }).click();
      await dialog(first).getByRole("radio", { name: /^TPM/ }).waitFor();
      await fill(first, "Backup file, on the server", empty.path("usb/payroll-1.backup"));
      await dialog(first).getByText("Checked").waitFor();
      await shoot(first, "wizard");
      await first.context().close();

      const page = await browser.open(server.url, { ...look, height: 1000 });
      await page.getByText("ready").first().waitFor();
      await page.getByText("asking").waitFor({ state: "detached" });
      await shoot(page, "overview");
      await page.getByRole("tab", { name: "Log" }).click();
      await page.getByText(/^\d+ entries$/).waitFor();
      await shoot(page, "log");
      await page.getByRole("tab", { name: "Overview" }).click();
      await begin(page, "Generate");
      await fill(page, "Backup file, on the server", server.path("usb/payroll-4.backup"));
      await press(page, "Continue");
      await fillPassphrase(page, PASSPHRASE, "sheet 9 in the safe");
      await dialog(page).getByText("Strong enough.").waitFor();
      await shoot(page, "plan");
      await page.context().close();
      const drill = await browser.open(server.url, look);
      await begin(drill, "Verify");
      await fill(drill, "Backup file, on the server", server.path("usb/payroll-3.backup"));
      await press(drill, "Continue");
      await fill(drill, "Passphrase of the backup", PASSPHRASE);
      await press(drill, "Verify");
      await dialog(drill).getByText("Verify a backup: done.").waitFor();
      await shoot(drill, "result");
      await drill.context().close();
    });
  }
});
