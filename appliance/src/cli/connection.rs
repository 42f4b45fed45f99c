//! Which appliance a command speaks to, and as whom.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use zeroize::Zeroizing;

use crate::control::client::{Client, Credentials, Target};
use crate::control::topology::DEFAULT_SOCKET;

/// Longest password or token that is read from a file.
const SECRET_BYTES: usize = 4096;

/// Which appliance, and as whom.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Appliance")]
pub(super) struct Connection {
    /// Control socket of the appliance [default: $LNIC_SOCKET, or /run/lnic/lnic.sock]
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    socket: Option<PathBuf>,
    /// The appliance over the network: https://HOST:PORT [default: $LNIC_URL]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// For --url: certificates to trust, PEM [default: $LNIC_CA, or those of this system]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// For --url: user, with the password in $LNIC_PASSWORD or --password-file [default: $LNIC_USER]
    #[arg(long, value_name = "NAME", conflicts_with = "token_file")]
    user: Option<String>,
    /// For --url: file with the user's password
    #[arg(long, value_name = "FILE", conflicts_with = "token_file")]
    password_file: Option<PathBuf>,
    /// For --url: file with a token [default: the token in $LNIC_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Connection {
    /// A client of the appliance.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        self.client_of(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn client_of(&self, environment: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Client> {
        let (target, credentials) = self.resolve(environment)?;
        Ok(Client::new(target, credentials.as_ref())?)
    }

    /// What the command line says goes before what the environment says, and a socket before a URL.
    fn resolve(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> anyhow::Result<(Target, Option<Credentials>)> {
        let url = match (&self.socket, &self.url, environment("LNIC_SOCKET")) {
            (Some(_), _, _) | (None, None, Some(_)) => None,
            (None, Some(url), _) => Some(url.clone()),
            (None, None, None) => environment("LNIC_URL"),
        };
        let Some(url) = url else {
            let given = [
                ("--ca", self.ca.is_some()),
                ("--user", self.user.is_some()),
                ("--password-file", self.password_file.is_some()),
                ("--token-file", self.token_file.is_some()),
            ];
            if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
                anyhow::bail!("{option} needs --url: over a socket, its permissions say who may do what");
            }
            let socket = self.socket.clone().or_else(|| environment("LNIC_SOCKET").map(PathBuf::from));
            return Ok((Target::Socket(socket.unwrap_or_else(|| DEFAULT_SOCKET.into())), None));
        };
        let ca = self.ca.clone().or_else(|| environment("LNIC_CA").map(PathBuf::from));
        Ok((Target::url(&url, ca.as_deref())?, self.credentials(environment)?))
    }

    fn credentials(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Option<Credentials>> {
        if let Some(path) = &self.token_file {
            return Ok(Some(Credentials::Token(secret(path)?)));
        }
        // Who names a user means the user, whatever the environment has.
        let token = environment("LNIC_TOKEN").filter(|_| self.user.is_none() && self.password_file.is_none());
        if let Some(token) = token {
            return Ok(Some(Credentials::Token(Zeroizing::new(token))));
        }
        let password = match &self.password_file {
            Some(path) => Some(secret(path)?),
            None => environment("LNIC_PASSWORD").map(Zeroizing::new),
        };
        match (self.user.clone().or_else(|| environment("LNIC_USER")), password) {
            (Some(user), Some(password)) => Ok(Some(Credentials::Password { user, password })),
            (Some(user), None) => {
                anyhow::bail!("user \"{user}\" has no password: set LNIC_PASSWORD, or name a --password-file")
            }
            (None, Some(_)) => anyhow::bail!("there is a password, but no user: name one with --user"),
            (None, None) => Ok(None),
        }
    }
}

/// A password or a token: the file's text without the line's end.
fn secret(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(!secret.is_empty(), "{}: is empty", path.display());
    anyhow::ensure!(secret.len() <= SECRET_BYTES, "{}: over {SECRET_BYTES} bytes", path.display());
    Ok(Zeroizing::new(secret.to_owned()))
}

/// Does the client's work on this thread.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        connection: Connection,
    }

    /// Whom these words and this environment mean, as people would see it.
    fn meant(words: &str, environment: &[(&str, &str)]) -> String {
        let words = std::iter::once("lnic").chain(words.split_whitespace());
        let command = <Command as clap::Parser>::try_parse_from(words).expect("arguments");
        let variable = |name: &str| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        match command.connection.resolve(&variable) {
            Ok((target, credentials)) => format!("{target} {credentials:?}"),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn a_socket_unless_a_url_is_named() {
        assert_eq!(meant("", &[]), "socket /run/lnic/lnic.sock None");
        assert_eq!(meant("", &[("LNIC_SOCKET", "/tmp/a")]), "socket /tmp/a None");
        assert_eq!(meant("--socket /tmp/b", &[("LNIC_SOCKET", "/tmp/a")]), "socket /tmp/b None");
        assert_eq!(meant("--url https://nic", &[("LNIC_SOCKET", "/tmp/a")]), "https://nic:443 None");
        assert_eq!(meant("", &[("LNIC_URL", "https://[::1]:8443")]), "https://[::1]:8443 None");
        assert_eq!(
            meant("", &[("LNIC_SOCKET", "/tmp/a"), ("LNIC_URL", "https://nic")]),
            "socket /tmp/a None"
        );
        for url in
            ["http://nic", "nic:8443", "https://nic/v1", "https://me:secret@nic", "https://", "ftp://nic"]
        {
            let said = meant(&format!("--url {url}"), &[]);
            assert!(said.starts_with(&format!("--url {url}: ")), "{said}");
        }
        assert!(meant("--user me", &[]).starts_with("--user needs --url"));
    }

    #[test]
    fn passwords_and_tokens_are_never_arguments() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "s3cret\n").unwrap();
        let (file, url) = (file.display(), "--url https://nic");
        let me = "https://nic:443 Some(Password(\"me\", …))";
        let token = "https://nic:443 Some(Token(…))";
        assert_eq!(meant(&format!("{url} --user me --password-file {file}"), &[]), me);
        assert_eq!(meant(&format!("{url} --user me"), &[("LNIC_PASSWORD", "x"), ("LNIC_TOKEN", "y")]), me);
        assert_eq!(meant(url, &[("LNIC_USER", "me"), ("LNIC_PASSWORD", "x")]), me);
        assert_eq!(meant(&format!("{url} --token-file {file}"), &[("LNIC_USER", "me")]), token);
        assert_eq!(meant(url, &[("LNIC_TOKEN", "y")]), token);
        assert!(meant(&format!("{url} --user me"), &[]).contains("has no password"));
        assert!(meant(url, &[("LNIC_PASSWORD", "x")]).contains("no user"));
        assert!(meant(&format!("{url} --token-file {file}.none"), &[]).contains("secret.none"));
        assert_eq!(*secret(&folder.path().join("secret")).unwrap(), "s3cret");
    }
}
