//! What a node tells a peer: a file that arrives last of a batch, beside the contents it speaks of. It is believed as little as
//! anything else from outside: every path in it is checked, every content is measured against its digest.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::compare::{Mark, Sum};
use crate::place::Place;
use crate::plan::Item;
use crate::tree::MODE;
use crate::version::Content;

/// Of this layout of the text below.
const FORMAT: u32 = 1;
/// More than all that a manifest may say by the rooms below, whatever paths and links are in it.
pub const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Room for the news of a batch, as they are sent,
pub const NEWS_ROOM: u64 = 16 * 1024 * 1024;
/// for what is confirmed: more than the news of any batch,
const KNOWN_ROOM: u64 = 20 * 1024 * 1024;
/// for what is wanted,
const WANTS_ROOM: u64 = 8 * 1024 * 1024;
/// for what is refused,
const REFUSED_ROOM: u64 = 4 * 1024 * 1024;
/// and for what a node holds: a hundred thousand paths of the usual length. The rest is asked for.
pub const ALL_ROOM: u64 = 12 * 1024 * 1024;
/// No file system has larger files.
const SIZE_MAX: u64 = 1 << 62;
/// What is confirmed and could not be told: the peer asks again.
const KNOWN_MAX: usize = 65_536;
/// More reasons why nothing goes on help nobody.
pub const REFUSED_MAX: usize = 100;

/// A batch of what one node tells another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// Who tells it.
    pub from: String,
    /// Its number, which grows.
    pub batch: u64,
    /// What paths hold.
    pub news: Vec<News>,
    /// What it has been told and knows now.
    pub known: Vec<Item>,
    /// Paths that it has been told of without their content, and needs it.
    pub wants: Vec<Place>,
    /// Paths that it has been told of and cannot take now, and why. At most 100.
    pub refused: Vec<(Place, String)>,
    /// The number of its store: with another one it may know nothing any more.
    pub store: u64,
    /// All that it holds, summed up.
    pub sum: Option<Sum>,
    /// Every path that holds something there, with a mark of what.
    pub all: Option<Vec<(Place, Mark)>>,
    /// Of these, only what lies behind this path, in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_after: Option<Place>,
    /// Of these, only what lies before this path, and itself: there was no room for the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_until: Option<Place>,
    /// What it wants to be told.
    pub asks: Option<Ask>,
    /// It knows already what lies before this path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks_after: Option<Place>,
}

/// What one node asks another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// All that it holds, summed up.
    Sum,
    /// Every path that holds something.
    All,
}

/// What a path holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// Which, and what.
    #[serde(flatten)]
    pub item: Item,
    /// The number of its content, which has come with the manifest. Without one the content is sent when it is wanted.
    pub content: Option<u32>,
}

/// A manifest that is not believed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is no manifest, or names a path that is none.
    #[error("it is not what it should be: {0}")]
    Text(#[from] serde_json::Error),
    /// Another program has written it.
    #[error("it is of format {0}, this program knows {FORMAT} only: use the same version on all nodes")]
    Format(u32),
    /// No courier makes such an entry.
    #[error("what it says of {0} cannot be")]
    Nonsense(Place),
    /// It came through another peer's door.
    #[error("it says that it is from {0}, whose door it did not come through")]
    From(String),
}

impl Manifest {
    /// With nothing in it.
    pub fn new(from: &str, batch: u64) -> Self {
        Self {
            format: FORMAT,
            from: from.to_owned(),
            batch,
            news: Vec::new(),
            known: Vec::new(),
            wants: Vec::new(),
            refused: Vec::new(),
            store: 0,
            sum: None,
            all: None,
            all_after: None,
            all_until: None,
            asks: None,
            asks_after: None,
        }
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        let lists = self.news.is_empty() && self.known.is_empty() && self.wants.is_empty() && self.refused.is_empty();
        lists && self.sum.is_none() && self.all.is_none() && self.asks.is_none()
    }

    /// Says again what `lost` said besides its news, which are owed still.
    pub fn repeat(&mut self, lost: Self) {
        self.known.extend(lost.known);
        self.wants.extend(lost.wants);
        self.known.truncate(KNOWN_MAX);
        self.wants.truncate(KNOWN_MAX);
        self.refused.extend(lost.refused);
        self.refused.truncate(REFUSED_MAX);
        self.sum = self.sum.take().or(lost.sum);
        if self.all.is_none() {
            (self.all, self.all_after, self.all_until) = (lost.all, lost.all_after, lost.all_until);
        }
        if let Some(asks) = lost.asks {
            self.ask(asks, lost.asks_after);
        }
    }

