//! The copy that is out of this process's reach: the journal, or syslog where there is none. Best effort: what is not there
//! can't be told, and no ceremony waits for it.
//!
//! The journal is spoken to in its native protocol (systemd, JOURNAL_NATIVE_PROTOCOL): one datagram of `FIELD=value` lines.
//! Values here hold no line's end, since entries are JSON and everything else is escaped.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use uuid::Uuid;

use crate::text::escaped;

const JOURNAL: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";
/// `authpriv` (syslog(3)): messages about security, kept from the public.
const FACILITY: u8 = 10;
/// How long a full journal is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// What happened, as journals tell it apart: each has a MESSAGE_ID of its own, for ever. `docs/audit-log.md` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Begun,
    Initialized,
    InitFailed,
    Generated,
    GenerateFailed,
    BackedUp,
    BackupFailed,
    Verified,
    VerifyFailed,
    Restored,
    RestoreFailed,
    Recovered,
    RecoverFailed,
    DevicesChanged,
    DevicesChangeFailed,
    /// An intent that a crash left open was closed.
    CutOff,
    WrongPassphrase,
    WrongPin,
    /// A backup or a device holds another secret than it should, or a seal can't be used.
    WrongSecret,
    NotAdministrator,
    /// Anything else that was not allowed.
    Refused,
    /// The log could not be written, and it went on without (`restore --no-audit`).
    Unwritten,
}

impl Event {
    pub fn id(self) -> Uuid {
        Uuid::from_u128(match self {
            Event::Begun => 0x7bb2_797a_00ba_4770_ab14_4170_760c_a29d,
            Event::Initialized => 0x5128_8ef0_3e71_4341_97af_3a27_4f9b_5616,
            Event::InitFailed => 0x7d1f_3d15_f3b3_4f07_a7c1_c2d2_3d14_109b,
            Event::Generated => 0xe16c_717a_0d35_4459_9028_ad59_bbab_97b8,
            Event::GenerateFailed => 0x1838_5fa8_78bf_4dcc_b576_ea05_c85f_8c49,
            Event::BackedUp => 0x2505_5388_35ef_40c5_aee7_5e1d_7544_b6c3,
            Event::BackupFailed => 0xb8b4_8cec_d920_407d_aa6f_dff8_5b84_43ac,
            Event::Verified => 0xd9a6_328c_62cc_483d_9c40_23c1_a1bc_9195,
            Event::VerifyFailed => 0x6266_c27f_82e0_4c79_bbbb_cb5f_dc68_1f36,
            Event::Restored => 0x909d_899d_a7c6_4fce_a09a_7e81_d078_81f0,
            Event::RestoreFailed => 0x2fd8_b5a2_ca21_4d6f_aea2_01ad_3911_d3cc,
            Event::Recovered => 0x287f_9b68_e409_4b04_adbe_13b1_a83d_31c6,
            Event::RecoverFailed => 0xdebe_31c7_4209_41ae_b172_c61d_c09a_ffac,
            Event::DevicesChanged => 0x48e9_67d8_2a58_40c5_9517_c242_10e5_a283,
            Event::DevicesChangeFailed => 0xd083_cf80_8bb7_4536_9c5c_d21f_4328_581d,
            Event::CutOff => 0x06b4_320c_df32_45b0_bc2c_52c1_b15b_2d50,
            Event::WrongPassphrase => 0xfc08_4b88_be6f_4987_9ac7_777a_cb5b_899b,
            Event::WrongPin => 0xd528_1124_cc16_492b_9d06_ada9_2bfe_1e84,
            Event::WrongSecret => 0x29a1_3f59_4539_4bb2_a619_d079_2887_b6b8,
            Event::NotAdministrator => 0x9463_2d03_87d9_4e6f_87b4_8679_4710_8df5,
            Event::Refused => 0x7df3_96dc_2fa1_4d10_a3b7_bd72_ecd5_8a52,
            Event::Unwritten => 0xbf19_f061_56b9_4910_96b4_b959_7e8d_df2a,
        })
    }

    /// How urgent it is (syslog(3)): 4 is a warning, 5 a notice, 6 an information.
    fn priority(self) -> u8 {
        match self {
            Event::Begun => 6,
            Event::Initialized
            | Event::Generated
            | Event::BackedUp
            | Event::Verified
            | Event::Restored
            | Event::Recovered
            | Event::DevicesChanged => 5,
            Event::InitFailed
            | Event::GenerateFailed
            | Event::BackupFailed
            | Event::VerifyFailed
            | Event::RestoreFailed
            | Event::RecoverFailed
            | Event::DevicesChangeFailed
            | Event::CutOff
            | Event::WrongPassphrase
            | Event::WrongPin
            | Event::WrongSecret
            | Event::NotAdministrator
            | Event::Refused
            | Event::Unwritten => 4,
        }
    }
}

