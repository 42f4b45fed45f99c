//! The control socket: made with its permissions, and this process's alone.

use std::fs::{File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// The control socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another appliance listens on it.
    #[error("socket {0}: another appliance is listening on it")]
    InUse(PathBuf),
    /// There is a file in the way.
    #[error("socket {0}: exists and is not a socket")]
    NotASocket(PathBuf),
    /// Making it failed.
    #[error("socket {path}: {source}")]
    Failed {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// Whoever can open the lock's file can hold the lock.
const LOCK_MODE: u32 = 0o600;

/// The right to listen on a path. Dropping it removes the socket; then another may listen there.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    /// Locked as long as this lives. The file stays: removing it would let two hold locks of different files.
    _lock: File,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Nobody is harmed by a socket that stays: the next to listen replaces it.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl ControlSocket {
    /// Listens on `path`, with these permissions. Replaces a socket that a dead process left; one that another appliance holds is an
    /// error, told by a lock beside it (`path` with `.lock` behind).
    pub fn bind(path: &Path, mode: u32) -> Result<(Self, UnixListener), ListenError> {
        let failed = |source| ListenError::Failed { path: path.into(), source };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock =
            File::options().create(true).append(true).mode(LOCK_MODE).open(&lock_path).map_err(failed)?;
        // One that is there already may be open to others.
        lock.set_permissions(Permissions::from_mode(LOCK_MODE)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ListenError::InUse(path.into())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(ListenError::NotASocket(path.into()));
            }
            Ok(_) => std::fs::remove_file(path).map_err(failed)?,
            Err(_) => {}
        }
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
        socket.bind(&SockAddr::unix(path).map_err(failed)?).map_err(failed)?;
        let control = Self { path: path.into(), _lock: lock };
        // Before it listens: until then nobody can connect, whatever the process's umask is.
        std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
        socket.listen(BACKLOG).map_err(failed)?;
        Ok((control, UnixListener::from(socket)))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn has_the_permissions_that_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        for wanted in [0o600, 0o660, 0o620] {
            let path = folder.path().join("deep").join(format!("{wanted:o}.sock"));
            let (_control, _listener) = ControlSocket::bind(&path, wanted).unwrap();
            assert_eq!(mode(&path), wanted);
            UnixStream::connect(&path).unwrap();
        }
    }

    #[test]
    fn one_at_a_time_and_what_a_dead_one_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lnic.sock");
        let (control, listener) = ControlSocket::bind(&path, 0o600).unwrap();
        assert!(matches!(ControlSocket::bind(&path, 0o600), Err(ListenError::InUse(_))));
        let lock = folder.path().join("lnic.sock.lock");
        assert_eq!(mode(&lock), 0o600);
        drop((control, listener));
        assert!(!path.exists());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "as a killed process leaves it");
        std::fs::set_permissions(&lock, Permissions::from_mode(0o644)).unwrap();
        let (control, _listener) = ControlSocket::bind(&path, 0o600).unwrap();
        UnixStream::connect(&path).unwrap();
        assert_eq!(mode(&lock), 0o600);
        drop(control);
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(ControlSocket::bind(&path, 0o600), Err(ListenError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
