//! Backing up and proving: the steps that init, generate, backup and verify share.

use std::path::{Path, PathBuf};

use super::crew::Crew;
use super::{Answers, Error, Opened, Place, Step, Tell, absolute, now, record_of, tell_shortcomings};
use crate::backup::{Contents, Entry, FORMAT, Made};
use crate::derive::Source;
use crate::device::{Key, Seal};
use crate::ring::{BackupRecord, Generation, Ring};
use crate::secret::{KEY_BYTES, Kek, random_array};
use crate::wrap::WrappedSecret;

/// The backup file that is to be made.
#[derive(Debug, Clone)]
pub struct Target {
    pub path: PathBuf,
    /// log2 of scrypt's N.
    pub work_factor: u8,
}

impl Target {
    /// Looks whether it can be made, without making it.
    pub fn check(path: &Path, work_factor: u8) -> Result<Self, Error> {
        crate::durable::check_new(path)?;
        crate::backup::check_memory(work_factor).map_err(Error::backup(path))?;
        Ok(Self { path: path.to_owned(), work_factor })
    }
}

/// Exports every generation that is, was, or is about to become active, into the contents of a backup in which `active`
/// is the active one. Each comes from the first device that holds it, lets it out and answers.
pub fn export(
    ring: &Ring,
    active: u32,
    crew: &mut Crew<'_>,
    answers: &Answers,
    place: &Place,
    tell: &mut Tell<'_>,
) -> Result<Contents, Error> {
    let kek = Kek::random();
    let mut generations = Vec::new();
    for generation in &ring.generations {
        let WrappedSecret { algorithm, wrapped } = crew.any_that_lets_out(generation, tell, |opened, seal, _| {
            opened.device.export(&seal.export_part, &kek).map_err(opened.failed())
        })?;
        generations.push(Entry {
            number: generation.number,
            id: generation.id,
            created: generation.created,
            origin: generation.origin.clone(),
            algorithm,
            wrapped,
        });
    }
    Ok(Contents {
        format: FORMAT,
        system: ring.system.clone(),
        term: ring.term,
        master: ring.master.clone(),
        made: Made { at: now(), host: place.host.clone() },
        devices: ring.devices.iter().filter_map(|device| Some(device.root()?.fingerprint())).collect(),
        hint: answers.hint.as_str().to_owned(),
        active,
        last_number: ring.last_number,
        kek,
        generations,
    })
}

/// Writes a backup, re-opens it from the disk with the passphrase, and proves every generation in it against a device that
/// holds it; those of `everywhere` against every device that does. A file that does not prove itself is removed again.
/// Gives the record of it.
pub fn write_and_prove(
    contents: Contents,
    target: &Target,
    ring: &Ring,
    everywhere: Option<u32>,
    crew: &mut Crew<'_>,
    answers: &Answers,
    tell: &mut Tell<'_>,
) -> Result<BackupRecord, Error> {
    let Target { path, work_factor } = target;
    tell(Step::Working { what: "encrypting the backup" });
    let file = crate::backup::seal(&contents, &answers.passphrase, *work_factor).map_err(Error::backup(path))?;
    // From here on only what comes back from the disk counts.
    drop(contents);
    tell_shortcomings(crate::durable::write_new(path, &file)?, tell);
    let shown = absolute(path);
    tell(Step::BackupWritten { path: shown.clone() });
    let proved = (|| {
        tell(Step::Working { what: "re-opening the backup" });
        let (read, _, bytes) = super::open_backup(path, &answers.passphrase)?;
        if bytes != file {
            let what = "what was written does not read back the same".to_owned();
            return Err(Error::backup(path)(crate::backup::BackupError::Damaged(what)));
        }
        tell(Step::BackupReopened { path: shown.clone() });
        for generation in &ring.generations {
            match everywhere == Some(generation.number) {
                true => prove_everywhere(generation, &read, crew, tell)?,
                false => prove_somewhere(generation, &read, crew, tell)?,
            }
        }
        let record = record_of(path, &file, &read, *work_factor);
        Ok(BackupRecord { proved: Some(now()), ..record })
    })();
    if proved.is_err() {
        // It was made a moment ago by this very run, and must not be mistaken for a backup.
        let _ = crate::durable::remove(path);
    }
    proved
}

/// Shows that the backup's secret is the one that the device uses: both answer a fresh random challenge, inside the
/// device, and the answers are the same.
pub fn prove(
    generation: &Generation,
    seal: &Seal,
    contents: &Contents,
    opened: &mut Opened<'_>,
    tell: &mut Tell<'_>,
) -> Result<(), Error> {
    let failed = opened.failed();
    let differs = |place: &str| Error::ProofFailed { generation: generation.to_string(), place: place.to_owned() };
    let entry = contents.generations.iter().find(|entry| entry.id == generation.id);
    let secret = entry.ok_or_else(|| differs("the backup does not hold it"))?.secret();
    let use_part = &seal.use_part;
    let challenge = random_array::<KEY_BYTES>();

    let device = opened.device.as_mut();
    let used = Source::sealed(device, use_part, generation.id)
        .and_then(|mut source| Ok((source.id()?, source.proof(&challenge)?)));
    let device = opened.device.as_mut();
    let kept = Source::unproved(device, Key::Wrapped(&secret, &contents.kek)).proof(&challenge);
    let ((id, used), kept) = (used.map_err(&failed)?, kept.map_err(&failed)?);
    if id != generation.id {
        return Err(differs("its seal gives another generation"));
    }
    if !used.matches(&kept) {
        return Err(differs("the backup's secret answers differently"));
    }
    tell(Step::GenerationProved { number: generation.number, id: generation.id, device: opened.name.clone() });
    Ok(())
}

/// Proves a generation on the first device that holds it and answers.
pub fn prove_somewhere(
    generation: &Generation,
    contents: &Contents,
    crew: &mut Crew<'_>,
    tell: &mut Tell<'_>,
) -> Result<(), Error> {
    crew.any(generation, tell, |opened, seal, tell| prove(generation, seal, contents, opened, tell))
}

/// Proves a generation on every device that it is sealed on.
pub fn prove_everywhere(
    generation: &Generation,
    contents: &Contents,
    crew: &mut Crew<'_>,
    tell: &mut Tell<'_>,
) -> Result<(), Error> {
    for seal in &generation.seals {
        prove(generation, &seal.seal, contents, crew.device(&seal.device)?, tell)?;
    }
    Ok(())
}

/// Recomputes the id of a backup's generation inside a device that does not hold it.
pub fn check_id(entry: &Entry, contents: &Contents, opened: &mut Opened<'_>) -> Result<(), Error> {
    if opened.id_of(Key::Wrapped(&entry.secret(), &contents.kek))? == entry.id {
        return Ok(());
    }
    let generation = format!("generation {} ({})", entry.number, entry.id);
    Err(Error::ProofFailed { generation, place: "the backup's secret has another id".to_owned() })
}
