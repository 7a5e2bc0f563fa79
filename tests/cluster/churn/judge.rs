//! Pure: was every answer right at its time? A moment's grace covers the way of a change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde_json::Value;

/// How long after a change an answer may still be, and how long before it already be, the other one.
const GRACE_US: u64 = 500_000;
/// Answers are judged with less grace first: what they needed is told.
const STEP_US: u64 = 50_000;
/// Grace up to which the lateness of a wrong answer is looked for.
const LATEST_US: u64 = 5_000_000;

/// States on the way to running.
const COMING: [&str; 6] = ["assigned", "accepted", "preparing", "ready", "starting", "pending"];

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
    /// Tasks that should run and do not yet: address → container, if there is one.
    coming: BTreeMap<Ipv4Addr, String>,
}

/// What all watchers wrote.
#[derive(Default)]
pub(super) struct Records {
    truths: Vec<Truth>,
    answers: Vec<Answer>,
    calls: Vec<Call>,
}

struct Answer {
    host: String,
    began: u64,
    ended: u64,
    name: String,
    code: String,
    addresses: BTreeSet<Ipv4Addr>,
}

struct Call {
    from: String,
    began: u64,
    ended: u64,
    name: String,
    address: Ipv4Addr,
    host: String,
}

impl Records {
    /// Adds the lines of the watcher on `host`; one that cannot be read is a defect of the watcher.
    pub(super) fn read(&mut self, host: &str, text: &str) {
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
                    host: host.to_owned(),
                    began,
                    ended,
                    name: words[3].to_owned(),
                    code: words[4].to_owned(),
                    addresses: words[5].split(',').flat_map(str::parse).collect(),
                }),
                _ => self.calls.push(Call {
                    from: host.to_owned(),
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

    /// Returns what was wrong, a line each, and how many microseconds of grace the others needed.
    pub(super) fn wrong(&self) -> (Vec<String>, u64) {
        let (mut wrong, mut latest) = (Vec::new(), 0);
        let mut judge = |grace: u64, show: &dyn Fn() -> String| {
            if grace > GRACE_US {
                wrong.push(show());
            } else {
                latest = latest.max(grace);
            }
        };
        for answer in &self.answers {
            let grace = grace_needed(|grace| self.is_answer_right(answer, grace));
            judge(grace, &|| self.show_answer(answer, grace));
        }
        for call in &self.calls {
            let grace = grace_needed(|grace| self.is_call_right(call, grace));
            judge(grace, &|| show_call(call, grace));
        }
        (wrong, latest)
    }

    /// Returns what was true at some time around an event, with one look more at each end: between
    /// two looks the truth is one of both. Empty if the looks do not reach that far.
    fn around(&self, began: u64, ended: u64, grace: u64) -> &[Truth] {
        let first = self.truths.partition_point(|truth| truth.ended + grace < began);
        let last = self.truths.partition_point(|truth| truth.began <= ended + grace);
        if first == 0 || last == self.truths.len() {
            return &[];
        }
        &self.truths[first - 1..=last]
    }

    fn is_answer_right(&self, answer: &Answer, grace: u64) -> bool {
        let around = self.around(answer.began, answer.ended, grace);
        around.is_empty()
            || match answer.name.strip_prefix("tasks.") {
                Some(name) => right_tasks(around, name, answer),
                None => right_service(around, answer),
            }
    }

    fn is_call_right(&self, call: &Call, grace: u64) -> bool {
        let around = self.around(call.began, call.ended, grace);
        let service = |truth: &Truth| truth.services.get(&call.name).cloned().unwrap_or_default();
        let mut services = around.iter().map(service);
        around.is_empty()
            || if call.host == "none" {
                // Refused is right when nobody serves, or when the service is another one now, and
                // by a task that has only just begun: a container that runs may not listen yet.
                let before = around.first().map(service).unwrap_or_default().serving;
                services.any(|s| {
                    let begun = s.serving.values().any(|id| !before.values().any(|it| it == id));
                    begun || s.serving.is_empty() || !s.answers_at(call.address)
                })
            } else {
                let is_it = |id: &String| id.starts_with(&call.host);
                services.any(|s| s.running.iter().any(is_it))
                    || served_between(around, &call.name).values().any(is_it)
            }
    }

    fn show_answer(&self, answer: &Answer, grace: u64) -> String {
        let Answer { host, began, ended, name, code, addresses } = answer;
        let service = name.strip_prefix("tasks.").unwrap_or(name);
        let around = self.around(*began, *ended, GRACE_US).iter();
        let mut serving: Vec<_> = around
            .map(|truth| truth.services.get(service).map(|s| s.serving.keys().collect::<Vec<_>>()))
            .collect();
        serving.dedup();
        let (took, late) = ((ended - began) / 1_000, late(grace));
        format!(
            "at {began} on {host}: {name} was {code} {addresses:?} in {took} ms, {late}, while these \
             served: {serving:?}"
        )
    }
}

fn show_call(call: &Call, grace: u64) -> String {
    let Call { from, began, ended, name, address, host } = call;
    let (took, late) = ((ended - began) / 1_000, late(grace));
    format!("at {began} on {from}: {name} at {address} was answered by {host} in {took} ms, {late}")
}

fn late(grace: u64) -> String {
    if grace > LATEST_US { "never right".to_owned() } else { format!("{} ms off", grace / 1_000) }
}

/// Returns the least grace with which something is right, in steps; more than any if it never is.
fn grace_needed(is_right: impl Fn(u64) -> bool) -> u64 {
    let mut graces = (0..=LATEST_US / STEP_US).map(|step| step * STEP_US);
    graces.find(|grace| is_right(*grace)).unwrap_or(u64::MAX)
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
    let mut ever: BTreeSet<_> = serving.iter().flatten().copied().collect();
    let mut always = ever.clone();
    serving.iter().for_each(|now| always.retain(|address| now.contains(address)));
    ever.extend(served_between(around, name).into_keys());
    answer.addresses.is_subset(&ever) && always.is_subset(&answer.addresses)
}

/// Returns tasks that two looks may have missed: in one they were about to run, in the next they were
/// not any more, and perhaps already told to stop.
fn served_between(around: &[Truth], name: &str) -> BTreeMap<Ipv4Addr, String> {
    let coming = |truth: &Truth| -> BTreeMap<Ipv4Addr, String> {
        truth.services.get(name).map(|service| service.coming.clone()).unwrap_or_default()
    };
    let mut between = BTreeMap::new();
    for pair in around.windows(2) {
        let after = coming(&pair[1]);
        between.extend(coming(&pair[0]).into_iter().filter(|(at, _)| !after.contains_key(at)));
    }
    between
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
    for task in &parse(tasks) {
        let Some((_, service)) = all.get_mut(&text(&task["ServiceID"])) else { continue };
        let container = text(&task["Status"]["ContainerStatus"]["ContainerID"]);
        let state = text(&task["Status"]["State"]);
        let runs = state == "running";
        if runs {
            service.running.insert(container.clone());
        }
        let at = address(&task["NetworksAttachments"][0]["Addresses"][0]);
        let at = at.filter(|_| task["DesiredState"] == "running");
        match at {
            Some(at) if runs => service.serving.insert(at, container),
            Some(at) if COMING.contains(&state.as_str()) => service.coming.insert(at, container),
            _ => None,
        };
    }
    all.into_values().collect()
}
