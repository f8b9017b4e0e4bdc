//! The last frames sent to each peer, to tell a true ICMP error from a made-up one.
//!
//! A router or the peer's kernel quotes the datagram it refuses. Who never saw our frames cannot know the incarnation and
//! the nanosecond in their first bytes, so an error that quotes a frame sent a moment ago is believed, and no other.

/// Bytes kept of each frame: past incarnation, sequence and time of sending.
const PREFIX: usize = 64;
/// Frames kept: more than can be under way within a round trip while probing.
const KEPT: usize = 8;

/// The beginnings of the last frames to one peer.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    prefixes: [[u8; PREFIX]; KEPT],
    next: usize,
}

impl Sent {
    pub(super) fn new() -> Self {
        Self { prefixes: [[0; PREFIX]; KEPT], next: 0 }
    }

    /// Takes note of a sealed frame.
    pub(super) fn note(&mut self, frame: &[u8]) {
        let Some(prefix) = frame.first_chunk::<PREFIX>() else { return };
        if let Some(place) = self.prefixes.get_mut(self.next) {
            *place = *prefix;
        }
        self.next = (self.next + 1) % KEPT;
    }

    /// Whether an ICMP error quotes one of them. A quote too short to tell is not believed.
    pub(super) fn quoted_in(&self, quote: &[u8]) -> bool {
        let Some(prefix) = quote.first_chunk::<PREFIX>() else { return false };
        // A frame never begins with zeros, so an empty place matches nothing of ours; but a quote may be made of zeros.
        prefix.iter().any(|byte| *byte != 0) && self.prefixes.contains(prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_frames_are_believed() {
        let mut sent = Sent::new();
        let frame = |number: u8| [number; 150];
        for number in 1..=20 {
            sent.note(&frame(number));
        }
        for number in 1..=20 {
            assert_eq!(sent.quoted_in(&frame(number)), number > 12, "frame {number}");
        }
        assert!(!sent.quoted_in(&frame(20)[..PREFIX - 1]), "too short to tell");
        assert!(!Sent::new().quoted_in(&[0; 150]), "nothing was sent");
    }
}
