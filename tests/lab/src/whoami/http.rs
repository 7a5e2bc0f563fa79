//! Pure: HTTP/1.1 requests as far as this server needs them, and answers.

/// A request's head may be this long, in bytes.
pub(crate) const HEAD_LIMIT: usize = 16 * 1024;
/// An answer may be delayed this long, in milliseconds.
const DELAY_LIMIT_MS: u64 = 600_000;
/// An answer may be padded up to this length, in bytes.
const SIZE_LIMIT: u64 = 1 << 30;

/// A request without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// `GET /path HTTP/1.1`
    pub(crate) line: String,
    pub(crate) is_head: bool,
    pub(crate) path: String,
    query: String,
    pub(crate) keep_alive: bool,
    /// Bytes that follow the head.
    pub(crate) body_length: u64,
    /// The client waits for `100 Continue` before it sends the body.
    pub(crate) expects_continue: bool,
}

/// Why a request cannot be answered; the connection is closed after saying so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Malformed,
    LengthRequired,
    HeadTooLarge,
}

impl Refusal {
    pub(crate) fn status(self) -> &'static str {
        match self {
            Self::Malformed => "400 Bad Request",
            Self::LengthRequired => "411 Length Required",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
        }
    }
}

/// Returns the length of a complete head at the buffer's start, its empty line included.
pub(crate) fn head_length(buffer: &[u8]) -> Option<usize> {
    buffer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// Reads a complete head.
pub(crate) fn parse(head: &[u8]) -> Result<Request, Refusal> {
    let text = std::str::from_utf8(head).map_err(|_| Refusal::Malformed)?;
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, version @ ("HTTP/1.1" | "HTTP/1.0")] = words[..] else {
        return Err(Refusal::Malformed);
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        line: line.to_owned(),
        is_head: method == "HEAD",
        path: path.to_owned(),
        query: query.to_owned(),
        keep_alive: version == "HTTP/1.1",
        body_length: 0,
        expects_continue: false,
    };
    for header in lines.filter(|line| !line.is_empty()) {
        let (name, value) = header.split_once(':').ok_or(Refusal::Malformed)?;
        apply(&mut request, &name.to_ascii_lowercase(), value.trim())?;
    }
    Ok(request)
}

fn apply(request: &mut Request, name: &str, value: &str) -> Result<(), Refusal> {
    match name {
        "content-length" => {
            request.body_length = value.parse().map_err(|_| Refusal::Malformed)?;
        }
        "transfer-encoding" => return Err(Refusal::LengthRequired),
        "expect" => request.expects_continue = value.eq_ignore_ascii_case("100-continue"),
        "connection" if value.eq_ignore_ascii_case("close") => request.keep_alive = false,
        "connection" if value.eq_ignore_ascii_case("keep-alive") => request.keep_alive = true,
        _ => {}
    }
    Ok(())
}

impl Request {
    /// Returns the value of `name` in the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Returns how long the answer's body is to be, in bytes, if the query says so.
    pub(crate) fn size(&self) -> Option<u64> {
        let wanted = self.parameter("size").and_then(|value| value.parse().ok())?;
        Some(SIZE_LIMIT.min(wanted))
    }

    /// Returns how long to wait before answering, in milliseconds.
    pub(crate) fn delay_ms(&self) -> u64 {
        let wanted = self.parameter("delay").and_then(|value| value.parse().ok()).unwrap_or(0);
        DELAY_LIMIT_MS.min(wanted)
    }
}

/// Returns the head of an answer whose body has `length` bytes.
pub(crate) fn response_head(status: &str, length: u64, keep_alive: bool) -> String {
    let connection = if keep_alive { "keep-alive" } else { "close" };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: {connection}\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Result<Request, Refusal> {
        parse(head.replace('\n', "\r\n").as_bytes())
    }

    #[test]
    fn a_connection_is_kept_unless_the_client_or_its_version_says_otherwise() {
        let keeps = |head: &str| read(head).unwrap().keep_alive;
        assert!(keeps("GET / HTTP/1.1\nHost: a\n\n"));
        assert!(!keeps("GET / HTTP/1.1\nConnection: close\n\n"));
        assert!(!keeps("GET / HTTP/1.0\n\n"));
        assert!(keeps("GET / HTTP/1.0\nConnection: Keep-Alive\n\n"));
    }

    #[test]
    fn a_delay_is_read_from_the_query_and_bounded() {
        let delay = |target: &str| read(&format!("GET {target} HTTP/1.1\n\n")).unwrap().delay_ms();
        assert_eq!(delay("/?delay=250"), 250);
        assert_eq!(delay("/?a=b&delay=7"), 7);
        assert_eq!(delay("/?delay=x"), 0);
        assert_eq!(delay("/?delay=99999999999"), DELAY_LIMIT_MS);
    }

    #[test]
    fn a_size_is_read_from_the_query_and_bounded() {
        let size = |target: &str| read(&format!("GET {target} HTTP/1.1\n\n")).unwrap().size();
        assert_eq!(size("/?delay=1&size=0"), Some(0));
        assert_eq!(size("/?size=99999999999"), Some(SIZE_LIMIT));
        assert_eq!((size("/"), size("/?size=x")), (None, None));
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        for head in ["\n\n", "GET /\n\n", "GET / HTTP/2\n\n", "GET / HTTP/1.1\nnonsense\n\n"] {
            assert_eq!(read(head), Err(Refusal::Malformed), "{head:?}");
        }
        let chunked = "POST / HTTP/1.1\nTransfer-Encoding: chunked\n\n";
        assert_eq!(read(chunked), Err(Refusal::LengthRequired));
    }

    #[test]
    fn a_head_ends_at_its_empty_line() {
        assert_eq!(head_length(b"GET / HTTP/1.1\r\nHost: a\r\n"), None);
        assert_eq!(head_length(b"G\r\n\r\nrest"), Some(5));
    }

    #[test]
    fn the_head_of_an_answer_tells_its_length_and_what_becomes_of_the_connection() {
        let text = response_head("200 OK", 4, false);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\n"), "{text}");
        assert!(text.contains("Content-Length: 4\r\n") && text.contains("Connection: close\r\n"));
    }
}