    /// Asks for something; of all that the other one holds, what lies behind `after`.
    pub fn ask(&mut self, asks: Ask, after: Option<Place>) {
        self.asks_after = match (self.asks, asks) {
            // Whoever asked for more gets more.
            (Some(Ask::All), Ask::All) => self.asks_after.take().zip(after).map(|(one, other)| one.min(other)),
            (Some(Ask::All), Ask::Sum) => self.asks_after.take(),
            (Some(Ask::Sum) | None, Ask::All) => after,
            (Some(Ask::Sum) | None, Ask::Sum) => None,
        };
        self.asks = self.asks.max(Some(asks));
    }

    /// What has no room in it besides its news is said with the next one.
    #[must_use]
    pub fn cut(&mut self) -> Self {
        let mut rest = Self::new(&self.from, 0);
        rest.known = beyond(&mut self.known, KNOWN_ROOM);
        rest.wants = beyond(&mut self.wants, WANTS_ROOM);
        rest.refused = beyond(&mut self.refused, REFUSED_ROOM);
        rest
    }

    /// As it is sent.
    ///
    /// # Errors
    /// Never, as long as a path can be written down.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// What has come through the door of `peer`.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn read(bytes: &[u8], peer: &str) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Label {
            format: u32,
        }
        let Label { format } = serde_json::from_slice(bytes)?;
        if format != FORMAT {
            return Err(ManifestError::Format(format));
        }
        let manifest: Self = serde_json::from_slice(bytes)?;
        if manifest.from != peer {
            return Err(ManifestError::From(manifest.from));
        }
        match manifest.news.iter().find(|news| !is_sane(&news.item)) {
            Some(news) => Err(ManifestError::Nonsense(news.item.place.clone())),
            None => Ok(manifest),
        }
    }
}

/// So many bytes it takes as it is sent, with what stands between it and the next one.
pub fn room<T: Serialize>(said: &T) -> u64 {
    let mut counted = Counted(1);
    // What cannot be written down has no room anywhere.
    serde_json::to_writer(&mut counted, said).map_or(u64::MAX, |()| counted.0)
}

/// Takes away what has no room.
fn beyond<T: Serialize>(list: &mut Vec<T>, most: u64) -> Vec<T> {
    let mut taken = 0u64;
    let fit = list.iter().take_while(|said| {
        taken = taken.saturating_add(room(*said));
        taken <= most
    });
    let fit = fit.count();
    list.split_off(fit)
}

/// Counts what is written.
struct Counted(u64);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a courier can have made it.
fn is_sane(item: &Item) -> bool {
    let mode = match &item.entry.content {
        Content::File { mode, .. } | Content::Directory { mode } => *mode,
        Content::Link { .. } | Content::Gone => 0,
    };
    mode & !MODE == 0 && item.entry.content.bytes() < SIZE_MAX && item.entry.version.is_sane()
}

/// The name of the manifest of a batch. It sorts behind those of the contents, and so arrives last.
pub fn manifest_name(batch: u64) -> PathBuf {
    format!("{batch:020}.m").into()
}

/// The name of the file with the small contents of a batch, one after the other.
pub fn pack_name(batch: u64) -> PathBuf {
    format!("{batch:020}.c").into()
}

/// The name of a content of a batch.
pub fn content_name(batch: u64, number: u32) -> PathBuf {
    format!("{batch:020}.{number:010}").into()
}

