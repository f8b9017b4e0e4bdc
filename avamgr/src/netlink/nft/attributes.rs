//! Attributes as bytes: netfilter has its numbers in network order and its lists nested.

/// Set on an attribute that holds attributes.
const NESTED: u16 = 1 << 15;
const HEADER_BYTES: usize = 4;

/// Some attributes, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    /// Appends one. Its value must be shorter than 64 KiB.
    pub(super) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(HEADER_BYTES + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn long(self, kind: u16, value: u64) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// With the zero at its end.
    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        self.bytes(kind, &[value.as_bytes(), &[0]].concat())
    }

    pub(super) fn nested(self, kind: u16, inner: &Self) -> Self {
        self.bytes(NESTED | kind, &inner.0)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_begin_at_multiples_of_four_and_know_their_length() {
        let inner = Attributes::default().text(1, "ab").number(2, 7);
        let outer = Attributes::default().nested(3, &inner);
        let little = [&[7, 0, 1, 0, b'a', b'b', 0, 0][..], &[8, 0, 2, 0, 0, 0, 0, 7]].concat();
        if cfg!(target_endian = "little") {
            assert_eq!(inner.as_bytes(), little);
            assert_eq!(outer.as_bytes()[..4], [20, 0, 3, 0x80]);
        }
        assert_eq!(outer.as_bytes().len(), 20);
    }
}
