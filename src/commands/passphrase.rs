//! `strongroom passphrase check` and `suggest`: for front ends that have no terminal, and so ask themselves.

use schemars::JsonSchema;
use serde::Serialize;
use strongroom::ceremony::{Place, Statement};
use strongroom::passphrase::{self, HARD_TO_TYPE, Hint, Judgement, STRONG};
use strongroom::secret::SecretBytes;
use strongroom::store::Store;

use crate::cli::PassphraseCheck;
use crate::report::{Report, Stop};
use crate::secrets;
use crate::terminal::Terminal;

const SCHEMA: &str = "strongroom.passphrase/1";

/// `strongroom passphrase check --json`. Fields are only ever added.
#[derive(JsonSchema, Serialize)]
pub struct Verdict {
    schema: &'static str,
    /// Whether a new backup would take it.
    acceptable: bool,
    /// How hard it is to guess, 0 to 4.
    score: u8,
    problem: Option<Problem>,
    warnings: Vec<Statement>,
}

/// Why it would not be taken: as an error would say it.
#[derive(JsonSchema, Serialize)]
struct Problem {
    id: &'static str,
    message: String,
    hint: String,
}

/// `strongroom passphrase suggest --json`.
#[derive(JsonSchema, Serialize)]
pub struct Suggestion<'p> {
    schema: &'static str,
    /// A secret.
    passphrase: &'p str,
}

/// What a passphrase is worth (`check`), or a strong one (`suggest`).
#[derive(JsonSchema, Serialize)]
#[serde(untagged)]
pub enum Told<'p> {
    Verdict(Verdict),
    Suggestion(Suggestion<'p>),
}

pub fn check(args: &PassphraseCheck, place: &Place, terminal: &Terminal) -> Result<(), Stop> {
    let given = secrets::to_be_judged(&args.source, terminal)?;
    let (judgement, warnings) = judged(&given, args, place);
    let problem = judgement.problem.map(Report::of_passphrase);
    let (acceptable, score) = (problem.is_none(), judgement.score);
    if terminal.is_json() {
        let problem = problem.map(|Report { id, message, hint, .. }| Problem { id, message, hint });
        terminal.object(&Told::Verdict(Verdict { schema: SCHEMA, acceptable, score, problem, warnings }))?;
    } else if let Some(Report { message, hint, .. }) = problem {
        terminal.error(&message, &hint);
    } else {
        warnings.iter().for_each(|warning| terminal.warn(&warning.text));
        terminal.result(&format!("a new backup would take it: strength {score} of {STRONG}"))?;
    }
    if acceptable { Ok(()) } else { Err(Stop::Unacceptable) }
}

/// What cannot even be judged has strength 0. A hint that is none comes first, as it does where a backup is made.
fn judged(given: &SecretBytes, args: &PassphraseCheck, place: &Place) -> (Judgement, Vec<Statement>) {
    let hint = args.hint.as_deref().map_or_else(|| Ok(Hint::default()), Hint::new);
    let passphrase = match passphrase::normalized(given.expose_secret()) {
        Ok(passphrase) => passphrase,
        Err(problem) => {
            let problem = hint.err().unwrap_or(problem);
            return (Judgement { score: 0, problem: Some(problem) }, Vec::new());
        }
    };
    // Who may not read the ring, or has none, is judged all the same.
    let ring = Store::open(&place.directory).and_then(|store| store.ring()).ok();
    let mut known: Vec<&str> = args.known.iter().map(String::as_str).collect();
    known.push(&place.host);
    known.extend(ring.as_ref().map(|ring| ring.system.name.as_str()));
    let hard = passphrase::is_hard_to_type(&passphrase);
    let warnings = hard.then(|| Statement { id: "hard-to-type", text: HARD_TO_TYPE.to_owned() });
    let (hint, unfit) = match hint {
        Ok(hint) => (hint, None),
        Err(problem) => (Hint::default(), Some(problem)),
    };
    let Judgement { score, problem } = passphrase::judge(&passphrase, &hint, &known);
    (Judgement { score, problem: unfit.or(problem) }, warnings.into_iter().collect())
}

pub fn suggest(terminal: &Terminal) -> Result<(), Stop> {
    let made = passphrase::suggest();
    match terminal.is_json() {
        true => terminal.object(&Told::Suggestion(Suggestion { schema: SCHEMA, passphrase: made.expose_str() })),
        false => terminal.secret(&made),
    }
}
