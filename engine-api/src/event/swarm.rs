//! Pure: an event of the cluster as Docker writes it.

use serde_json::json;
use swarmnet_model::event::Event;

use super::wanted::{Seen, Wanted};

const SCOPE: &str = "swarm";

/// Returns the event as a line; `None` if it is not wanted.
pub(crate) fn line(event: &Event, wanted: &Wanted) -> Option<Vec<u8>> {
    let (kind, action) = (event.kind.as_str(), event.action.as_str());
    let seen = Seen { scope: SCOPE, kind, action, id: &event.id, attributes: &event.attributes };
    if !wanted.takes(&seen) {
        return None;
    }
    let value = json!({
        "Type": kind,
        "Action": action,
        "Actor": {"ID": event.id, "Attributes": event.attributes},
        "scope": SCOPE,
        "time": event.time.0.div_euclid(1_000_000_000),
        "timeNano": event.time.0,
    });
    Some(format!("{value}\n").into_bytes())
}

#[cfg(test)]
mod tests {
    use swarmnet_model::Timestamp;
    use swarmnet_model::event::{EventAction, EventKind};

    use super::*;
    use crate::query::Query;

    #[test]
    fn it_has_dockers_form() {
        let attribute = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let event = Event {
            kind: EventKind::Service,
            action: EventAction::Update,
            id: "8jrq3wr8".to_owned(),
            attributes: [
                attribute("updatestate.old", "updating"),
                attribute("name", "up"),
                attribute("updatestate.new", "rollback_started"),
            ]
            .into(),
            time: Timestamp(1_795_356_684_952_910_942),
        };
        let all = Wanted::read(&Query::parse("")).unwrap();
        let expected = concat!(
            r#"{"Type":"service","Action":"update","Actor":{"ID":"8jrq3wr8","Attributes":"#,
            r#"{"name":"up","updatestate.new":"rollback_started","updatestate.old":"updating"}},"#,
            r#""scope":"swarm","time":1795356684,"timeNano":1795356684952910942}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(line(&event, &all).unwrap()).unwrap(), expected);
        let local = Wanted::read(&Query::parse(r#"filters={"scope":["local"]}"#)).unwrap();
        assert_eq!(line(&event, &local), None);
    }
}
