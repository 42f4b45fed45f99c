//! The users file: who may do what over the network.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use toml::Spanned;

use super::auth::{Hash, hash};
use super::caller::{Caller, Right, Rights};
use super::extract::Label;
use crate::control::config::{self, Problems};

/// Most users.
const USERS: usize = 256;
/// Largest users file.
const FILE_BYTES: u64 = 1 << 20;
/// Shortest and longest password.
const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=1024;

/// Users, and what they may do.
#[derive(Debug)]
pub struct Users(Vec<User>);

struct User {
    name: Hash,
    secret: Hash,
    /// The secret is a token, which may come without a name.
    token: bool,
    caller: Caller,
}

impl std::fmt::Debug for User {
    /// Not the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("caller", &self.caller).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUsers {
    #[serde(default)]
    users: Vec<Spanned<RawUser>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUser {
    name: Spanned<String>,
    password_file: Option<Spanned<String>>,
    token_sha256: Option<Spanned<String>>,
    #[serde(default)]
    rights: BTreeMap<Spanned<String>, Spanned<String>>,
}

impl Users {
    /// Reads a users file and the password files that it names: the users, and which files that were.
    pub(super) fn load(path: &Path) -> (Result<Self, config::Error>, Stamp) {
        let mut stamp = Stamp::default();
        let users = Self::read(path, &mut stamp);
        (users, stamp)
    }

    /// The users file, and the password files that it names.
    #[must_use]
    pub fn files(path: &Path) -> Vec<PathBuf> {
        Self::load(path).1.0.into_iter().map(|(file, _)| file).collect()
    }

    /// Reads and judges a users file.
    pub fn check(path: &Path) -> Result<Self, config::Error> {
        Self::load(path).0
    }

