//! Pure: a line of a task's log → bytes of the answer.
//!
//! A frame is 1 byte stream, 3 zero bytes, 4 bytes length, and exactly one line: the CLI takes each
//! frame for a line. Output of a terminal is not framed.

use std::collections::BTreeMap;

use swarmnet_model::{CallError, LogLine, LogOptions, LogSource};

/// Stream number of what the API itself has to say: the CLI stops with the text.
const ERRORS: u8 = 3;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    framed: bool,
    timestamps: bool,
    details: bool,
}

impl Form {
    pub(crate) fn new(options: &LogOptions, tty: bool) -> Self {
        Self { framed: !tty, timestamps: options.timestamps, details: options.details }
    }

    /// Appends a line: `[time ][details ]text`.
    pub(crate) fn line(self, line: &LogLine, answer: &mut Vec<u8>) {
        let mut text = Vec::with_capacity(line.text.len() + 256);
        if self.timestamps {
            text.extend_from_slice(line.time.to_string().as_bytes());
            text.push(b' ');
        }
        if self.details {
            text.extend_from_slice(details(line).as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(&line.text);
        let stream = match line.source {
            LogSource::Stdout => 1,
            LogSource::Stderr => 2,
        };
        self.write(stream, &text, answer);
    }

    /// Appends the reason why nothing more comes.
    pub(crate) fn error(self, error: &CallError, answer: &mut Vec<u8>) {
        self.write(ERRORS, format!("Error grabbing logs: {error}\n").as_bytes(), answer);
    }

    fn write(self, stream: u8, text: &[u8], answer: &mut Vec<u8>) {
        if self.framed {
            let length = u32::try_from(text.len()).expect("lines have a bound of 64 KiB");
            answer.extend_from_slice(&[stream, 0, 0, 0]);
            answer.extend_from_slice(&length.to_be_bytes());
        }
        answer.extend_from_slice(text);
    }
}

/// What is known of a line, sorted by key: the log driver's notes, and always who wrote it. Notes are
/// escaped already, ids need no escape.
fn details(line: &LogLine) -> String {
    let noted = line.attributes.split(',').filter(|pair| !pair.is_empty());
    let mut pairs: BTreeMap<&str, &str> =
        noted.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
    pairs.insert("com.docker.swarm.node.id", line.node_id.as_str());
    pairs.insert("com.docker.swarm.service.id", line.service_id.as_str());
    pairs.insert("com.docker.swarm.task.id", line.task_id.as_str());
    let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    use swarmnet_model::{NodeId, ServiceId, TaskId, Timestamp};

    use super::*;

    fn line(attributes: &str) -> LogLine {
        LogLine {
            node_id: NodeId::from_text("n"),
            service_id: ServiceId::from_text("s"),
            task_id: TaskId::from_text("t"),
            source: LogSource::Stderr,
            time: Timestamp(1_795_356_684_500_000_000),
            attributes: attributes.to_owned(),
            text: b"hello world\n".to_vec(),
        }
    }

    fn form(framed: bool, timestamps: bool, details: bool) -> Form {
        Form { framed, timestamps, details }
    }

    fn written(form: Form, line: &LogLine) -> Vec<u8> {
        let mut answer = Vec::new();
        form.line(line, &mut answer);
        answer
    }

    const OWN: &str = "com.docker.swarm.node.id=n,com.docker.swarm.service.id=s,\
                       com.docker.swarm.task.id=t";

    #[test]
    fn a_frame_holds_one_line() {
        let bytes = written(form(true, false, false), &line(""));
        assert_eq!(bytes, b"\x02\0\0\0\0\0\0\x0chello world\n");
        let raw = written(form(false, true, false), &line(""));
        assert_eq!(raw, b"2026-11-22T14:11:24.500000000Z hello world\n");
    }

    #[test]
    fn details_say_who_wrote_it_whatever_the_user_noted() {
        let written = |noted: &str| {
            String::from_utf8(written(form(false, false, true), &line(noted))).unwrap()
        };
        assert_eq!(written(""), format!("{OWN} hello world\n"));
        let noted = "a=1,com.docker.swarm.task.id=fake,z=x%2Cy";
        assert_eq!(written(noted), format!("a=1,{OWN},z=x%2Cy hello world\n"));
    }

    #[test]
    fn an_error_ends_the_stream_in_a_frame_of_its_own() {
        let error = CallError::api(swarmnet_model::Code::Unavailable, "gone");
        let mut answer = Vec::new();
        form(true, true, true).error(&error, &mut answer);
        assert_eq!(answer, b"\x03\0\0\0\0\0\0\x1aError grabbing logs: gone\n");
    }
}
