//! Pure: the engine's log stream → lines.
//!
//! With a terminal the stream is what the container wrote; lines are looked for. Without one it comes
//! in frames of one line: 1 byte stream, 3 zero bytes, 4 bytes length, text.

use swarmnet_model::limits::{LOG_ATTRIBUTES_BYTES_MAX, LOG_LINE_BYTES_MAX};
use swarmnet_model::{LogSource, Timestamp, logs};

/// A frame's length may lie; more than this is no line of any log driver.
const FRAME_BYTES_MAX: usize = 16 << 20;
const HEADER: usize = 8;

/// What the engine was asked to write before each line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) tty: bool,
    pub(crate) timestamps: bool,
    pub(crate) details: bool,
}

/// One line as the engine has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) source: LogSource,
    pub(crate) time: Timestamp,
    pub(crate) attributes: String,
    pub(crate) text: Vec<u8>,
}

/// The stream is none of the engine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine's log stream cannot be read")]
pub(crate) struct Garbled;

/// Puts lines together from the pieces in which they arrive.
#[derive(Debug)]
pub(crate) struct Decoder {
    format: Format,
    /// Bytes that are not a whole line, or frame header, yet.
    rest: Vec<u8>,
    /// Of the frame that is being read: source, bytes still to come.
    frame: Option<(LogSource, usize)>,
    /// What was before the line whose further pieces come; `None`: a new line begins.
    begun: Option<(Timestamp, String)>,
}

impl Decoder {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, rest: Vec::new(), frame: None, begun: None }
    }

    /// Takes bytes; returns the lines they complete.
    ///
    /// # Errors
    /// They are no frames.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Line>, Garbled> {
        let mut lines = Vec::new();
        if self.format.tty {
            self.take_raw(bytes, &mut lines);
            return Ok(lines);
        }
        let mut bytes = bytes;
        while !bytes.is_empty() {
            bytes = self.take_framed(bytes, &mut lines)?;
        }
        Ok(lines)
    }

    /// The stream has ended: returns what it did not complete.
    pub(crate) fn end(&mut self) -> Option<Line> {
        let source = match self.frame.take() {
            Some((source, _)) => source,
            None if self.format.tty => LogSource::Stdout,
            None => return None,
        };
        let rest = std::mem::take(&mut self.rest);
        (!rest.is_empty()).then(|| self.line(source, &rest, true))
    }

    fn take_raw(&mut self, bytes: &[u8], lines: &mut Vec<Line>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(piece);
            let ended = piece.ends_with(b"\n");
            if ended || self.rest.len() >= LOG_LINE_BYTES_MAX {
                self.flush(LogSource::Stdout, ended, lines);
            }
        }
    }

    fn take_framed<'a>(
        &mut self,
        bytes: &'a [u8],
        lines: &mut Vec<Line>,
    ) -> Result<&'a [u8], Garbled> {
        let Some((source, left)) = self.frame else {
            let (head, after) = bytes.split_at(bytes.len().min(HEADER - self.rest.len()));
            self.rest.extend_from_slice(head);
            if self.rest.len() == HEADER {
                self.frame = Some(header(&self.rest)?).filter(|(_, length)| *length > 0);
                self.rest.clear();
            }
            return Ok(after);
        };
        let (text, after) = bytes.split_at(bytes.len().min(left));
        self.rest.extend_from_slice(text);
        let left = left - text.len();
        self.frame = (left > 0).then_some((source, left));
        if left == 0 || self.rest.len() >= LOG_LINE_BYTES_MAX {
            self.flush(source, left == 0, lines);
        }
        Ok(after)
    }

    /// Makes lines of no more than [`LOG_LINE_BYTES_MAX`] of what is there.
    fn flush(&mut self, source: LogSource, ended: bool, lines: &mut Vec<Line>) {
        let bytes = std::mem::take(&mut self.rest);
        let mut pieces = bytes.chunks(LOG_LINE_BYTES_MAX).peekable();
        while let Some(piece) = pieces.next() {
            lines.push(self.line(source, piece, ended && pieces.peek().is_none()));
        }
    }

    fn line(&mut self, source: LogSource, bytes: &[u8], ended: bool) -> Line {
        let (time, attributes, text) = match self.begun.take() {
            Some((time, attributes)) => (time, attributes, bytes),
            None => prefix(bytes, self.format),
        };
        if !ended {
            self.begun = Some((time, attributes.clone()));
        }
        Line { source, time, attributes, text: text.to_vec() }
    }
}

fn header(bytes: &[u8]) -> Result<(LogSource, usize), Garbled> {
    let [kind, 0, 0, 0, length @ ..] = bytes else { return Err(Garbled) };
    let length = u32::from_be_bytes(length.try_into().map_err(|_| Garbled)?);
    let length = usize::try_from(length).map_err(|_| Garbled)?;
    let source = match kind {
        0 | 1 => LogSource::Stdout,
        // What the engine itself has to say comes as 3.
        2 | 3 => LogSource::Stderr,
        _ => return Err(Garbled),
    };
    if length > FRAME_BYTES_MAX { Err(Garbled) } else { Ok((source, length)) }
}