/// Something to tell: a line for people, and fields for searching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub event: Event,
    pub text: String,
    /// Names begin with `STRONGROOM_`.
    pub fields: Vec<(&'static str, String)>,
}

impl Message {
    /// Tells it. False where neither journal nor syslog took it.
    pub fn tell(&self) -> bool {
        send(Path::new(JOURNAL), &self.native()) || send(Path::new(SYSLOG), &self.syslog())
    }

    fn native(&self) -> String {
        let mut datagram = format!(
            "MESSAGE={}\nMESSAGE_ID={}\nPRIORITY={}\nSYSLOG_FACILITY={FACILITY}\nSYSLOG_IDENTIFIER=strongroom\n",
            escaped(&self.text),
            self.event.id().simple(),
            self.event.priority()
        );
        for (name, value) in &self.fields {
            datagram.push_str(&format!("{name}={}\n", escaped(value)));
        }
        datagram
    }

    /// In the form of syslog(3), without a time: the one that receives it has a better clock.
    fn syslog(&self) -> String {
        let priority = FACILITY * 8 + self.event.priority();
        let mut line = format!("<{priority}>strongroom[{}]: {}", std::process::id(), escaped(&self.text));
        line.push_str(&format!(" MESSAGE_ID={}", self.event.id().simple()));
        for (name, value) in &self.fields {
            line.push_str(&format!(" {name}={}", escaped(value)));
        }
        line
    }
}

fn send(to: &Path, datagram: &str) -> bool {
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.send_to(datagram.as_bytes(), to)
    });
    sent.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        let fields = vec![("STRONGROOM_WHAT", "generate".to_owned()), ("STRONGROOM_HOST", "a\nPRIORITY=0".to_owned())];
        Message { event: Event::Refused, text: "generate was refused".to_owned(), fields }
    }

    #[test]
    fn a_value_can_not_become_a_field() {
        let native = message().native();
        assert!(native.starts_with("MESSAGE=generate was refused\nMESSAGE_ID="));
        assert!(native.contains("\nSTRONGROOM_HOST=a\\u{a}PRIORITY=0\n"));
        assert_eq!(native.lines().filter(|line| line.starts_with("PRIORITY=")).collect::<Vec<_>>(), ["PRIORITY=4"]);
        let syslog = message().syslog();
        assert!(syslog.starts_with("<84>strongroom[") && !syslog.contains('\n'));
    }

    /// Rules that others have written go by them: neither a number nor a priority may change unseen.
    #[test]
    fn each_event_has_the_id_that_the_docs_promise_for_ever() {
        let docs = include_str!("../../docs/audit-log.md");
        let table = docs.split("| MESSAGE_ID | event | priority | ENTSSO |").nth(1).unwrap();
        let rows: Vec<(&str, &str)> = table
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
            .map(|(id, rest)| (id, rest.split(" | ").nth(1).unwrap()))
            .collect();
        // In the order of the table.
        let events = [
            Event::Begun,
            Event::Initialized,
            Event::InitFailed,
            Event::Generated,
            Event::GenerateFailed,
            Event::BackedUp,
            Event::BackupFailed,
            Event::Verified,
            Event::VerifyFailed,
            Event::Restored,
            Event::RestoreFailed,
            Event::Recovered,
            Event::RecoverFailed,
            Event::DevicesChanged,
            Event::DevicesChangeFailed,
            Event::CutOff,
            Event::WrongPassphrase,
            Event::WrongPin,
            Event::WrongSecret,
            Event::NotAdministrator,
            Event::Refused,
            Event::Unwritten,
        ];
        let told = events.map(|event| (event.id().simple().to_string(), event.priority().to_string()));
        let told: Vec<(&str, &str)> = told.iter().map(|(id, priority)| (&**id, &**priority)).collect();
        assert_eq!(told, rows);
        assert_eq!(told.iter().map(|(id, _)| id).collect::<std::collections::BTreeSet<_>>().len(), events.len());
    }

    #[test]
    fn a_message_goes_in_one_datagram_to_whoever_listens() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        assert!(!send(&path, "nobody"));
        let listener = UnixDatagram::bind(&path).unwrap();
        assert!(send(&path, &message().native()));
        let mut heard = [0; 4096];
        let length = listener.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], message().native().as_bytes());
    }
}
