//! Objects as JSON documents inside protobuf envelopes.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A document that does not hold what its field promises.
#[derive(Debug, thiserror::Error)]
#[error("field {field} of the message is not valid")]
pub struct BadDocument {
    /// Name of the message's field.
    pub field: &'static str,
    #[source]
    source: serde_json::Error,
}

/// Encodes an object.
pub fn encode<T: Serialize>(object: &T) -> Vec<u8> {
    serde_json::to_vec(object).expect("model types have string keys and no failing serializers")
}

/// Decodes the object in `field`.
///
/// # Errors
/// `BadDocument` names the field.
pub fn decode<T: DeserializeOwned>(field: &'static str, bytes: &[u8]) -> Result<T, BadDocument> {
    serde_json::from_slice(bytes).map_err(|source| BadDocument { field, source })
}

#[cfg(test)]
mod tests {
    use swarmnet_model::NodeId;
    use swarmnet_model::view::{Item, ItemKey, Peer, ViewUpdate};

    use super::*;

    #[test]
    fn a_view_update_survives_the_wire() {
        let node_id = NodeId::from_text("n1");
        let peer = Peer {
            node_id: node_id.clone(),
            hostname: "node01".into(),
            addr: [10, 20, 20, 110].into(),
        };
        let update = ViewUpdate {
            generation: 3,
            full: true,
            put: vec![(ItemKey::Peer(node_id), Item::Peer(peer))],
            removed: vec![ItemKey::Settings],
        };
        let decoded: ViewUpdate = decode("view_update", &encode(&update)).unwrap();
        assert_eq!(decoded, update);
    }

    #[test]
    fn a_bad_document_names_its_field() {
        let error = decode::<ViewUpdate>("view_update", b"{").unwrap_err();
        assert_eq!(error.to_string(), "field view_update of the message is not valid");
    }
}
