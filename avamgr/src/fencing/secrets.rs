//! What an agent is told and nobody else may know: a file of `name=value` lines.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::private_file::{self, Unfit};

/// Shorter values are found in ordinary words: hiding them would only spoil the message.
const HIDDEN_CHARS_MIN: usize = 4;

/// Options that are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Secrets(Vec<(String, String)>);

/// Why a file of secrets is not used. What is in it is never repeated.
#[derive(Debug, Error)]
pub enum SecretsError {
    /// It cannot be read by us, or not by us alone.
    #[error("secrets file {}: {why} ({})", .path.display(), hint(.why, .path))]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: Unfit,
    },
    /// A line that is no option.
    #[error("secrets file {}, line {line}: {rule}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is right.
        rule: &'static str,
    },
    /// The file system does not answer.
    #[error("secrets file {}: reading it takes too long: its file system hangs", .0.display())]
    Hangs(PathBuf),
}

fn hint(why: &Unfit, path: &Path) -> String {
    let file = path.display();
    match why {
        Unfit::Io { .. } => "name it rightly in the config, and copy it to every node".to_owned(),
        Unfit::Mode(_) => format!("run: chmod 600 {file}, and change the passwords in it"),
        Unfit::Owner(_) => format!("run: chown root {file}"),
        Unfit::NotAFile => "name a file in the config".to_owned(),
    }
}

impl Secrets {
    /// May block.
    pub(super) fn read(path: &Path) -> Result<Self, SecretsError> {
        let text = private_file::read(path).map_err(|why| SecretsError::Unfit { path: path.to_owned(), why })?;
        let mut options = Vec::new();
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let failed = |rule| SecretsError::Line { path: path.to_owned(), line: number, rule };
            let (name, value) = line.split_once('=').ok_or_else(|| failed("an option is written as name=value"))?;
            let name = name.trim();
            if name == "action" {
                return Err(failed("`action` is what we tell the agent ourselves"));
            }
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(failed("an option is named with letters, digits and `_`"));
            }
            options.push((name.to_owned(), value.trim().to_owned()));
        }
        Ok(Self(options))
    }

    pub(super) fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A text without the values: an agent may repeat what it was told.
    pub(super) fn hidden(&self, text: &str) -> String {
        let long = self.0.iter().map(|(_, value)| value).filter(|value| value.chars().count() >= HIDDEN_CHARS_MIN);
        long.fold(text.to_owned(), |text, value| text.replace(value.as_str(), "***"))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({} hidden)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn read(text: &str, mode: u32) -> Result<Secrets, String> {
        let said = |error: &dyn fmt::Display| error.to_string();
        let directory = tempfile::tempdir().map_err(|error| said(&error))?;
        let path = directory.path().join("secrets");
        fs::write(&path, text).map_err(|error| said(&error))?;
        fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(|error| said(&error))?;
        Secrets::read(&path).map_err(|error| said(&error).replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn options_are_lines_and_values_may_hold_anything() {
        let secrets = read("# of the board\n\n password = a=b # c \nlogin=x\n", 0o600).unwrap();
        assert_eq!(secrets.options().collect::<Vec<_>>(), [("password", "a=b # c"), ("login", "x")]);
        assert_eq!(format!("{secrets:?}"), "Secrets(2 hidden)");
        assert_eq!(secrets.hidden("login x with a=b # c failed"), "login x with *** failed");
    }

    #[test]
    fn what_others_may_read_is_refused_with_the_way_out() {
        let error = read("password=geheim\n", 0o644).unwrap_err();
        let expected =
            "secrets file FILE: mode 0644 lets others at it (run: chmod 600 FILE, and change the passwords in it)";
        assert_eq!(error, expected);
        assert!(read("password=geheim\n", 0o400).is_ok());
    }

    #[test]
    fn a_line_that_is_no_option_is_named_and_not_repeated() {
        let bad = [
            ("geheim\n", "line 1: an option is written as name=value"),
            ("a=b\n\naction=on\n", "line 3: `action` is what we tell the agent ourselves"),
            ("my password=geheim\n", "line 1: an option is named with letters, digits and `_`"),
        ];
        for (text, said) in bad {
            let error = read(text, 0o600).unwrap_err();
            assert!(error.ends_with(said) && !error.contains("geheim"), "{error}");
        }
        let missing = Secrets::read(Path::new("/nonexistent/secrets")).unwrap_err().to_string();
        assert!(missing.contains("cannot open it") && missing.contains("copy it to every node"), "{missing}");
    }
}
