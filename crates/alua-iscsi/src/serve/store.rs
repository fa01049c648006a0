//! The data of the units in files, so that a target that is started again has them.
//!
//! # Contract
//!
//! - One sparse file per unit, as long as the unit, named after it with `.img`. It is a raw image:
//!   other programs can read it while no target serves it.
//! - A change is in the file (in the operating system's cache) before its answer leaves. It is not
//!   synchronized to the disk: the files outlive the target, not a loss of power.
//! - What a file has when the target starts, the unit has.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use alua_array::{Array, MediumWrite};

/// Bytes that are moved at a time.
const STEP: usize = 1 << 20;

/// Why data cannot be kept in a file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct StoreError {
    /// The file.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

/// The files of an array's units.
#[derive(Debug)]
pub struct Store {
    files: Vec<(PathBuf, File)>,
    buffer: Vec<u8>,
}

impl Store {
    /// Opens or makes the files in `folder`, and fills the units with what is in them.
    ///
    /// # Errors
    ///
    /// A file that cannot be made, opened or read, or that is longer than its unit.
    pub fn open(folder: &Path, array: &mut Array) -> Result<Self, StoreError> {
        let names: Vec<String> = array.units().map(str::to_owned).collect();
        let mut store = Self { files: Vec::new(), buffer: vec![0; STEP] };
        for (unit, name) in names.iter().enumerate() {
            let path = folder.join(format!("{}.img", file_name(name)));
            let file = store
                .fill(array, unit, &path)
                .map_err(|source| StoreError { path: path.clone(), source })?;
            store.files.push((path, file));
        }
        array.record_writes();
        Ok(store)
    }

    fn fill(&mut self, array: &mut Array, unit: usize, path: &Path) -> io::Result<File> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let (size, blocks) = array.geometry(unit).unwrap_or((512, 0));
        let length = blocks.saturating_mul(size as u64);
        let there = file.metadata()?.len();
        if there > length {
            return Err(io::Error::other(format!(
                "the file has {there} bytes, its unit {length}: take the file away, or make the \
                 unit larger"
            )));
        }
        file.set_len(length)?;
        let mut at = 0;
        while at < there {
            let step = usize::try_from(there - at).unwrap_or(STEP).min(STEP);
            let piece = self.buffer.get_mut(..step).unwrap_or(&mut []);
            file.read_exact_at(piece, at)?;
            // Whole blocks: a file that is shorter ends in zeros.
            let whole = piece.len() / size * size;
            for (number, chunk) in (0..).zip(piece[..whole].chunks(4096)) {
                if chunk.iter().any(|&byte| byte != 0) {
                    array.write_medium(unit, (at + number * 4096) / size as u64, chunk);
                }
            }
            at += step as u64;
        }
        Ok(file)
    }

    /// Brings the changes of the medium since the last call into the files.
    ///
    /// # Errors
    ///
    /// The first file that cannot be written.
    pub fn follow(&mut self, array: &mut Array) -> Result<(), StoreError> {
        for write in array.take_writes() {
            self.put(array, &write)?;
        }
        Ok(())
    }

    fn put(&mut self, array: &Array, write: &MediumWrite) -> Result<(), StoreError> {
        let Some((path, file)) = self.files.get(write.unit) else { return Ok(()) };
        let Some((size, _)) = array.geometry(write.unit) else { return Ok(()) };
        let in_step = (STEP / size) as u64;
        let (mut lba, mut left) = (write.lba, write.blocks);
        while left > 0 {
            let count = left.min(in_step);
            let bytes = count as usize * size;
            let piece = self.buffer.get_mut(..bytes).unwrap_or(&mut []);
            // Unmapped blocks read as zeros, and are written as such.
            if array.read_medium(write.unit, lba, piece) {
                file.write_all_at(piece, lba * size as u64)
                    .map_err(|source| StoreError { path: path.clone(), source })?;
            }
            lba += count;
            left -= count;
        }
        Ok(())
    }
}

/// A unit's name as part of a file's name.
fn file_name(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    name.chars().map(safe).collect()
}