/// Splits `[time ][attributes ]text`.
fn prefix(bytes: &[u8], format: Format) -> (Timestamp, String, &[u8]) {
    let (mut rest, mut time) = (bytes, Timestamp::UNSET);
    if format.timestamps
        && let Some((word, after)) = word(rest)
        && let Some(read) = logs::line_time(word)
    {
        (rest, time) = (after, read);
    }
    if format.details
        && let Some((attributes, after)) = word(rest)
    {
        let fits = attributes.len() <= LOG_ATTRIBUTES_BYTES_MAX;
        return (time, if fits { attributes.to_owned() } else { String::new() }, after);
    }
    (time, String::new(), rest)
}

fn word(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let at = bytes.iter().position(|byte| *byte == b' ')?;
    Some((std::str::from_utf8(&bytes[..at]).ok()?, &bytes[at + 1..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, text: &str) -> Vec<u8> {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        [&[kind, 0, 0, 0][..], &length, text.as_bytes()].concat()
    }

    fn format(tty: bool) -> Format {
        Format { tty, timestamps: true, details: true }
    }

    fn text(lines: &[Line]) -> String {
        let line = |line: &Line| {
            let text = String::from_utf8_lossy(&line.text).into_owned();
            format!("{:?} {} [{}] {text:?}\n", line.source, line.time.0, line.attributes)
        };
        lines.iter().map(line).collect()
    }

    const TIME: &str = "1970-01-01T00:00:01.000000002Z";

    #[test]
    fn frames_are_lines() {
        let mut bytes = frame(1, &format!("{TIME} a=1,b=x+y hello world\n"));
        bytes.extend(frame(2, &format!("{TIME}  no attributes\n")));
        bytes.extend(frame(1, ""));
        bytes.extend(frame(3, "engine says\n"));
        let lines = Decoder::new(format(false)).take(&bytes).unwrap();
        let expected = concat!(
            "Stdout 1000000002 [a=1,b=x+y] \"hello world\\n\"\n",
            "Stderr 1000000002 [] \"no attributes\\n\"\n",
            "Stderr 0 [engine] \"says\\n\"\n",
        );
        assert_eq!(text(&lines), expected);
    }

    #[test]
    fn a_terminal_writes_lines_of_its_own() {
        let format = Format { tty: true, timestamps: false, details: false };
        let mut decoder = Decoder::new(format);
        let lines = decoder.take(b"one\r\ntwo\r\nthr").unwrap();
        assert_eq!(text(&lines), "Stdout 0 [] \"one\\r\\n\"\nStdout 0 [] \"two\\r\\n\"\n");
        assert_eq!(text(&decoder.take(b"ee\n").unwrap()), "Stdout 0 [] \"three\\n\"\n");
        decoder.take(b"rest").unwrap();
        assert_eq!(text(&[decoder.end().unwrap()]), "Stdout 0 [] \"rest\"\n");
        assert_eq!(decoder.end(), None);
    }

    #[test]
    fn long_lines_come_in_pieces_that_know_their_time() {
        let long = "x".repeat(LOG_LINE_BYTES_MAX * 2 + 10);
        let bytes = frame(1, &format!("{TIME} a=1 {long}\n"));
        let lines = Decoder::new(format(false)).take(&bytes).unwrap();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.time == Timestamp(1_000_000_002)));
        assert!(lines.iter().all(|line| line.attributes == "a=1"));
        assert!(lines.iter().all(|line| line.text.len() <= LOG_LINE_BYTES_MAX));
        let whole: Vec<u8> = lines.iter().flat_map(|line| line.text.clone()).collect();
        assert_eq!(whole, format!("{long}\n").into_bytes());
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let take = |bytes: &[u8]| Decoder::new(format(false)).take(bytes);
        assert_eq!(take(b"plain text"), Err(Garbled));
        assert_eq!(take(&[1, 0, 0, 0, 255, 255, 255, 255]), Err(Garbled), "a length that lies");
        assert_eq!(take(&[9, 0, 0, 0, 0, 0, 0, 1]), Err(Garbled));
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_lines(
            texts in prop::collection::vec("[ -~]{0,40}", 1..8),
            cuts in prop::collection::vec(1_usize..30, 1..40),
        ) {
            let bytes: Vec<u8> =
                texts.iter().flat_map(|text| frame(1, &format!("{TIME} k=v {text}\n"))).collect();
            let whole = Decoder::new(format(false)).take(&bytes).unwrap();
            let (mut decoder, mut lines, mut rest) =
                (Decoder::new(format(false)), Vec::new(), &bytes[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                lines.extend(decoder.take(piece).unwrap());
                rest = after;
            }
            prop_assert_eq!(whole.len(), texts.len());
            prop_assert_eq!(lines, whole);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::new(format(false));
            let _ = decoder.take(&bytes);
            let _ = decoder.end();
        }
    }
}
