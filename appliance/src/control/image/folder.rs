//! Files under a folder, opened component by component without following a link.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Problem;
use super::layout::Blobs;

/// A folder that is open. Its names are single components.
pub(super) struct Folder(OwnedFd);

/// Something in it.
pub(super) enum Entry {
    Folder(Folder),
    File(File),
}

impl Folder {
    /// Opens the folder of images; it may be a link, for its owner chose it.
    pub(super) fn open(path: &Path) -> Result<Self, Problem> {
        match rustix::fs::openat(CWD, path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(folder) => Ok(Self(folder)),
            Err(Errno::NOENT) => {
                Err(Problem::wrong("the folder \"images\" is not there: make it in [control] state"))
            }
            Err(error) => Err(Problem::Io(error.into())),
        }
    }

    /// A regular file or a folder.
    pub(super) fn entry(&self, name: &str) -> Result<Entry, Problem> {
        // A pipe or a device would make open() or read() wait.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let found = match rustix::fs::openat(&self.0, name, flags, Mode::empty()) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Err(Problem::wrong(format!("{name}: no such file in the folder"))),
            Err(Errno::LOOP) => {
                return Err(Problem::wrong(format!("{name}: is a symbolic link, which is not followed")));
            }
            Err(Errno::NXIO) => return Err(Problem::wrong(format!("{name}: is no file"))),
            Err(error) => return Err(Problem::Io(error.into())),
        };
        let stat = rustix::fs::fstat(&found).map_err(|error| Problem::Io(error.into()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Entry::File(File::from(found))),
            FileType::Directory => Ok(Entry::Folder(Self(found))),
            _ => Err(Problem::wrong(format!("{name}: is no file"))),
        }
    }

    /// A file's bytes, at most so many.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, Problem> {
        match self.entry(name)? {
            Entry::File(file) => bounded(file, name, limit),
            Entry::Folder(_) => Err(Problem::wrong(format!("{name}: is a folder"))),
        }
    }
}

impl Blobs for Folder {
    fn read(&mut self, path: &[&str], limit: u64) -> Result<Vec<u8>, Problem> {
        match path {
            [name] => Folder::read(self, name, limit),
            [name, rest @ ..] => match self.entry(name)? {
                Entry::Folder(mut folder) => Blobs::read(&mut folder, rest, limit),
                Entry::File(_) => Err(Problem::wrong(format!("{name}: is no folder"))),
            },
            [] => Err(Problem::wrong("no path")),
        }
    }
}

/// All that is left of a reader, unless it is too much. The file may grow while it is read.
fn bounded(file: File, name: &str, limit: u64) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(Problem::wrong(format!("{name}: is larger than {limit} bytes")));
    }
    Ok(bytes)
}