/// The batch that a name is the manifest of.
pub fn manifest_of(name: &Path) -> Option<u64> {
    let batch = name.to_str()?.strip_suffix(".m")?;
    let number = batch.parse().ok()?;
    (manifest_name(number) == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::version::{Entry, Seen};

    fn manifest() -> Manifest {
        let seen = Seen { node: "hadev1", active: true, millis: 7 };
        let item = |text: &str, content| Item {
            place: Place::try_from(text.to_owned()).unwrap(),
            entry: Entry::first(seen, content),
        };
        let file = Content::File { digest: [7; 32], size: 3, mode: 0o640 };
        let link = Content::Link { target: vec![0xff, b'/'] };
        Manifest {
            news: vec![
                News { item: item("re/a%20b", file), content: Some(0) },
                News { item: item("re/l", link), content: None },
            ],
            known: vec![item("re/gone", Content::Gone)],
            wants: vec![Place::try_from("re/%ff".to_owned()).unwrap()],
            ..Manifest::new("hadev1", 9)
        }
    }

    #[test]
    fn what_is_sent_is_read_again() {
        let bytes = manifest().to_bytes().unwrap();
        assert_eq!(Manifest::read(&bytes, "hadev1").unwrap(), manifest());
        assert!(!manifest().is_empty() && Manifest::new("hadev1", 9).is_empty());
    }

    #[test]
    fn whoever_asks_for_more_gets_more() {
        let place = |text: &str| Some(Place::try_from(text.to_owned()).unwrap());
        let mut manifest = Manifest::new("hadev1", 9);
        manifest.ask(Ask::Sum, None);
        manifest.ask(Ask::All, place("re/b"));
        manifest.ask(Ask::Sum, None);
        assert_eq!((manifest.asks, &manifest.asks_after), (Some(Ask::All), &place("re/b")));
        manifest.ask(Ask::All, place("re/a"));
        assert_eq!(manifest.asks_after, place("re/a"));
        let mut next = Manifest::new("hadev1", 10);
        next.ask(Ask::All, None);
        next.repeat(manifest);
        assert_eq!((next.asks, next.asks_after), (Some(Ask::All), None));
    }

    #[test]
    fn what_is_not_ours_is_not_believed() {
        let text = String::from_utf8(manifest().to_bytes().unwrap()).unwrap();
        let read = |text: &str, peer| Manifest::read(text.as_bytes(), peer);
        assert!(matches!(read(&text, "hadev2"), Err(ManifestError::From(from)) if from == "hadev1"));
        let other = text.replacen("\"format\":1", "\"format\":2", 1);
        assert!(matches!(read(&other, "hadev1"), Err(ManifestError::Format(2))));
        for path in ["re/../../etc/passwd", "/etc/passwd", "re/%2e%2e/x"] {
            let outside = text.replacen("re/a%20b", path, 1);
            assert!(matches!(read(&outside, "hadev1"), Err(ManifestError::Text(_))), "{path}");
        }
        assert!(matches!(read(&text[..text.len() / 2], "hadev1"), Err(ManifestError::Text(_))));
    }

    #[test]
    fn what_no_courier_makes_is_not_believed() {
        let changed = |content, count: u64| {
            let mut manifest = manifest();
            manifest.news[0].item.entry.content = content;
            let text = String::from_utf8(manifest.to_bytes().unwrap()).unwrap();
            let text = text.replacen("{\"hadev1\":1}", &format!("{{\"hadev1\":{count}}}"), 1);
            Manifest::read(text.as_bytes(), "hadev1")
        };
        let file = |mode, size| Content::File { digest: [7; 32], size, mode };
        assert!(changed(file(0o640, 3), 2).is_ok());
        let nonsense = |read: Result<Manifest, ManifestError>| matches!(read, Err(ManifestError::Nonsense(_)));
        assert!(nonsense(changed(file(0o4755, 3), 1)), "the rights of an owner");
        assert!(nonsense(changed(Content::Directory { mode: 0o2755 }, 1)));
        assert!(nonsense(changed(file(0o640, u64::MAX), 1)), "a size that no file has");
        assert!(nonsense(changed(file(0o640, 3), u64::MAX)), "a count that could not go on");
    }

    #[test]
    fn a_manifest_sorts_behind_its_contents_and_is_known_by_its_name() {
        let batch = [content_name(9, u32::MAX), pack_name(9), manifest_name(9), content_name(10, 0)];
        assert!(batch.is_sorted());
        assert_eq!(manifest_of(&manifest_name(9)), Some(9));
        for other in [content_name(9, 1), PathBuf::from("9.m"), PathBuf::from(".m"), PathBuf::from("+9.m")] {
            assert_eq!(manifest_of(&other), None, "{}", other.display());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, at in 0..200usize, byte: u8) {
            let _ = Manifest::read(&bytes, "hadev1");
            let mut close = manifest().to_bytes().unwrap();
            if let Some(place) = close.get_mut(at) {
                *place = byte;
            }
            let _ = Manifest::read(&close, "hadev1");
        }
    }
}
