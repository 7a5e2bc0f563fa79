//! Seals what Raft keeps on disk, each record bound to its place.
//!
//! A record is `version (1) | index (8, LE) | term (8, LE) | nonce (24) | ciphertext and tag`, sealed
//! with XChaCha20-Poly1305 (random nonces of 192 bits never meet, however long the log gets). The
//! associated data is cluster, node, kind, index and term: a record that was altered, or moved to
//! another place, index, node or cluster, does not open.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use rand::TryRng;
use rand::rngs::SysRng;
use swarmnet_model::{ClusterId, NodeId};

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;
const HEADER_BYTES: usize = 1 + 8 + 8 + NONCE_BYTES;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Entry,
    Vote,
    Committed,
    Purged,
    Snapshot,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Entry => "log entry",
            Self::Vote => "vote",
            Self::Committed => "commit mark",
            Self::Purged => "purge mark",
            Self::Snapshot => "snapshot",
        }
    }
}

/// Where a record belongs; marks that have no index use zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) kind: Kind,
    pub(super) index: u64,
    pub(super) term: u64,
}

/// A record that is not what this manager wrote there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {} at index {index} is damaged, moved, or sealed with another key", kind.as_str())]
pub struct Damaged {
    pub kind: Kind,
    pub index: u64,
}

/// Seals and opens records of one manager.
pub(super) struct Sealer {
    cipher: XChaCha20Poly1305,
    owner: Vec<u8>,
}

impl Sealer {
    /// A sealer with the manager's data key.
    pub(super) fn new(data_key: &[u8; 32], cluster: &ClusterId, node: &NodeId) -> Self {
        let mut owner = Vec::new();
        for id in [cluster.as_str(), node.as_str()] {
            owner.extend((id.len() as u64).to_le_bytes());
            owner.extend(id.as_bytes());
        }
        Self { cipher: XChaCha20Poly1305::new(&Key::from(*data_key)), owner }
    }

    /// Seals `plaintext` for its place.
    pub(super) fn seal(&self, place: Place, plaintext: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        SysRng.try_fill_bytes(&mut nonce).expect("the kernel's generator never fails once booted");
        let aad = self.associated_data(place);
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: plaintext, aad: &aad })
            .expect("the cipher only refuses records of 256 GiB");
        let mut record = Vec::with_capacity(HEADER_BYTES + sealed.len());
        record.push(VERSION);
        record.extend(place.index.to_le_bytes());
        record.extend(place.term.to_le_bytes());
        record.extend(nonce);
        record.extend(sealed);
        record
    }

    /// Opens a record that claims to be `kind` at `index`; returns its term and content.
    ///
    /// # Errors
    /// `Damaged` unless every byte is as this manager sealed it for this place.
    pub(super) fn open(
        &self,
        kind: Kind,
        index: u64,
        record: &[u8],
    ) -> Result<(u64, Vec<u8>), Damaged> {
        self.open_any(kind, record)
            .filter(|(place, _)| place.index == index)
            .map(|(place, plaintext)| (place.term, plaintext))
            .ok_or(Damaged { kind, index })
    }

    /// Opens a record of `kind` wherever it says it belongs.
    pub(super) fn open_any(&self, kind: Kind, record: &[u8]) -> Option<(Place, Vec<u8>)> {
        let (header, sealed) = record.split_at_checked(HEADER_BYTES)?;
        let (version, header) = header.split_first()?;
        let (index, header) = header.split_first_chunk::<8>()?;
        let (term, nonce) = header.split_first_chunk::<8>()?;
        let nonce = <[u8; NONCE_BYTES]>::try_from(nonce).ok()?;
        let (index, term) = (u64::from_le_bytes(*index), u64::from_le_bytes(*term));
        let place = Place { kind, index, term };
        if *version != VERSION {
            return None;
        }
        let aad = self.associated_data(place);
        let payload = Payload { msg: sealed, aad: &aad };
        self.cipher.decrypt(&XNonce::from(nonce), payload).ok().map(|plaintext| (place, plaintext))
    }

    fn associated_data(&self, place: Place) -> Vec<u8> {
        let mut aad = self.owner.clone();
        aad.push(VERSION);
        aad.extend(place.kind.as_str().as_bytes());
        aad.extend(place.index.to_le_bytes());
        aad.extend(place.term.to_le_bytes());
        aad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(key: u8, cluster: &str, node: &str) -> Sealer {
        Sealer::new(&[key; 32], &ClusterId::from_text(cluster), &NodeId::from_text(node))
    }

    const PLACE: Place = Place { kind: Kind::Entry, index: 7, term: 3 };

    #[test]
    fn a_record_opens_where_it_was_sealed() {
        let sealer = sealer(1, "c", "n");
        let record = sealer.seal(PLACE, b"words");
        assert_eq!(sealer.open(Kind::Entry, 7, &record), Ok((3, b"words".to_vec())));
        assert!(!record.windows(5).any(|window| window == b"words"));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let sealer = sealer(1, "c", "n");
        let record = sealer.seal(PLACE, b"words");
        for bit in 0..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let expected = Err(Damaged { kind: Kind::Entry, index: 7 });
            assert_eq!(sealer.open(Kind::Entry, 7, &damaged), expected, "bit {bit}");
        }
        for length in 0..record.len() {
            assert!(sealer.open(Kind::Entry, 7, &record[..length]).is_err());
        }
    }

    #[test]
    fn a_record_does_not_open_in_another_place() {
        let record = sealer(1, "c", "n").seal(PLACE, b"words");
        let own = sealer(1, "c", "n");
        assert!(own.open(Kind::Entry, 8, &record).is_err());
        assert!(own.open(Kind::Vote, 7, &record).is_err());
        for other in
            [sealer(2, "c", "n"), sealer(1, "x", "n"), sealer(1, "c", "x"), sealer(1, "cn", "")]
        {
            assert!(other.open(Kind::Entry, 7, &record).is_err());
        }
    }
}
