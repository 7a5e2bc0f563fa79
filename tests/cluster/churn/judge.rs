//! Pure: was every answer right at its time? A moment's grace covers the way of a change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde_json::Value;

/// How long after a change an answer may still be, and how long before it already be, the other one.
pub(super) const GRACE_US: u64 = 500_000;

/// What a manager said of services and tasks, and when.
pub(super) struct Truth {
    began: u64,
    ended: u64,
    services: BTreeMap<String, Service>,
}

#[derive(Clone, Default)]
struct Service {
    vip: Option<Ipv4Addr>,
    /// Tasks that run and should: address → container.
    serving: BTreeMap<Ipv4Addr, String>,
    /// Tasks that run.
    running: BTreeSet<String>,
}

/// What all watchers wrote.
#[derive(Default)]
pub(super) struct Records {
    truths: Vec<Truth>,
    answers: Vec<Answer>,
    calls: Vec<Call>,
}

struct Answer {
    began: u64,
    ended: u64,
    name: String,
    code: String,
    addresses: BTreeSet<Ipv4Addr>,
}

struct Call {
    began: u64,
    ended: u64,
    name: String,
    address: Ipv4Addr,
    host: String,
}

impl Records {
    /// Adds the lines of one watcher; one that cannot be read is a defect of the watcher.
    pub(super) fn read(&mut self, text: &str) {
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let time = |at: usize| words[at].parse::<u64>().expect("a time");
            let (began, ended) = (time(1), time(2));
            match words[0] {
                "truth" => {
                    let services = services(words[3], words[4]);
                    self.truths.push(Truth { began, ended, services });
                }
                "name" => self.answers.push(Answer {
                    began,
                    ended,
                    name: words[3].to_owned(),
                    code: words[4].to_owned(),
                    addresses: words[5].split(',').flat_map(str::parse).collect(),
                }),
                _ => self.calls.push(Call {
                    began,
                    ended,
                    name: words[3].to_owned(),
                    address: words[4].parse().expect("an address"),
                    host: words[5].to_owned(),
                }),
            }
        }
    }

    /// Returns how many looks, answers and calls there are.
    pub(super) fn counts(&self) -> [usize; 3] {
        [self.truths.len(), self.answers.len(), self.calls.len()]
    }

    /// Returns how many calls were answered by a task.
    pub(super) fn answered_calls(&self) -> usize {
        self.calls.iter().filter(|call| call.host != "none").count()
    }

    /// Returns what was wrong, a line each.
    pub(super) fn wrong(&self) -> Vec<String> {
        let answers = self.answers.iter().filter_map(|answer| self.wrong_answer(answer));
        let calls = self.calls.iter().filter_map(|call| self.wrong_call(call));
        answers.chain(calls).collect()
    }

    /// Returns what was true at some time around an event, with one look more at each end: between
    /// two looks the truth is one of both. Empty if the looks do not reach that far.
    fn around(&self, began: u64, ended: u64) -> &[Truth] {
        let first = self.truths.partition_point(|truth| truth.ended + GRACE_US < began);
        let last = self.truths.partition_point(|truth| truth.began <= ended + GRACE_US);
        if first == 0 || last == self.truths.len() {
            return &[];
        }
        &self.truths[first - 1..=last]
    }

    fn wrong_answer(&self, answer: &Answer) -> Option<String> {
        let around = self.around(answer.began, answer.ended);
        let right = around.is_empty()
            || match answer.name.strip_prefix("tasks.") {
                Some(name) => right_tasks(around, name, answer),
                None => right_service(around, answer),
            };
        (!right).then(|| {
            let (name, code) = (&answer.name, &answer.code);
            format!("at {}: {name} was {code} {:?}", answer.began, answer.addresses)
        })
    }

    fn wrong_call(&self, call: &Call) -> Option<String> {
        let around = self.around(call.began, call.ended);
        let service = |truth: &Truth| truth.services.get(&call.name).cloned().unwrap_or_default();
        let mut services = around.iter().map(service);
        let right = around.is_empty()
            || if call.host == "none" {
                // Refused is right when nobody serves, or when the service is another one now.
                services.any(|s| s.serving.is_empty() || !s.answers_at(call.address))
            } else {
                services.any(|s| s.running.iter().any(|id| id.starts_with(&call.host)))
            };
        let (name, address, host) = (&call.name, call.address, &call.host);
        (!right).then(|| format!("at {}: {name} at {address} was answered by {host}", call.began))
    }
}

impl Service {
    fn answers_at(&self, address: Ipv4Addr) -> bool {
        self.vip == Some(address) || (self.vip.is_none() && self.serving.contains_key(&address))
    }
}

fn right_service(around: &[Truth], answer: &Answer) -> bool {
    let services: Vec<_> = around.iter().map(|truth| truth.services.get(&answer.name)).collect();
    let by_vip = services.iter().any(|service| match service {
        Some(Service { vip: Some(vip), .. }) => answer.addresses == BTreeSet::from([*vip]),
        // A name that is not ours may be anything but an address.
        None => answer.addresses.is_empty(),
        Some(_) => false,
    });
    let round_robin = services.iter().flatten().any(|service| service.vip.is_none());
    by_vip || (round_robin && right_tasks(around, &answer.name, answer))
}

/// Every address has served at some time around, and whoever served all the time is there.
fn right_tasks(around: &[Truth], name: &str, answer: &Answer) -> bool {
    let serving: Vec<BTreeSet<Ipv4Addr>> = around
        .iter()
        .map(|truth| truth.services.get(name))
        .map(|service| service.map(|s| s.serving.keys().copied().collect()).unwrap_or_default())
        .collect();
    let ever: BTreeSet<_> = serving.iter().flatten().copied().collect();
    let mut always = ever.clone();
    serving.iter().for_each(|now| always.retain(|address| now.contains(address)));
    answer.addresses.is_subset(&ever) && always.is_subset(&answer.addresses)
}

fn services(services: &str, tasks: &str) -> BTreeMap<String, Service> {
    let parse = |text: &str| serde_json::from_str::<Vec<Value>>(text).expect("a list");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let address = |value: &Value| -> Option<Ipv4Addr> {
        value.as_str().and_then(|text| text.split('/').next()).and_then(|ip| ip.parse().ok())
    };
    let mut all: BTreeMap<String, (String, Service)> = parse(services)
        .iter()
        .map(|service| {
            let vip = address(&service["Endpoint"]["VirtualIPs"][0]["Addr"]);
            let found = Service { vip, ..Service::default() };
            (text(&service["ID"]), (text(&service["Spec"]["Name"]), found))
        })
        .collect();
    for task in parse(tasks).iter().filter(|task| task["Status"]["State"] == "running") {
        let Some((_, service)) = all.get_mut(&text(&task["ServiceID"])) else { continue };
        let container = text(&task["Status"]["ContainerStatus"]["ContainerID"]);
        service.running.insert(container.clone());
        let at = address(&task["NetworksAttachments"][0]["Addresses"][0]);
        if let (Some(at), true) = (at, task["DesiredState"] == "running") {
            service.serving.insert(at, container);
        }
    }
    all.into_values().collect()
}
