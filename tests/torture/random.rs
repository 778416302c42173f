//! `kill -9` at random moments of random ceremonies, one after the other on the same server, which has to carry on with what
//! each has left. On SoftHSM as an unprivileged user, with a token directory that only root may write.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::judge::{self, Before, Complaint};
use crate::share::{Seed, Share};
use crate::stage::{Device, Run, Stage};
use crate::table::{self, Row};

/// How many kills one server takes before another one takes its place: every generation is checked after each.
const LIFE: usize = 20;

pub fn kill_all(device: Device, seed: &mut Seed) {
    let kills = match Share::chosen() {
        Share::All => 500,
        Share::Tenth => 25,
        Share::Thirtieth => 8,
    };
    // A run that ended before its time was not killed, and does not count.
    let (mut killed, mut tried) = (0, 0);
    while killed < kills {
        let mut server = Server::new(device);
        for _ in 0..LIFE {
            table::stop_after_a_loss();
            assert!(tried < 20 * kills, "only {killed} of {tried} runs were still there to be killed");
            let line = server.choose(seed);
            let run = server.kill_within(&line, seed);
            let here = format!("random kill no. {killed} on {device}, of {line}");
            table::judged(&here, server.judge(), || run.to_string());
            killed += usize::from(run.was_killed());
            tried += 1;
        }
    }
    table::row(Row { ceremony: "mixed", device, fault: "random kill -9", points: killed });
}

struct Server {
    stage: Stage,
    /// Every generation that was once active, and its key.
    keys: BTreeMap<String, String>,
    /// How many files were named.
    files: usize,
    /// How long each ceremony takes when nobody kills it.
    times: BTreeMap<String, Duration>,
}

impl Server {
    fn new(device: Device) -> Server {
        let mut stage = Stage::new(device);
        if device == Device::Token {
            stage.hand_to_nobody();
        }
        stage.done("init --device $DEVICE --name payroll files/1.backup");
        if device == Device::Token {
            stage.make_token_read_only();
        }
        let keys = Before::of(&stage).keys;
        Server { stage, keys, files: 1, times: BTreeMap::new() }
    }

    fn choose(&mut self, seed: &mut Seed) -> String {
        match seed.below(5) {
            0 | 1 => format!("generate --yes {}", self.new_file()),
            2 => format!("backup {}", self.new_file()),
            3 => format!("verify {}", self.any_file(seed)),
            _ => match self.whole_file() {
                Some(file) => format!("restore --yes --replace {file}"),
                None => format!("backup {}", self.new_file()),
            },
        }
    }

    fn new_file(&mut self) -> String {
        self.files += 1;
        format!("files/{}.backup", self.files)
    }

    fn any_file(&self, seed: &mut Seed) -> String {
        let mut names: Vec<String> = self.names();
        names.sort();
        format!("files/{}", names[seed.below(names.len() as u64) as usize])
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.stage.files()).expect("a directory of ours");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    /// A backup that holds every generation.
    fn whole_file(&self) -> Option<String> {
        let files = judge::backups(&self.stage).ok()?;
        let mut whole = files.into_iter().filter(|(_, ids)| self.keys.keys().all(|id| ids.contains(id)));
        whole.next_back().map(|(name, _)| format!("files/{name}"))
    }

    /// Runs it, and kills it at some moment of the time that it takes. It may be done before.
    fn kill_within(&mut self, line: &str, seed: &mut Seed) -> Run {
        let verb = line.split(' ').next().unwrap_or_default().to_owned();
        let usual = *self.times.entry(verb).or_insert(Duration::from_millis(150));
        let start = Instant::now();
        let mut child = self.stage.command(line).spawn().expect("a program that is there");
        sleep(Duration::from_micros(seed.below(u64::try_from(usual.as_micros()).unwrap_or(u64::MAX))));
        child.kill().expect("a child of ours can be killed");
        let run = Run::of(line, child.wait_with_output().expect("a child of ours can be waited for"));
        // One that was done says how long it takes; one that was killed may need more time than was thought.
        let verb = line.split(' ').next().unwrap_or_default().to_owned();
        let now = if run.was_killed() { usual + usual / 20 } else { start.elapsed() * 9 / 10 };
        self.times.insert(verb, now.clamp(Duration::from_millis(20), Duration::from_secs(2)));
        run
    }

    fn judge(&mut self) -> Result<(), Complaint> {
        let seen = judge::look(&self.stage)?;
        if seen.generations().is_empty() {
            return judge::broken("no ring serves any more");
        }
        judge::log_is_whole(&seen)?;
        let verified = self.stage.run("audit verify");
        if !verified.succeeded() {
            return judge::broken(format!("a kill is taken for tampering: {verified}"));
        }
        judge::still_gives(&self.stage, &seen, &mut self.keys)?;
        judge::backed_up(&seen, &judge::backups(&self.stage)?)
    }
}
