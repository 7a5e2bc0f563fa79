//! What an answer says.

use std::fs;
use std::net::IpAddr;

/// Who this server is: does not change while it runs.
pub(crate) struct Identity {
    pub(crate) hostname: String,
    /// `TASK_NAME` of the environment, else the host name.
    task: String,
}

impl Identity {
    pub(crate) fn read() -> Self {
        let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let hostname = hostname.trim().to_owned();
        let task = std::env::var("TASK_NAME").unwrap_or_else(|_| hostname.clone());
        Self { hostname, task }
    }

    /// Returns the lines of an answer; `subject` is the request line or the size of a datagram.
    pub(crate) fn answer(
        &self,
        local: (IpAddr, u16),
        remote: (IpAddr, u16),
        subject: &str,
    ) -> String {
        let Self { hostname, task } = self;
        let (local, remote) = (address(local), address(remote));
        format!("Hostname: {hostname}\nTask: {task}\nLocal: {local}\nRemote: {remote}\n{subject}\n")
    }
}

fn address((ip, port): (IpAddr, u16)) -> String {
    std::net::SocketAddr::new(ip.to_canonical(), port).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_line_for_each_fact() {
        let identity = Identity { hostname: "h".to_owned(), task: "web.1".to_owned() };
        let local = ("10.0.0.3".parse().unwrap(), 80);
        let remote = ("::ffff:10.20.20.50".parse().unwrap(), 4711);
        assert_eq!(
            identity.answer(local, remote, "GET / HTTP/1.1"),
            "Hostname: h\nTask: web.1\nLocal: 10.0.0.3:80\nRemote: 10.20.20.50:4711\n\
             GET / HTTP/1.1\n"
        );
    }
}
