#!/usr/bin/python3
"""Records the session of docs/pictures/terminal.svg: the real program, on a simulated TPM and a simulated HSM.

    record.py PROGRAM CAST

Writes an asciicast (version 2). Run by ci/pictures, as root of its own host name, network and mounts: so the names in the
picture are what a server would show (root@db1, /mnt/usb), and the simulator's port is always the same one. What is typed
is typed at a pseudo-terminal, after the prompt has been shown.
"""

import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
from fcntl import ioctl
from pathlib import Path

COLUMNS, ROWS = 100, 30
PATIENCE = 60
PASSPHRASE = "seven lanterns drift past the quay"
PIN = "4711-payroll"
BACKUP = "/mnt/usb/payroll.backup"
ROOT = Path(__file__).resolve().parents[2]


class Session:
    """A shell on a terminal of its own, whose output goes to the cast."""

    def __init__(self, events, environment):
        self.events = events
        self.seen = ""
        self.child, self.terminal = pty.fork()
        if self.child == 0:
            os.execvpe("bash", ["bash", "--noprofile", "--norc", "-i"], environment)
        ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))

    def expect(self, text):
        """Waits until the terminal shows `text`, after what was expected before."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            ready, _, _ = select.select([self.terminal], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                sys.exit(f"record: no {text!r} in: {self.seen}")
            try:
                output = os.read(self.terminal, 4096).decode()
            except OSError:
                sys.exit(f"record: the shell has ended, without {text!r} in: {self.seen}")
            self.events.append((time.monotonic(), output))
            self.seen += output
        self.seen = self.seen.split(text, 1)[1]

    def type(self, text, at="~# "):
        """Waits for the prompt, and types a line as a person would."""
        self.expect(at)
        time.sleep(0.6)
        for character in text:
            os.write(self.terminal, character.encode())
            self.drain(0.03)
        self.drain(0.3)
        os.write(self.terminal, b"\r")

    def drain(self, seconds):
        """Records what comes in that time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.terminal], [], [], left)[0]:
                output = os.read(self.terminal, 4096).decode()
                self.events.append((time.monotonic(), output))
                self.seen += output

    def end(self):
        self.expect("~# ")
        # With the terminal goes the shell.
        os.close(self.terminal)
        os.waitpid(self.child, 0)


def a_server(directory, name, **more):
    """The environment of a shell on a server with that name, its state in a directory of its own."""
    socket.sethostname(name)
    state = Path(directory, name)
    return {
        "PATH": f"{directory}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        "INPUTRC": "/dev/null",
        "PS1": r"\[\e[90m\]root@\h:~# \[\e[0m\]",
        "STRONGROOM_DIR": str(state),
        **more,
    }


def start_swtpm(directory):
    Path(directory, "tpm").mkdir()
    # The ports that `tpm:swtpm` means.
    swtpm = subprocess.Popen(
        ["swtpm", "socket", "--tpm2", "--flags", "startup-clear,not-need-init", "--tpmstate", f"dir={directory}/tpm",
         "--server", "type=tcp,port=2321,bindaddr=127.0.0.1", "--ctrl", "type=tcp,port=2322,bindaddr=127.0.0.1"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        if swtpm.poll() is not None:
            sys.exit("record: swtpm does not start")
        try:
            socket.create_connection(("127.0.0.1", 2322)).close()
            return swtpm
        except OSError:
            time.sleep(0.05)
    sys.exit("record: swtpm does not answer")


def record(directory, events):
    swtpm = start_swtpm(directory)
    try:
        shell = Session(events, a_server(directory, "db1"))
        shell.type(f"strongroom init --device tpm:swtpm --name payroll {BACKUP}")
        shell.type(PASSPHRASE, "is made): ")
        shell.type(PASSPHRASE, "Passphrase again: ")
        shell.type("page 7 of the song book", "for none): ")
        shell.type("strongroom derive --generation 1 backups/db1")
        shell.type("# The board of db1 dies, and its TPM with it. Here is db2, with an HSM and the backup:")
        shell.end()
    finally:
        swtpm.send_signal(signal.SIGTERM)
        swtpm.wait()

    # The new shell's prompt belongs to the same picture.
    token = subprocess.run([ROOT / "softhsm-config/new-token", f"{directory}/hsm", "payroll", PIN, "4711-officer"],
                           check=True, capture_output=True, text=True)
    conf = re.search(r"^export SOFTHSM2_CONF=(.*)$", token.stdout, re.M)[1]
    events.append((time.monotonic(), "\r\x1b[K"))
    shell = Session(events, a_server(directory, "db2", SOFTHSM2_CONF=conf))
    shell.type(f"strongroom restore --device 'pkcs11:token=payroll' {BACKUP}")
    shell.type(PASSPHRASE, "Passphrase: ")
    shell.type("y", "[y/N] ")
    shell.type(PIN, "`payroll`: ")
    shell.type("strongroom derive --generation 1 backups/db1")
    shell.type(PIN, "`payroll`: ")
    shell.type("# The same key.")
    shell.end()


def main(program, cast):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/mnt"], check=True)
    os.mkdir("/mnt/usb")
    os.umask(0o077)
    events = []
    with tempfile.TemporaryDirectory(prefix="strongroom-pictures-") as directory:
        os.mkdir(f"{directory}/bin")
        os.symlink(program, f"{directory}/bin/strongroom")
        record(directory, events)
    header = {"version": 2, "width": COLUMNS, "height": ROWS}
    start = events[0][0]
    lines = [header] + [[round(moment - start, 3), "o", output] for moment, output in events]
    Path(cast).write_text("".join(json.dumps(line) + "\n" for line in lines))


main(*sys.argv[1:])
