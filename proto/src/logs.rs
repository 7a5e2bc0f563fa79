//! What log messages cost: both ends of a stream of lines count the same.

use prost::Message;

use crate::v1::LogBatch;

/// Returns the bytes of room that a message takes up.
pub fn cost(batch: &LogBatch) -> u32 {
    u32::try_from(batch.encoded_len()).unwrap_or(u32::MAX)
}
