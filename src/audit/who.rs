//! Who it was: from the kernel and the user database, never from the environment, which the caller chooses.

use rustix::process::geteuid;

/// A process without a login (a service, cron) has this audit id: (uid_t) -1.
const NO_LOGIN: u32 = u32::MAX;

/// Who runs this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// Who logged in, kept by the kernel through sudo and su; none for services, and where the kernel has no audit.
    pub login: Option<String>,
    /// The effective user.
    pub user: String,
}

impl Who {
    pub fn here() -> Self {
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let login = std::fs::read_to_string("/proc/self/loginuid").ok();
        let login = login.and_then(|text| text.trim().parse().ok()).filter(|id| *id != NO_LOGIN);
        Self { login: login.map(|id| name(&users, id)), user: name(&users, geteuid().as_raw()) }
    }
}

/// A user's name in the text of `/etc/passwd` (passwd(5): name, password, id), or `uid 1000` where it is in another
/// database.
fn name(users: &str, id: u32) -> String {
    let number = id.to_string();
    let mut lines = users.lines().map(|line| line.split(':'));
    let found = lines.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| format!("uid {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_and_strangers_are_numbers() {
        let users = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\nbroken\n";
        assert_eq!(name(users, 1000), "alice");
        assert_eq!(name(users, 100), "uid 100");
        assert_eq!(name("", 0), "uid 0");
    }
}
