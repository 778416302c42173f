//! What of the docs is not run as it is written: the whole list, each with the reason and what is done instead.

/// Text of a command that is replaced by another, before it is run.
pub const REPLACED: [(&str, &str, &str); 7] = [
    // The simulator is not a device node.
    ("--device tpm: ", "--device tpm:swtpm:host=127.0.0.1,port=2321 ", "the TPM is a simulator"),
    ("add tpm:", "add tpm:swtpm:host=127.0.0.1,port=2321", "the TPM is a simulator"),
    (
        "systemd-measure sign ",
        "systemd-measure sign --tpm2-device=swtpm:host=127.0.0.1,port=2321 ",
        "the TPM is a simulator",
    ),
    // Guessing is made cheap, so that trying is.
    (
        "cryptsetup luksFormat ",
        "cryptsetup luksFormat --pbkdf-force-iterations 4 --pbkdf-memory 32 ",
        "as with backups: the default takes seconds",
    ),
    (
        "cryptsetup luksAddKey ",
        "cryptsetup luksAddKey --pbkdf-force-iterations 4 --pbkdf-memory 32 ",
        "as with backups: the default takes seconds",
    ),
    // The same key slot is opened, and nothing is made of it.
    ("cryptsetup open ", "cryptsetup open --test-passphrase ", "a container has no device mapper"),
    // See start_unit in world.sh: checks the unit, and runs what it starts.
    ("systemctl start ", "start_unit ", "systemd is not the init here"),
];

/// The beginning of commands that are not run at all, why, and what must hold instead (in the repository, in bash).
pub const NOT_RUN: [(&str, &str, &str); 4] = [
    ("./ci/", "they run all tests, this one too; ci/all and people run them", "[[ -x ${command%% *} ]]"),
    ("STRONGROOM_TORTURE_", "the same", "[[ -x ci/torture ]]"),
    (
        "cargo build --example fault-module && cargo test --test ",
        "ci/test does",
        "[[ -e tests/${command##* }/main.rs ]]",
    ),
    ("systemctl ", "systemd is not the init here; what a unit does is run where one is started", "true"),
];

/// What a command is run as.
pub fn replaced(command: &str) -> String {
    let mut command = command.to_owned();
    for (from, to, _) in REPLACED {
        command = command.replace(from, to);
    }
    // At the end of a line, too.
    if command.ends_with("--device tpm:") {
        command.push_str("swtpm:host=127.0.0.1,port=2321");
    }
    command
}

/// What is checked in place of a command that is not run.
pub fn instead(command: &str) -> Option<String> {
    if replaced(command) != command {
        return None;
    }
    let (_, _, check) = NOT_RUN.iter().find(|(start, ..)| command.starts_with(start))?;
    Some(format!("command='{}'; {check}", command.replace('\'', "'\\''")))
}
