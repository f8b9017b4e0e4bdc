//! The name of a path on every node: the directory of the config, and the way in it. What other nodes and the disk name is checked
//! here, once: no place is outside of its directory.

use std::cmp::Ordering;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Longer than any path of Linux with all its bytes written as three.
const TEXT_MAX: usize = 4 * 4096;

/// A path under one of the directories, or such a directory itself.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Place(PathBuf);

/// Why a path is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPlace {
    /// It is empty, or longer than a path can be.
    #[error("the path is empty or too long")]
    Length,
    /// It is absolute, goes upwards, or has a part that is none.
    #[error("the path leads out of its directory")]
    Outside,
    /// It has a byte that no path has, or is not written as it should be.
    #[error("the path has bytes that no path has")]
    Bytes,
}

impl Place {
    /// A directory of the config.
    ///
    /// # Errors
    /// When its name is not one part of a path.
    pub fn root(name: &str) -> Result<Self, BadPlace> {
        let place = Self::checked(name.as_bytes().to_vec())?;
        if place.0.components().count() == 1 { Ok(place) } else { Err(BadPlace::Outside) }
    }

    /// What is called `name` in it.
    ///
    /// # Errors
    /// When that is not one part of a path.
    pub fn child(&self, name: &OsStr) -> Result<Self, BadPlace> {
        let mut bytes = self.as_bytes().to_vec();
        bytes.push(b'/');
        bytes.extend_from_slice(name.as_bytes());
        if name.as_bytes().contains(&b'/') { Err(BadPlace::Outside) } else { Self::checked(bytes) }
    }

    /// As [`Self::as_bytes`] has it.
    pub(crate) fn checked(bytes: Vec<u8>) -> Result<Self, BadPlace> {
        if bytes.is_empty() || bytes.len() > TEXT_MAX {
            return Err(BadPlace::Length);
        }
        if bytes.contains(&0) {
            return Err(BadPlace::Bytes);
        }
        // Exactly one way to write it: nothing doubled, nothing at the end.
        let is_part = |part: &[u8]| !matches!(part, b"" | b"." | b"..");
        if !bytes.split(|byte| *byte == b'/').all(is_part) {
            return Err(BadPlace::Outside);
        }
        Ok(Self(PathBuf::from(OsString::from_vec(bytes))))
    }

    /// The name of its directory in the config.
    pub fn directory(&self) -> &OsStr {
        self.0.components().next().map_or(OsStr::new(""), Component::as_os_str)
    }

    /// The way in that directory; empty for the directory itself.
    pub fn way(&self) -> &Path {
        let mut parts = self.0.components();
        parts.next();
        parts.as_path()
    }

    /// All of it.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// All of it, as bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_os_str().as_bytes()
    }

    /// How deep it lies.
    pub fn depth(&self) -> usize {
        self.0.components().count()
    }

    /// The places it lies in, from the nearest on.
    pub fn above(&self) -> impl Iterator<Item = Self> {
        self.0.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).map(|path| Self(path.to_owned()))
    }
}

/// The order of their bytes, as the store and every other node have it.
impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Readable where it can be, and one line whatever is in it: other bytes as `%` and two digits.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.as_bytes() {
            match byte {
                b'%' | 0..=b' ' | 127.. => write!(f, "%{byte:02x}")?,
                _ => f.write_char(char::from(*byte))?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

impl TryFrom<String> for Place {
    type Error = BadPlace;

    fn try_from(text: String) -> Result<Self, BadPlace> {
        if text.len() > TEXT_MAX {
            return Err(BadPlace::Length);
        }
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            let byte = match (first, after) {
                (b'%', [high, low, after @ ..]) => {
                    rest = after;
                    hex(*high)? * 16 + hex(*low)?
                }
                (b'%', _) => return Err(BadPlace::Bytes),
                (byte, _) => *byte,
            };
            bytes.push(byte);
        }
        Self::checked(bytes)
    }
}

fn hex(digit: u8) -> Result<u8, BadPlace> {
    let value = char::from(digit).to_digit(16).ok_or(BadPlace::Bytes)?;
    u8::try_from(value).map_err(|_| BadPlace::Bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(text: &str) -> Result<Place, BadPlace> {
        Place::try_from(text.to_owned())
    }

    #[test]
    fn their_order_is_that_of_the_store() {
        let mut places =
            ["re/rules/x", "re/rules-old", "re/rules"].map(|text| Place::try_from(text.to_owned()).unwrap());
        places.sort();
        assert_eq!(places.map(String::from), ["re/rules", "re/rules-old", "re/rules/x"]);
    }

    #[test]
    fn a_place_has_a_directory_and_a_way_in_it() {
        let rules = place("re/a/b.rules").unwrap();
        assert_eq!((rules.directory(), rules.way()), (OsStr::new("re"), Path::new("a/b.rules")));
        assert_eq!(rules.above().collect::<Vec<_>>(), [place("re/a").unwrap(), place("re").unwrap()]);
        assert_eq!((rules.depth(), Place::root("re").unwrap().way()), (3, Path::new("")));
        assert_eq!(Place::root("re").unwrap().child(OsStr::new("a")), place("re/a"));
    }

    #[test]
    fn nothing_leads_out_of_its_directory() {
        for bad in ["/etc/passwd", "re/../../x", "..", ".", "re/./x", "re//x", "re/", "re/%2e%2e/x", "%2fetc"] {
            assert_eq!(place(bad), Err(BadPlace::Outside), "{bad}");
        }
        for bad in ["re/%00", "re/%zz", "re/%4", "%"] {
            assert_eq!(place(bad), Err(BadPlace::Bytes), "{bad}");
        }
        assert_eq!(place(""), Err(BadPlace::Length));
        assert_eq!(place(&"x/".repeat(TEXT_MAX)), Err(BadPlace::Length));
        assert_eq!(Place::root("re/x"), Err(BadPlace::Outside));
        assert_eq!(Place::root("re").unwrap().child(OsStr::new("a/../../b")), Err(BadPlace::Outside));
    }

    #[test]
    fn any_name_is_one_line() {
        let name = OsString::from_vec(b" -rf\n\"'\xff%\t".to_vec());
        let odd = Place::root("re").unwrap().child(&name).unwrap();
        assert_eq!(odd.to_string(), "re/%20-rf%0a\"'%ff%25%09");
        assert_eq!(place(&odd.to_string()), Ok(odd));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(parts in prop::collection::vec(prop::collection::vec(1..=255u8, 1..8), 1..5)) {
            let bytes = parts.join(&b'/');
            if let Ok(place) = Place::checked(bytes) {
                prop_assert_eq!(Place::try_from(place.to_string()), Ok(place));
            }
        }

        #[test]
        fn no_text_makes_it_panic_or_leads_outside(text: String) {
            if let Ok(place) = Place::try_from(text) {
                prop_assert!(place.as_path().components().all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}
