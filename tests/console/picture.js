// The README's picture: the overview of a server with a TPM and a token, in a directory and on a host with names that mean
// something. `ci/console --pictures` gives it both, as its own.
//
//   node picture.js DIRECTORY FILE

import { Browser } from "./browser.js";
import { Server } from "./server.js";

const [directory, file] = process.argv.slice(2);
const server = await Server.fresh(directory);
const backup = (number) => server.path(`usb/payroll-${number}.backup`);
await server.strongroom(`init --device ${server.tpm} --name payroll --passphrase-file pass ${backup(1)}`);
await server.tool(["device", "add", "--yes", "--pin-file", "pin", "pkcs11:token=payroll?module-name=softhsm2"]);
await server.strongroom(`generate --yes --pin-file pin --passphrase-file pass ${backup(2)}`);
await server.strongroom(`verify --pin-file pin --passphrase-file pass ${backup(2)}`);

const browser = await Browser.start();
const page = await browser.open(await server.cockpit(), { width: 1100, height: 860 });
await page.getByText("Nothing needs attention.").waitFor();
await page.screenshot({ path: file });
await browser.end();
process.exit();
