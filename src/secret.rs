//! Files that hold secrets, keys and certificates: where they are and whether they may be believed.
//!
//! Edge. A name in the configuration is an absolute path, or a bare name: then systemd hands the
//! file over (`LoadCredential=NAME:/path`) below `$CREDENTIALS_DIRECTORY`. Permissions are asked of
//! the file that was opened, so nobody can change it in between. What is read is never logged; it
//! is not wiped from memory either.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Largest file that is read, in bytes: a bundle of all public authorities has a quarter of it.
const BYTES_MAX: u64 = 1 << 20;

/// Where the service manager puts credentials.
const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// A file that the configuration names.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it is.
    pub location: Location,
    /// Where it is named: `weir.toml:3:12: [mqtt] key_file`. Not part of its identity.
    pub place: String,
}

/// Two names of one file are equal, wherever they stand.
impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.location == other.location
    }
}

/// Where a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// An absolute path.
    Path(PathBuf),
    /// A systemd credential of this name.
    Credential(String),
}

impl Location {
    /// What a text in the configuration means.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Location, &'static str> {
        let path = PathBuf::from(text);
        if path.is_absolute() && !text.contains('\0') {
            return Ok(Location::Path(path));
        }
        let plain = !text.contains(['/', '\0', '\n']) && ![".", ".."].contains(&text);
        if plain && (1..=255).contains(&text.len()) {
            return Ok(Location::Credential(text.to_owned()));
        }
        Err("must be an absolute path, or the bare name of a systemd credential")
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Path(path) => write!(f, "{}", path.display()),
            Location::Credential(name) => write!(f, "credential {name}"),
        }
    }
}

/// Why a file cannot be used: place, file, what, mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The whole sentence.
    pub text: String,
    /// It concerns only this process: another one, started by systemd, may have the credential.
    pub only_here: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Source {
    /// A fault of this file.
    pub fn fault(&self, what: impl fmt::Display, mend: impl fmt::Display) -> Fault {
        let text = format!("{}: {}: {what}; {mend}", self.place, self.location);
        Fault { text, only_here: false }
    }

    fn path(&self) -> Result<PathBuf, Fault> {
        let name = match &self.location {
            Location::Path(path) => return Ok(path.clone()),
            Location::Credential(name) => name,
        };
        match std::env::var_os(DIRECTORY) {
            Some(directory) => Ok(PathBuf::from(directory).join(name)),
            None => {
                let what = "a name without a slash is a systemd credential, and this process has \
                            none ($CREDENTIALS_DIRECTORY is not set)";
                let mend = format!(
                    "write LoadCredential={name}:/path/of/the/file into the unit, or an absolute path here"
                );
                Err(Fault { only_here: true, ..self.fault(what, mend) })
            }
        }
    }

    /// The bytes of a secret: nobody but its owner may write it, others than owner and group may
    /// not read it.
    ///
    /// # Errors
    /// It cannot be read, is too large, or is open to others.
    pub fn read_secret(&self) -> Result<Vec<u8>, Fault> {
        self.read(0o026, "a secret must be neither readable by everybody nor writable by others")
    }

    /// The bytes of a certificate file, which everybody may read and not everybody may write.
    ///
    /// # Errors
    /// It cannot be read, is too large, or can be changed by everybody.
    pub fn read_public(&self) -> Result<Vec<u8>, Fault> {
        self.read(0o002, "whoever can write it decides whom weir believes")
    }

    fn read(&self, forbidden: u32, why: &str) -> Result<Vec<u8>, Fault> {
        let path = self.path()?;
        let unreadable = |error: std::io::Error| {
            self.fault(
                format!("cannot be read: {error}"),
                "create it, readable for the user weir runs as",
            )
        };
        let file = File::open(&path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(self.fault("is no file", "name a file"));
        }
        let mode = metadata.permissions().mode() & 0o777;
        if mode & forbidden != 0 {
            let better = mode & 0o666 & !forbidden;
            let what = format!("has mode {mode:04o}: {why}");
            return Err(self.fault(what, format!("chmod {better:04o} {}", path.display())));
        }
        let mut bytes = Vec::new();
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(self.fault("is larger than 1 MiB", "name the right file"));
        }
        Ok(bytes)
    }

    /// The first line of a secret, as text.
    ///
    /// # Errors
    /// As [`read_secret`](Self::read_secret); or it is empty or not UTF-8.
    pub fn read_line(&self) -> Result<String, Fault> {
        let bytes = self.read_secret()?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| self.fault("is not UTF-8", "write the secret as text"))?;
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(line.to_owned()),
            _ => Err(self.fault("its first line is empty", "write the secret on the first line")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &std::path::Path) -> Source {
        let place = "weir.toml:3:1: [mqtt] password_file".to_owned();
        Source { location: Location::Path(path.to_owned()), place }
    }

    #[test]
    fn a_path_is_absolute_and_a_bare_name_a_credential() {
        assert_eq!(Location::parse("/a/b"), Ok(Location::Path("/a/b".into())));
        assert_eq!(Location::parse("broker.key"), Ok(Location::Credential("broker.key".into())));
        for bad in ["", ".", "..", "a/b", "./a", "../a", "a\nb", "/a\0", &"x".repeat(256)] {
            assert!(Location::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn secrets_open_to_others_are_refused_with_the_chmod_that_mends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "hunter2\nsecond line\n").unwrap();
        for (mode, mended) in [
            (0o644, Some("0640")),
            (0o604, Some("0600")),
            (0o666, Some("0640")),
            (0o620, Some("0600")),
            (0o602, Some("0600")),
            (0o600, None),
            (0o640, None),
            (0o400, None),
            (0o440, None),
        ] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            match (source(&path).read_line(), mended) {
                (Ok(line), None) => assert_eq!(line, "hunter2"),
                (Err(fault), Some(mended)) => {
                    let text = fault.to_string();
                    let mend = format!("; chmod {mended} {}", path.display());
                    assert!(text.starts_with("weir.toml:3:1: [mqtt] password_file: /"), "{text}");
                    assert!(text.contains(&format!("mode {mode:04o}")), "{text}");
                    assert!(text.ends_with(&mend), "{text}");
                    assert!(!text.contains("hunter2"), "{text}");
                }
                (result, mended) => panic!("{mode:o}: {result:?}, expected {mended:?}"),
            }
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert!(source(&path).read_public().is_ok());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o646)).unwrap();
        assert!(source(&path).read_public().is_err());
    }

    #[test]
    fn what_is_no_secret_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let told = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
            source(&path).read_line().unwrap_err().to_string()
        };
        assert!(told(b"").contains("first line is empty"));
        assert!(told(b"\nx").contains("first line is empty"));
        assert!(told(&[0xff]).contains("not UTF-8"));
        assert!(told(&vec![b'x'; (1 << 20) + 1]).contains("1 MiB"));
        std::fs::remove_file(&path).unwrap();
        assert!(source(&path).read_line().unwrap_err().to_string().contains("cannot be read"));
        assert!(source(folder.path()).read_line().unwrap_err().to_string().contains("is no file"));
    }
}
