// A server that has been in use for years: 50 generations on 8 devices, and 10,000 entries in its log.
//
// Ring and devices are real, made by the tool as an admin would make them (with little work for each backup's passphrase). Of
// the log, only the last hundred entries or so are the tool's own: those before are written here, as docs/audit-log.md tells,
// by somebody who had typed a wrong passphrase for years.

import { createHash } from "node:crypto";

import { Server } from "./server.js";

export const GENERATIONS = 50;
export const DEVICES = 8;
export const ENTRIES = 10_000;
const TPMS = 2;

export async function longUsed() {
  const server = await Server.fresh();
  const cheap = "--work-factor 10 --passphrase-file pass";
  await forge(server);
  await server.strongroom(`init --device ${server.tpm} --name payroll ${cheap} usb/payroll-1.backup`);
  for (let number = 2; number <= GENERATIONS; number += 1) {
    await server.strongroom(`generate --yes ${cheap} usb/payroll-${number}.backup`);
  }
  for (let number = 2; number <= TPMS; number += 1) {
    await server.strongroom(`device add --yes ${(await server.startTpm(`tpm-${number}`)).uri}`);
  }
  for (let number = 1; number <= DEVICES - TPMS; number += 1) {
    const uri = server.addToken(`hsm-${number}`);
    await server.tool(["device", "add", "--yes", "--pin-file", `hsm${number}=${server.path("pin")}`, uri]);
  }
  return server;
}

/** Writes a log of refused drills, so long that the tool's own entries make it full. */
async function forge(server) {
  const lines = [];
  let previous = "strongroom audit log, format 1";
  const first = Date.parse("2019-01-01T00:00:00Z");
  for (let n = 1; n <= ENTRIES; n += 1) {
    const entry = {
      format: 1,
      n,
      time: new Date(first + n * 21_600_000).toISOString().replace(".000", ""),
      host: n % 7 ? "db1" : "db2",
      login: ["alice", "bob", "carol"][n % 3],
      user: "root",
      what: ["verify", "restore", "backup"][n % 3],
      phase: "outcome",
      outcome: "refused",
      error: n % 5 ? "wrong-passphrase" : "file-exists",
      previous: createHash("sha256").update(previous).digest("hex"),
    };
    previous = JSON.stringify(entry);
    lines.push(`${previous}\n`);
  }
  await server.directory("state");
  await server.file("state/audit.log", lines.join(""));
}
