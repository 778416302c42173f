// Which questions each command has. What it does is told by the tool's plan, not here.
//
// `words` begin the command line, and `last` ends it; `fields(changed)` makes the form's fields; `act` is what its button says.
// `opensFirst`: the plan is inside a backup, so that the passphrase is asked for before it. `danger`: it takes something away.

import { device, flag, folded, path, pcrs, text } from "./fields.js";

const TARGET = "It must not exist yet. Best is a disk that does not stay in this server.";

const target = () => path("Backup file, on the server", { placeholder: "/mnt/usb/payroll.backup", note: TARGET });

/** Devices of the ring that a ceremony shall go on without. */
function leftBehind(devices) {
  if (devices.length < 2) return [];
  const fields = devices.map(({ id }) => flag(["--leave-behind", id], `${id} gets no seal, until it is repaired`));
  return [folded("A device of the ring is not there", fields)];
}

export const init = () => ({
  title: "Set up a new system",
  act: "Set up",
  words: ["init"],
  fields: (changed) => [
    device({ flag: "--device", changed }),
    text("--name", "Name of the system", { note: "Left empty, it is this host's." }),
    target(),
  ],
});

export const generate = (devices) => ({
  title: "Generate a new master secret",
  act: "Generate",
  words: ["generate"],
  fields: () => [target(), ...leftBehind(devices)],
});

export const backup = () => ({
  title: "Back up the master secret",
  act: "Back up",
  words: ["backup"],
  fields: () => [target()],
});

export const verify = (file = "") => ({
  title: "Verify a backup",
  act: "Verify",
  words: ["verify"],
  fields: () => [path("Backup file, on the server", { value: file, placeholder: "/mnt/usb/payroll.backup" })],
});

/** `devices` are those of the ring that is here; none where there is no ring. */
export const restore = (devices) => ({
  title: "Restore the master secret",
  act: "Restore",
  words: ["restore"],
  opensFirst: true,
  fields: (changed) => [
    path("Backup file, on the server", { placeholder: "/mnt/usb/payroll.backup" }),
    device({ flag: "--device", own: devices && "The devices of the ring", changed }),
    // The words of `strongroom restore --help`.
    folded("More", [
      flag(["--member"], "Restore without the right to generate: the master is, and stays, another server"),
      ...(devices
        ? [
            flag(["--replace"], "Replace the ring that is here: another system's, or one on a device that is gone"),
            flag(["--activate"], "On a ring of the same system: make the backup's active generation the active one"),
          ]
        : []),
    ]),
    ...leftBehind(devices ?? []),
  ],
});

export const recover = () => ({
  title: "Recover the ring",
  act: "Recover",
  words: ["recover"],
  fields: () => [],
});

export const add = () => ({
  title: "Add a device",
  act: "Add",
  words: ["device", "add"],
  fields: (changed) => [device({ fresh: true, changed })],
});

export const repair = (id) => ({
  title: `Repair ${id}`,
  act: "Repair",
  words: ["device", "repair"],
  last: [id],
  fields: () => [],
});

export const remove = (id) => ({
  title: `Remove ${id}`,
  act: "Remove",
  danger: true,
  words: ["device", "remove"],
  last: [id],
  fields: () => [],
});

export const bind = ({ id, bound, signed_by: signer }) => ({
  title: `Bind ${id} to PCRs`,
  act: "Bind",
  words: ["bind", "--device", id],
  fields: () => [
    // Named, they would be bound to what they hold now, and no longer to what the key signs.
    pcrs(signer ? "" : (bound ?? ""), signer && "Left empty, it stays bound to what its key signs."),
    folded("Its seals don't open any more", [
      text("--from", "Backup file, on the server", {
        note: "The secret comes out of it. Left empty, it comes out of the seals, or out of another device.",
      }),
    ]),
  ],
});

export const unbind = ({ id }) => ({
  title: `Unbind ${id}`,
  act: "Unbind",
  words: ["unbind", "--device", id],
  fields: () => [],
});
