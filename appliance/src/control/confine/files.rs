//! Files that a confined appliance may still open: Landlock refuses all others, whoever they belong to.

use std::fmt;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
    path_beneath_rules,
};

use crate::control::http::Users;
use crate::control::topology::{Driver, Topology};

/// What the rules say, which Linux has since 6.2; older kernels do what they can of it.
const VERSION: ABI = ABI::V3;
/// Libraries, the resolver's settings, certificates, and what the kernel says of itself and of this process.
const READ: &[&str] = &["/etc", "/usr", "/lib", "/lib64", "/proc", "/sys", "/dev/urandom", "/dev/random"];
/// Memory that has names, and what DPDK keeps of a process.
const WRITTEN: &[&str] = &["/dev/hugepages", "/dev/shm", "/dev/null", "/run/dpdk", "/var/run/dpdk"];
/// What drivers of cards read and write of theirs.
const CARDS: &[&str] = &["/dev", "/sys"];

/// Files and folders that can be opened, each with all that is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// To be read.
    pub read: Vec<PathBuf>,
    /// To be written too; what is in them is made, renamed and removed.
    pub written: Vec<PathBuf>,
}

/// Whether files are restricted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restricted {
    /// To so many files and folders to read, and so many to write.
    To(usize, usize),
    /// The kernel has no Landlock, or it is off.
    #[default]
    Cannot,
}

impl Files {
    /// What an appliance needs of the file system once it has started.
    pub(super) fn of(topology: &Topology, has_cards: bool) -> Self {
        let mut files = Self { read: paths(READ), written: paths(WRITTEN) };
        if has_cards {
            files.written.extend(paths(CARDS));
        }
        let control = &topology.control;
        files.written.extend(control.state.clone());
        files.written.extend(folder(&topology.socket));
        if let Some(listen) = &control.listen {
            // What is replaced is another file under the same name, perhaps behind a link: so it is their folders.
            let named = [listen.tls_certificate.clone(), listen.tls_key.clone(), listen.users.clone()];
            for file in Users::files(&listen.users).into_iter().chain(named) {
                files.read.extend(folder(&file));
                files.read.extend(file.canonicalize().ok().as_deref().and_then(folder));
            }
        }
        // Where the resolver's settings are, if /etc has a link to them.
        files.read.extend(Path::new("/etc/resolv.conf").canonicalize().ok().as_deref().and_then(folder));
        for port in &topology.ports {
            let Driver::Dpdk(devargs) = &port.driver else { continue };
            files.written.extend(sockets(&devargs.to_string()));
        }
        for list in [&mut files.read, &mut files.written] {
            list.sort_unstable();
            list.dedup();
        }
        files
    }

    /// Restricts all threads to these, as far as the kernel can.
    pub(super) fn restrict(&self) -> Result<Restricted, super::ConfineError> {
        let Some(rules) = self.rules()? else { return Ok(Restricted::Cannot) };
        dpdk_bindings::privileges::restrict_files(rules.as_fd())?;
        Ok(Restricted::To(self.read.len(), self.written.len()))
    }

    /// Those that are not there are not allowed when they come. None if the kernel has no Landlock.
    fn rules(&self) -> Result<Option<OwnedFd>, RulesetError> {
        let devices = AccessFs::MakeChar | AccessFs::MakeBlock;
        let write = AccessFs::from_all(VERSION) & !(devices | AccessFs::Execute);
        let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
        let rules = Ruleset::default().handle_access(AccessFs::from_all(VERSION))?.create()?;
        let rules = rules.add_rules(path_beneath_rules(&self.read, read))?;
        Ok(rules.add_rules(path_beneath_rules(&self.written, write))?.into())
    }
}

fn paths(paths: &[&str]) -> Vec<PathBuf> {
    paths.iter().map(PathBuf::from).collect()
}

/// Where a file is.
fn folder(file: &Path) -> Option<PathBuf> {
    let folder = file.parent()?;
    Some(if folder.as_os_str().is_empty() { ".".into() } else { folder.into() })
}

/// Folders of the sockets that a driver removes when it closes.
fn sockets(devargs: &str) -> Vec<PathBuf> {
    let values = devargs.split(',').filter_map(|argument| argument.split_once('=')).map(|(_, value)| value);
    let mut folders: Vec<PathBuf> =
        values.filter(|value| value.starts_with('/')).filter_map(|value| folder(Path::new(value))).collect();
    if devargs.contains("memif") && folders.is_empty() {
        // Its own choice is /run/memif.sock.
        folders.push("/run".into());
    }
    folders
}

impl fmt::Display for Restricted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(read, written) => {
                write!(f, "files: {read} places to read and {written} to write, no others (Landlock)")
            }
            Self::Cannot => f.write_str("files: not restricted: the kernel has no Landlock"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_drivers_can_be_removed() {
        assert_eq!(sockets("net_vhost0,iface=/run/vm/1.sock,queues=1"), [PathBuf::from("/run/vm")]);
        assert_eq!(sockets("net_memif0,role=server"), [PathBuf::from("/run")]);
        assert_eq!(sockets("net_tap0,iface=x0"), Vec::<PathBuf>::new());
    }
}
