//! What the questions about a backup's passphrase say. Strongroom's own words are here; `ssoconfig` has others.

/// One set of words. Whoever asks is told the same in each; who was asked before knows what comes next.
pub struct Words {
    /// For the passphrase of a backup that exists.
    pub passphrase: &'static str,
    /// For that of a new backup, once and again.
    pub new: &'static str,
    pub again: &'static str,
    /// For the hint that goes with it.
    pub hint: &'static str,
    /// Before a hint that is told.
    pub told: &'static str,
    /// What has to be known before `new` and before `hint` are answered, where they don't say it.
    pub before_new: Option<&'static str>,
    pub before_hint: Option<&'static str>,
    /// The last line, where all went well.
    pub end: Option<&'static str>,
}

pub const STRONGROOM: Words = Words {
    passphrase: "Passphrase: ",
    new: "Passphrase for the backup (empty: a strong one is made): ",
    again: "Passphrase again: ",
    hint: "Hint (anyone who finds the file can read it; empty for none): ",
    told: "hint of the passphrase: ",
    before_new: None,
    before_hint: None,
    end: None,
};
