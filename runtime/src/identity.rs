//! Who a client is to the server: its key, its certificate, whom it trusts, and the name that its own subjects carry.
//!
//! Only paths are kept here. A key is read whenever a connection is made, so that a rotated one is taken up by the next
//! reconnection; nothing of it is ever logged or put into an error.

use std::path::{Path, PathBuf};

use async_nats::{Auth, AuthError, ConnectOptions};
use nkeys::KeyPair;

use crate::error::ConnectError;

/// The files of a folder that `mcpctl auth` has made, or that a Secret is mounted as.
const SEED: &str = "user.nk";
const CREDS: &str = "user.creds";
const CA: &str = "ca.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const IDENTITY: &str = "identity";

/// The files by which a client shows who it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    /// A NATS credentials file.
    pub(crate) creds: Option<PathBuf>,
    /// A file with the seed of an nkey.
    pub(crate) nkey: Option<PathBuf>,
    /// The certificates of who may have signed the server's.
    pub(crate) ca: Option<PathBuf>,
    /// The client's own certificate and its key.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    /// The name in the client's own inboxes and reply subjects, where it is not that of the client.
    pub(crate) name: Option<String>,
}

impl Identity {
    /// Takes what there is in a folder.
    pub(crate) fn of_folder(folder: &Path) -> Self {
        let there = |file: &str| Some(folder.join(file)).filter(|path| path.is_file());
        let name = there(IDENTITY).and_then(|path| std::fs::read_to_string(path).ok());
        Self {
            creds: there(CREDS),
            nkey: there(SEED),
            ca: there(CA),
            certificate: there(CERTIFICATE).zip(there(KEY)),
            name: name.map(|name| name.trim().to_owned()),
        }
    }

    /// How a connection shows all of it. `display_url` is for errors.
    pub(crate) async fn options(&self) -> Result<ConnectOptions, ConnectError> {
        let mut options = match &self.nkey {
            Some(path) => signed_with(path.clone())?,
            None => ConnectOptions::new(),
        };
        if let Some(path) = &self.creds {
            options = options
                .credentials_file(path)
                .await
                .map_err(|source| unreadable(path, source))?;
        }
        if let Some(path) = &self.ca {
            readable(path)?;
            options = options
                .add_root_certificates(path.clone())
                .require_tls(true);
        }
        if let Some((certificate, key)) = &self.certificate {
            readable(certificate)?;
            readable(key)?;
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        Ok(options)
    }
}

/// Signs the server's challenge with the key in a file, which is looked at once now: a mistake is to show at the start.
fn signed_with(path: PathBuf) -> Result<ConnectOptions, ConnectError> {
    key_pair(&path)?;
    Ok(ConnectOptions::with_auth_callback(move |nonce| {
        let signed = sign(&path, &nonce);
        async move { signed }
    }))
}

fn sign(path: &Path, nonce: &[u8]) -> Result<Auth, AuthError> {
    let pair = key_pair(path).map_err(AuthError::new)?;
    let signature = pair
        .sign(nonce)
        .map_err(|_| AuthError::new("the key cannot sign"))?;
    let mut auth = Auth::new();
    auth.nkey = Some(pair.public_key());
    auth.signature = Some(signature);
    Ok(auth)
}

fn key_pair(path: &Path) -> Result<KeyPair, ConnectError> {
    let text = std::fs::read_to_string(path).map_err(|source| unreadable(path, source))?;
    // The library's own error may repeat what it has read.
    KeyPair::from_seed(text.trim()).map_err(|_| {
        let kind = std::io::ErrorKind::InvalidData;
        unreadable(path, std::io::Error::new(kind, "it holds no nkey seed"))
    })
}

fn readable(path: &Path) -> Result<(), ConnectError> {
    std::fs::File::open(path)
        .map(drop)
        .map_err(|source| unreadable(path, source))
}

fn unreadable(path: &Path, source: std::io::Error) -> ConnectError {
    ConnectError::Credentials {
        path: path.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_that_cannot_be_read_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SEED);
        std::fs::write(&path, "SUASECRETSECRETSECRET").unwrap();
        let error = key_pair(&path).err().unwrap();
        let shown = format!("{error:?} {error}");
        assert!(!shown.contains("SECRET"), "{shown}");
        assert!(shown.contains("no nkey seed"), "{shown}");
    }

    #[test]
    fn a_folder_says_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(IDENTITY), "studio\n").unwrap();
        std::fs::write(folder.path().join(CERTIFICATE), "").unwrap();
        let found = Identity::of_folder(folder.path());
        assert_eq!(found.name.as_deref(), Some("studio"));
        assert!(found.nkey.is_none() && found.ca.is_none());
        assert!(found.certificate.is_none(), "a certificate without its key");
    }
}
