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
use rustix::fs::SeekFrom;

/// Bytes that are moved at a time.
const STEP: usize = 1 << 20;
/// Bytes that are left out when they are zero.
const CHUNK: usize = 4096;

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
        // Only what is not a hole: a unit of a terabyte with nothing on it is there at once.
        while let Some(start) = seek(&file, SeekFrom::Data(at))? {
            let end = seek(&file, SeekFrom::Hole(start))?.unwrap_or(length);
            at = start - start % size as u64;
            while at < end {
                let step = usize::try_from(length - at).unwrap_or(STEP).min(STEP);
                let piece = self.buffer.get_mut(..step).unwrap_or(&mut []);
                file.read_exact_at(piece, at)?;
                for (number, chunk) in (0..).zip(piece.chunks(CHUNK)) {
                    if chunk.iter().any(|&byte| byte != 0) {
                        array.write_medium(unit, (at + number * CHUNK as u64) / size as u64, chunk);
                    }
                }
                at += step as u64;
            }
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

/// Where the next data or the next hole begins; `None` behind the last.
fn seek(file: &File, from: SeekFrom) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, from) {
        Ok(at) => Ok(Some(at)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A unit's name as part of a file's name.
fn file_name(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    name.chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array() -> Array {
        alua_array::shipped::DEMO.build()
    }

    /// A folder that goes away with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("alua-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_one_target_wrote_the_next_one_has() {
        let folder = Folder::new("store");
        let mut first = array();
        let mut store = Store::open(&folder.0, &mut first).unwrap();
        let nexus = first.connect("host", 1).unwrap();
        let second = std::time::Duration::from_secs(1);
        let mut write = [0; 16];
        (write[0], write[7], write[13]) = (0x8a, 0x11, 3);
        let data: Vec<u8> = (0..1536).map(|at| (at % 251 + 1) as u8).collect();
        let done = first.execute(nexus, 0, 1, &write, &data, 0, second).unwrap().unwrap();
        assert!(done.outcome.is_good());
        store.follow(&mut first).unwrap();
        let lba = u64::from_be_bytes(write[2..10].try_into().unwrap());
        let mut next = array();
        Store::open(&folder.0, &mut next).unwrap();
        let mut back = vec![0; 1536];
        assert!(next.read_medium(0, lba, &mut back));
        assert_eq!(back, data);
        let mut other = vec![9; 512];
        assert!(next.read_medium(1, lba, &mut other) && other == vec![0; 512]);
        // It is a raw image, and takes no more room than was written.
        let image = File::open(folder.0.join("data0.img")).unwrap();
        let mut block = [0; 512];
        image.read_exact_at(&mut block, lba * 512).unwrap();
        assert_eq!(block, data[..512]);
        use std::os::unix::fs::MetadataExt as _;
        assert!(image.metadata().unwrap().blocks() * 512 < 1 << 20);
    }

    #[test]
    fn a_file_that_is_longer_than_its_unit_is_refused() {
        let folder = Folder::new("long");
        let path = folder.0.join("data0.img");
        File::create(&path).unwrap().set_len(2 << 30).unwrap();
        let error = Store::open(&folder.0, &mut array()).unwrap_err();
        assert!(error.to_string().contains("its unit"), "{error}");
    }
}
