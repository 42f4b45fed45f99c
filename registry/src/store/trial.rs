//! A file that is only read: what is written is kept beside it, in memory, and forgotten.
//!
//! Opening a store that was not closed repairs it. A store is opened so once before it is opened in earnest, so that a damaged file is
//! found to be damaged before a repair has touched it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

const PAGE_BYTES: u64 = 4096;

/// A file that nothing is written to.
#[derive(Debug)]
pub(super) struct Trial {
    file: File,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    bytes: u64,
    /// The file's own length, or less where it was cut: beyond are zeros.
    file_bytes: u64,
    /// Whole pages, by number.
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Trial {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        Ok(Self { file, written: Mutex::new(Written { bytes, file_bytes: bytes, pages: BTreeMap::new() }) })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what the file has there; zeros beyond its end.
    fn read_file(&self, written: &Written, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = written.file_bytes.saturating_sub(offset).min(out.len() as u64);
        let (head, tail) = out.split_at_mut(usize::try_from(there).map_err(io::Error::other)?);
        tail.fill(0);
        self.file.read_exact_at(head, offset)
    }
}

/// Parts of a range, by page: its number, the first byte in it, and the range's bytes there.
fn parts(offset: u64, bytes: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = usize::try_from(at % PAGE_BYTES).ok()?;
        let part = (bytes - done).min(PAGE_BYTES as usize - within);
        let range = done..done + part;
        done += part;
        (part > 0).then_some((at / PAGE_BYTES, within, range))
    })
}

impl StorageBackend for Trial {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().bytes)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > written.bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_file(&written, offset, out)?;
        for (page, within, range) in parts(offset, out.len()) {
            if let Some(bytes) = written.pages.get(&page) {
                let length = range.len();
                out[range].copy_from_slice(&bytes[within..within + length]);
            }
        }
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut written = self.written();
        written.bytes = bytes;
        written.file_bytes = written.file_bytes.min(bytes);
        written.pages.retain(|page, _| page * PAGE_BYTES < bytes);
        let within = usize::try_from(bytes % PAGE_BYTES).map_err(io::Error::other)?;
        if let Some(last) = written.pages.get_mut(&(bytes / PAGE_BYTES)) {
            last[within..].fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        written.bytes = written.bytes.max(offset + data.len() as u64);
        for (page, within, range) in parts(offset, data.len()) {
            if !written.pages.contains_key(&page) {
                let mut bytes = vec![0; PAGE_BYTES as usize];
                self.read_file(&written, page * PAGE_BYTES, &mut bytes)?;
                written.pages.insert(page, bytes);
            }
            if let Some(bytes) = written.pages.get_mut(&page) {
                bytes[within..within + range.len()].copy_from_slice(&data[range]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, Vec<u8>),
        Resize(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..20_000u64, prop::collection::vec(any::<u8>(), 1..9_000))
                .prop_map(|(at, data)| Step::Write(at, data)),
            (0..20_000u64).prop_map(Step::Resize),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_file_that_stays_as_it_is(
            start in prop::collection::vec(any::<u8>(), 0..12_000),
            steps in prop::collection::vec(step(), 1..12),
        ) {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(&start).expect("written");
            let trial = Trial::new(file.try_clone().expect("cloned")).expect("a trial");
            let mut model = start.clone();
            for step in steps {
                match step {
                    Step::Write(at, data) => {
                        let end = at as usize + data.len();
                        model.resize(model.len().max(end), 0);
                        model[at as usize..end].copy_from_slice(&data);
                        trial.write(at, &data).expect("written");
                    }
                    Step::Resize(bytes) => {
                        model.resize(bytes as usize, 0);
                        trial.set_len(bytes).expect("resized");
                    }
                }
                prop_assert_eq!(trial.len().expect("a length"), model.len() as u64);
                let mut read = vec![0; model.len()];
                trial.read(0, &mut read).expect("read");
                prop_assert!(read == model);
                prop_assert!(trial.read(1, &mut read).is_err() || read.is_empty());
            }
            let mut kept = vec![0; start.len()];
            file.read_exact_at(&mut kept, 0).expect("read");
            prop_assert!(kept == start && file.metadata().expect("metadata").len() == start.len() as u64);
        }
    }
}
