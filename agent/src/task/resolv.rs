//! Pure: what a container on an overlay reads as `/etc/resolv.conf`.

use swarmnet_ebpf::abi::RESOLVER;
use swarmnet_model::container::DnsConfig;

/// Names without a dot are asked for as they are: the names of services have none.
const DEFAULT_OPTION: &str = "ndots:0";

/// Returns the file. What the spec leaves open is taken from the host's own resolv.conf, as Docker does;
/// the servers named in either are asked by the resolver, not by the container.
pub(super) fn resolv_conf(dns: &DnsConfig, host: &str) -> String {
    let mut search = given(&dns.search, || last_of(host, &["search", "domain"]));
    // A single dot says "no search domain".
    search.retain(|domain| domain != ".");
    let mut options = given(&dns.options, || all_of(host, "options"));
    if !options.iter().any(|option| option.starts_with("ndots:")) {
        options.push(DEFAULT_OPTION.to_owned());
    }
    let mut text = String::new();
    if !search.is_empty() {
        text += &format!("search {}\n", search.join(" "));
    }
    text += &format!("nameserver {RESOLVER}\n");
    text += &format!("options {}\n", options.join(" "));
    text
}

fn given(own: &[String], inherited: impl Fn() -> Vec<String>) -> Vec<String> {
    if own.is_empty() { inherited() } else { own.to_vec() }
}

/// The words behind the keyword, for each line that begins with it.
fn lines<'a>(text: &'a str, keywords: &'a [&str]) -> impl Iterator<Item = Vec<String>> + 'a {
    text.lines().filter_map(move |line| {
        let mut words = line.split_whitespace();
        let found = keywords.contains(&words.next()?);
        found.then(|| words.map(str::to_owned).collect())
    })
}

/// Of several lines the last one counts.
fn last_of(text: &str, keywords: &[&str]) -> Vec<String> {
    lines(text, keywords).last().unwrap_or_default()
}

fn all_of(text: &str, keyword: &str) -> Vec<String> {
    lines(text, &[keyword]).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "# by hand\ndomain old.example\nsearch corp.example lab.example\n\
        nameserver 192.0.2.1\noptions timeout:1\noptions rotate\n";

    fn dns(search: &[&str], options: &[&str]) -> DnsConfig {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        DnsConfig {
            nameservers: owned(&["192.0.2.53"]),
            search: owned(search),
            options: owned(options),
        }
    }

    #[test]
    fn what_the_spec_leaves_open_is_the_hosts() {
        assert_eq!(
            resolv_conf(&dns(&[], &[]), HOST),
            "search corp.example lab.example\nnameserver 169.254.77.53\n\
             options timeout:1 rotate ndots:0\n"
        );
        assert_eq!(resolv_conf(&dns(&[], &[]), ""), "nameserver 169.254.77.53\noptions ndots:0\n");
    }

    #[test]
    fn the_spec_wins_over_the_host() {
        assert_eq!(
            resolv_conf(&dns(&["a.example", "b.example"], &["ndots:2", "attempts:1"]), HOST),
            "search a.example b.example\nnameserver 169.254.77.53\noptions ndots:2 attempts:1\n"
        );
    }

    #[test]
    fn a_dot_means_no_search_domain() {
        assert_eq!(
            resolv_conf(&dns(&["."], &["edns0"]), HOST),
            "nameserver 169.254.77.53\noptions edns0 ndots:0\n"
        );
    }
}