    fn read(path: &Path, stamp: &mut Stamp) -> Result<Self, config::Error> {
        let failed = |source| config::Error::Read { path: path.into(), source };
        let (text, metadata) = stamp.read(path, FILE_BYTES).map_err(failed)?;
        let mut problems = Problems::new(&text);
        if let Some(problem) = readable_by_others(&metadata) {
            problems.wrong(None, problem);
        }
        let users = match toml::from_str::<RawUsers>(&text) {
            Ok(raw) => {
                let folder = path.parent().unwrap_or(Path::new(""));
                judge(raw, folder, stamp, &mut problems)
            }
            Err(error) => {
                problems.wrong(error.span(), error.message());
                Vec::new()
            }
        };
        match problems.into_sorted() {
            problems if problems.is_empty() => Ok(Self(users)),
            problems => Err(config::Error::Invalid { path: path.into(), problems }),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The user with this name and this password or token.
    pub(super) fn by_name(&self, name: &Hash, secret: &Hash) -> Option<Caller> {
        self.find(|user| user.name.ct_eq(name) & user.secret.ct_eq(secret))
    }

    /// The user with this token.
    pub(super) fn by_token(&self, secret: &Hash) -> Option<Caller> {
        self.find(|user| Choice::from(u8::from(user.token)) & user.secret.ct_eq(secret))
    }

    /// Looks at all users, whoever it is: how long it takes tells nothing about who there is.
    fn find(&self, is: impl Fn(&User) -> Choice) -> Option<Caller> {
        const NONE: u64 = u64::MAX;
        let mut found = NONE;
        for (at, user) in (0u64..).zip(&self.0) {
            found.conditional_assign(&at, is(user));
        }
        let user = self.0.get(usize::try_from(found).ok()?)?;
        Some(user.caller.clone())
    }
}

fn judge(raw: RawUsers, folder: &Path, stamp: &mut Stamp, problems: &mut Problems<'_>) -> Vec<User> {
    let mut names = BTreeSet::new();
    let mut users = Vec::new();
    if raw.users.len() > USERS {
        problems.wrong(None, format!("[[users]]: {} are too many: at most {USERS}", raw.users.len()));
    }
    for raw in raw.users.into_iter().take(USERS) {
        let span = raw.span();
        let raw = raw.into_inner();
        let name = raw.name.get_ref();
        let well = |letter: char| letter.is_ascii_graphic() && letter != ':';
        if !(1..=64).contains(&name.len()) || !name.chars().all(well) {
            let text = format!(
                "[[users]] name: \"{}\": expected 1–64 letters, digits and signs without \":\"",
                name.escape_debug()
            );
            problems.wrong(Some(raw.name.span()), text);
        } else if !names.insert(name.clone()) {
            problems.wrong(Some(raw.name.span()), format!("[[users]] name: \"{name}\" is there twice"));
        }
        let rights = rights(name, &span, &raw.rights, problems);
        let secret = match (&raw.password_file, &raw.token_sha256) {
            (Some(file), None) => password(name, file, folder, stamp, problems),
            (None, Some(token)) => token_hash(name, token, problems),
            _ => {
                let text = format!("user \"{name}\": needs password_file or token_sha256, one of them");
                problems.wrong(Some(span), text);
                None
            }
        };
        let Some(secret) = secret else { continue };
        let token = raw.token_sha256.is_some();
        users.push(User { name: hash(name.as_bytes()), secret, token, caller: Caller::new(name, rights) });
    }
    users
}

fn rights(
    user: &str,
    span: &std::ops::Range<usize>,
    raw: &BTreeMap<Spanned<String>, Spanned<String>>,
    problems: &mut Problems<'_>,
) -> Rights {
    if raw.is_empty() {
        problems.wrong(Some(span.clone()), format!("user \"{user}\": needs rights"));
    }
    let choices = Right::ALL.map(|right| (right.name(), right));
    let mut rights = BTreeMap::new();
    for (namespace, right) in raw {
        let place = format!("user \"{user}\": rights");
        if namespace.get_ref() != Rights::ALL
            && let Err(error) = Label::new(namespace.get_ref())
        {
            problems.wrong(Some(namespace.span()), format!("{place}: {error}; or \"*\" for all namespaces"));
        }
        let right = problems.choice(&place, &Some(right.clone()), &choices, Right::Invoke);
        rights.insert(namespace.get_ref().clone(), right);
    }
    Rights::new(rights)
}

fn token_hash(user: &str, token: &Spanned<String>, problems: &mut Problems<'_>) -> Option<Hash> {
    let hash = format!("sha256:{}", token.get_ref()).parse::<lnic_registry::Digest>().ok();
    if hash.is_none() {
        let text = format!("user \"{user}\": token_sha256: expected 64 hexadecimal digits, lower case");
        problems.wrong(Some(token.span()), text);
    }
    hash.map(|hash| *hash.bytes())
}

fn password(
    user: &str,
    file: &Spanned<String>,
    folder: &Path,
    stamp: &mut Stamp,
    problems: &mut Problems<'_>,
) -> Option<Hash> {
    let path = folder.join(file.get_ref());
    let place = format!("user \"{user}\": password_file {}", path.display());
    let (text, metadata) = match stamp.read(&path, 64 << 10) {
        Ok((text, metadata)) => (zeroize::Zeroizing::new(text), metadata),
        Err(error) => {
            problems.wrong(Some(file.span()), format!("{place}: {error}"));
            return None;
        }
    };
    if let Some(problem) = readable_by_others(&metadata) {
        problems.wrong(Some(file.span()), format!("{place}: {problem}"));
    }
    let password = text.trim_end_matches(['\r', '\n']);
    if !PASSWORD_BYTES.contains(&password.len()) {
        let (least, most) = (PASSWORD_BYTES.start(), PASSWORD_BYTES.end());
        let text = format!("{place}: has {} bytes; allowed are {least}–{most}", password.len());
        problems.wrong(Some(file.span()), text);
    }
    Some(hash(password.as_bytes()))
}

/// What is wrong with a file of secrets that everybody on the machine can read.
fn readable_by_others(metadata: &Metadata) -> Option<String> {
    let mode = metadata.mode() & 0o777;
    (mode & 0o007 != 0).then(|| {
        format!("others than owner and group may use it (mode {mode:04o}): chmod o-rwx, and try again")
    })
}

/// Which state of some files was read.
#[derive(Debug, Default)]
pub(super) struct Stamp(Vec<(PathBuf, Option<State>)>);

type State = (u64, u64, u64, i64, i64, i64, i64);

impl Stamp {
    /// Reads a file, and notes its state first: a change while it is read is seen the next time.
    pub(super) fn read(&mut self, path: &Path, limit: u64) -> std::io::Result<(String, Metadata)> {
        self.0.push((path.into(), state(path)));
        let file = std::fs::File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > limit {
            return Err(std::io::Error::other(format!("expected a file of at most {limit} bytes")));
        }
        let mut text = String::new();
        file.take(limit).read_to_string(&mut text)?;
        Ok((text, metadata))
    }

    /// Are the files still as they were?
    pub(super) fn is_current(&self) -> bool {
        self.0.iter().all(|(path, seen)| state(path) == *seen)
    }
}

/// Which file it is, and when it was written; follows links, which is how mounted secrets change.
fn state(path: &Path) -> Option<State> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((
        metadata.dev(),
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ))
}
