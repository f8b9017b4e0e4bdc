//! Output that waits for a daemon to take it: the newest of it, and how much was lost before.

use std::collections::VecDeque;

use super::wire::{PACKET_MAX, Word};

/// What is kept while nobody takes it.
const KEPT_MAX: usize = 64 * 1024;

/// A line is passed on without its end when it is longer than this.
const LINE_MAX: usize = 4 * 1024;

/// Lines on their way to the daemon.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Whole lines, oldest first, each piece no longer than a packet.
    pieces: VecDeque<Vec<u8>>,
    kept: usize,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    /// Lines lost since the last time that was told.
    dropped: u64,
}

impl Backlog {
    /// Takes what was read, half a packet at most.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= PACKET_MAX / 2, "a piece and the line before it fit into a packet");
        self.partial.extend_from_slice(bytes);
        let whole = self.partial.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let rest = self.partial.split_off(whole);
        let piece = std::mem::replace(&mut self.partial, rest);
        self.keep(piece);
        if self.partial.len() > LINE_MAX {
            self.end();
        }
    }

    /// No more will come of the line that has begun.
    pub(super) fn end(&mut self) {
        let mut line = std::mem::take(&mut self.partial);
        if !line.is_empty() {
            line.push(b'\n');
        }
        self.keep(line);
    }

    /// What is to be said next.
    pub(super) fn next(&self) -> Option<Word> {
        if self.dropped > 0 {
            return Some(Word::Dropped(self.dropped));
        }
        self.pieces.front().cloned().map(Word::Output)
    }

    /// That has been said.
    pub(super) fn said(&mut self) {
        if std::mem::take(&mut self.dropped) == 0 {
            self.kept -= self.pieces.pop_front().map_or(0, |piece| piece.len());
        }
    }

    fn keep(&mut self, piece: Vec<u8>) {
        if piece.is_empty() {
            return;
        }
        self.kept += piece.len();
        self.pieces.push_back(piece);
        while self.kept > KEPT_MAX
            && let Some(oldest) = self.pieces.pop_front()
        {
            self.kept -= oldest.len();
            let lines = oldest.iter().filter(|byte| **byte == b'\n').count();
            self.dropped += u64::try_from(lines).unwrap_or(u64::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(backlog: &mut Backlog) -> Vec<Word> {
        let mut words = Vec::new();
        while let Some(word) = backlog.next() {
            words.push(word);
            backlog.said();
        }
        words
    }

    #[test]
    fn lines_are_passed_on_whole_and_the_last_one_at_the_end() {
        let mut backlog = Backlog::default();
        backlog.take(b"one\ntw");
        assert_eq!(all(&mut backlog), [Word::Output(b"one\n".to_vec())]);
        backlog.take(b"o\nthree");
        backlog.end();
        assert_eq!(all(&mut backlog), [Word::Output(b"two\n".to_vec()), Word::Output(b"three\n".to_vec())]);
        backlog.end();
        assert_eq!(all(&mut backlog), []);
    }

    #[test]
    fn the_oldest_lines_are_dropped_and_counted_before_the_rest() {
        let mut backlog = Backlog::default();
        for number in 0..20_000 {
            backlog.take(format!("line {number:05}\n").as_bytes());
        }
        let words = all(&mut backlog);
        let Word::Dropped(dropped) = words[0] else { panic!("{:?}", words[0]) };
        assert_eq!(usize::try_from(dropped).unwrap() + words.len() - 1, 20_000);
        assert_eq!(words[1], Word::Output(format!("line {dropped:05}\n").into_bytes()));
        assert!((words.len() - 1) * 11 <= KEPT_MAX);
    }

    #[test]
    fn a_line_without_an_end_is_cut_and_every_piece_fits_into_a_packet() {
        let mut backlog = Backlog::default();
        for _ in 0..8 {
            backlog.take(&[b'x'; PACKET_MAX / 2]);
        }
        let words = all(&mut backlog);
        assert!(!words.is_empty() && words.iter().all(|word| word.encode().len() <= PACKET_MAX), "{}", words.len());
    }
}
