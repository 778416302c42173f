// Debian's Chromium, driven by Playwright, and what every test of the page wants of it.

import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

import { PATIENCE, REPO } from "./server.js";

const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** Where screenshots go: made by every run, never committed. */
const PICTURES = process.env.STRONGROOM_PICTURES ?? join(REPO, "target/console");
const QUIET = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];

export class Browser {
  static async start() {
    const browser = new Browser();
    browser.chromium = await chromium.launch({
      executablePath: "/usr/bin/chromium",
      args: ["--no-sandbox", ...QUIET, "--disable-component-update", "--disable-sync"],
    });
    browser.faults = [];
    browser.findings = new Map();
    return browser;
  }

  /** Opens the page in a fresh profile. What it logs as an error (a broken content policy is one) fails the test at its end. */
  async open(url, { width = 1280, height = 900, dark = false, options = {} } = {}) {
    const context = await this.chromium.newContext({
      viewport: { width, height },
      colorScheme: dark ? "dark" : "light",
      reducedMotion: "reduce",
      permissions: ["clipboard-read", "clipboard-write"],
      ...options,
    });
    context.setDefaultTimeout(PATIENCE);
    const page = await context.newPage();
    page.on("pageerror", (error) => this.faults.push(`${error}`));
    page.on("console", (message) => message.type() === "error" && this.faults.push(message.text()));
    page.on(
      "request",
      (request) => new URL(request.url()).host === new URL(url).host || this.faults.push(request.url()),
    );
    await page.goto(url);
    await page.locator("#page[aria-busy=false]").waitFor();
    return page;
  }

  /** No finding of axe's that is serious or critical; lesser ones are told. */
  async accessible(page, what) {
    await page.evaluate(AXE);
    const { violations } = await page.evaluate(() => window.axe.run());
    const told = violations.map(
      ({ id, impact, nodes }) => `${impact}: ${id}: ${nodes.map(({ html }) => html).join(" | ")}`,
    );
    this.findings.set(what, told);
    const bad = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    assert.equal(bad.length, 0, `${what}: ${told.join("\n")}`);
    if (told.length) console.log(`axe: ${what}: ${told.join("; ")}`);
  }

  /** A picture of the window as it is. */
  async picture(page, name) {
    await mkdir(PICTURES, { recursive: true });
    await page.screenshot({ path: join(PICTURES, `${name}.png`), animations: "disabled" });
  }

  async end() {
    await this.chromium.close();
    assert.deepEqual(this.faults, []);
  }
}

/** The dialog that is open. */
export const dialog = (page) => page.getByRole("dialog");
const inDialog = (page, name) => dialog(page).getByRole("button", { name, exact: true });

export async function press(page, name) {
  await inDialog(page, name).click();
}

/** Presses a button of the page itself. */
export async function begin(page, name) {
  await page.locator("header").getByRole("button", { name, exact: true }).click();
  await dialog(page).waitFor();
}

export async function fill(page, label, text) {
  await dialog(page).getByLabel(label, { exact: true }).fill(text);
}

/** Fills a new passphrase's two fields. */
export async function fillPassphrase(page, passphrase, hint = "") {
  await fill(page, "Passphrase for the backup", passphrase);
  await fill(page, "The same again", passphrase);
  await fill(page, "Hint", hint);
}

/** Waits for the end of a ceremony; gives the texts of its steps. */
export async function finished(page) {
  await inDialog(page, "Close").waitFor();
  const told = dialog(page).locator(".pf-v6-c-alert.pf-m-danger");
  assert.equal(await told.count(), 0, (await told.allInnerTexts()).join());
  const steps = await dialog(page).locator(".steps li").allInnerTexts();
  await press(page, "Close");
  return steps;
}

/** The text of the dialog's error, once there is one. */
export async function failure(page) {
  const told = dialog(page).locator(".pf-v6-c-alert.pf-m-danger");
  await told.waitFor();
  return told.innerText();
}
