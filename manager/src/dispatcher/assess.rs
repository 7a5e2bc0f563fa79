//! Pure: what the findings of all nodes mean: for each way from node to node, whether it carries
//! full frames, and if not, where they get lost and what to do.

use std::collections::{BTreeMap, BTreeSet};

use swarmnet_model::connectivity::{
    Connectivity, Findings, NodeTested, PathFound, PathTested, Problem,
};
use swarmnet_model::defaults::DATA_PATH_PORT;
use swarmnet_model::{Node, NodeId, NodeState, Tables};

/// Bytes the tunnel adds to a packet of a task.
const VXLAN_OVERHEAD: u32 = 50;

/// Who is in the cluster, and who was asked.
pub(super) struct Asked<'a> {
    pub(super) tables: &'a Tables,
    pub(super) told: &'a BTreeSet<NodeId>,
}

/// Makes the result of what the nodes have found.
pub(super) fn assess(asked: &Asked<'_>, found: &BTreeMap<NodeId, Findings>) -> Connectivity {
    let nodes: Vec<_> =
        asked.tables.nodes.values().map(|node| tested(asked, node, found)).collect();
    let cluster = asked.tables.cluster.as_ref();
    let port = cluster.map_or(DATA_PATH_PORT, |cluster| cluster.data_path_port);
    let mut paths = Vec::new();
    for from in &nodes {
        let Some(findings) = found.get(&from.id).filter(|f| f.problem.is_none()) else { continue };
        let others = nodes.iter().filter(|to| to.id != from.id && is_up(asked, &to.id));
        paths.extend(others.map(|to| path(&Way { from, to, port }, findings, found)));
    }
    Connectivity { nodes, paths }
}

fn is_up(asked: &Asked<'_>, id: &NodeId) -> bool {
    asked.tables.nodes.get(id).is_some_and(|node| node.status.state == NodeState::Ready)
}

fn tested(asked: &Asked<'_>, node: &Node, found: &BTreeMap<NodeId, Findings>) -> NodeTested {
    let hostname = node.description.as_ref().map(|d| d.hostname.clone()).unwrap_or_default();
    let hostname = if hostname.is_empty() { node.id.to_string() } else { hostname };
    let problem = |what: String, fix: &str| {
        let hop = hostname.clone();
        Some(Problem { hop, what, fix: fix.to_owned() })
    };
    let problem = match found.get(&node.id) {
        Some(findings) => findings.problem.clone().and_then(|text| {
            problem(format!("could not test: {text}"), "see the daemon's log on that node")
        }),
        None if node.status.state != NodeState::Ready => problem(
            format!("not tested: the node is {}", node.status.state.as_str()),
            "start it and its daemon, or remove it with `docker node rm`",
        ),
        None if !asked.told.contains(&node.id) => problem(
            "not tested: it has no session with the managers now".to_owned(),
            "is its daemon running, and does it reach the managers?",
        ),
        None => problem(
            "did not tell in time what it found".to_owned(),
            "see the daemon's log on that node",
        ),
    };
    NodeTested { id: node.id.clone(), hostname, addr: node.status.addr, problem }
}

struct Way<'a> {
    from: &'a NodeTested,
    to: &'a NodeTested,
    port: u16,
}

fn path(way: &Way<'_>, findings: &Findings, all: &BTreeMap<NodeId, Findings>) -> PathTested {
    let found = findings.paths.iter().find(|path| path.to == way.to.id);
    let problem = match found {
        Some(found) => way.problem(found, findings.mtu, all),
        None => Some(way.at(
            "was not tested in time".to_owned(),
            "run the test again; a node that has just joined is known everywhere soon".to_owned(),
        )),
    };
    PathTested {
        from: way.from.hostname.clone(),
        to: way.to.hostname.clone(),
        sent: found.map_or(0, |path| path.sent),
        answered: found.map_or(0, |path| path.answered),
        round_trip_us: found.and_then(|path| path.round_trip_us),
        mtu: findings.mtu,
        largest: found.map_or(0, |path| path.largest),
        problem,
    }
}

impl Way<'_> {
    fn at(&self, what: String, fix: String) -> Problem {
        Problem { hop: format!("{} → {}", self.from.hostname, self.to.hostname), what, fix }
    }

    fn back(&self) -> Way<'_> {
        Way { from: self.to, to: self.from, port: self.port }
    }

    fn problem(
        &self,
        found: &PathFound,
        mtu: u32,
        all: &BTreeMap<NodeId, Findings>,
    ) -> Option<Problem> {
        if found.answered == 0 {
            return Some(self.silence(found, all));
        }
        if found.largest < mtu {
            return Some(self.too_narrow(found, mtu));
        }
        if !found.whole {
            let what = "answers of full size do not come back".to_owned();
            return Some(self.back().at(what, "see the way back, and its MTU".to_owned()));
        }
        (found.answered < found.sent).then(|| self.lossy(found))
    }

    /// Nothing came back: was it the way there, or the way back?
    fn silence(&self, found: &PathFound, all: &BTreeMap<NodeId, Findings>) -> Problem {
        let (from, to, port) = (self.from, self.to, self.port);
        if let Some(refusal) = &found.refused {
            let what = format!("{} refuses to send to {}: {refusal}", from.hostname, to.addr);
            return self.at(what, self.remedy_of_refusal());
        }
        let seen_by_other = all.get(&to.id).and_then(|findings| {
            findings.paths.iter().find(|path| path.to == from.id).map(|path| path.heard)
        });
        let blocked = |way: &Way<'_>| {
            let (from, to) = (way.from, way.to);
            let fix = format!(
                "let {port}/udp pass from {} to {}: host firewalls, security groups, routes",
                from.addr, to.addr
            );
            (format!("nothing of {} arrives at {}", from.hostname, to.hostname), fix)
        };
        if seen_by_other == Some(true) {
            let back = self.back();
            let (what, fix) = blocked(&back);
            return back.at(what, fix);
        }
        let (what, fix) = blocked(self);
        self.at(what, fix)
    }

    fn remedy_of_refusal(&self) -> String {
        let (addr, port) = (self.to.addr, self.port);
        format!(
            "is the daemon running there, is {port}/udp rejected on the way, has {addr} a route?"
        )
    }

    fn too_narrow(&self, found: &PathFound, mtu: u32) -> Problem {
        let (carried, needed) = (found.largest + VXLAN_OVERHEAD, mtu + VXLAN_OVERHEAD);
        let outcome = match found.whole {
            true => "larger ones travel in fragments, which is slow",
            false => "larger ones are lost",
        };
        let what = format!(
            "the underlay carries only {carried} bytes, full frames need {needed}: {outcome}"
        );
        let fix = format!(
            "raise the MTU on the way to {needed}, or tell {} with `ip route … mtu {carried}`, or \
             make networks with `-o com.docker.network.driver.mtu={}`",
            self.from.hostname, found.largest
        );
        self.at(what, fix)
    }

    fn lossy(&self, found: &PathFound) -> Problem {
        let lost = found.sent.saturating_sub(found.answered);
        let what = format!("{lost} of {} frames were lost there or on the way back", found.sent);
        self.at(what, "look for a bad link, an overloaded host or a rate limit".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    const MTU: u32 = 1_450;

    fn good(to: &str) -> PathFound {
        PathFound {
            to: NodeId::from_text(to),
            refused: None,
            sent: 10,
            answered: 10,
            round_trip_us: Some(90),
            heard: true,
            largest: MTU,
            whole: true,
        }
    }

    fn silent(to: &str, heard: bool) -> PathFound {
        let round_trip_us = None;
        PathFound { answered: 0, largest: 0, whole: false, heard, round_trip_us, ..good(to) }
    }

    /// Two nodes with a session, and what each has found on the way to the other.
    fn result(of_a: PathFound, of_b: PathFound) -> Connectivity {
        let world = World::given("node a\nnode b");
        let findings = |path| Findings { mtu: MTU, paths: vec![path], ..Findings::default() };
        let (a, b) = (NodeId::from_text("a"), NodeId::from_text("b"));
        let told = [a.clone(), b.clone()].into();
        let found = [(a, findings(of_a)), (b, findings(of_b))].into();
        assess(&Asked { tables: &world.tables, told: &told }, &found)
    }

    fn problems(result: &Connectivity) -> Vec<String> {
        let problems = result.paths.iter().filter_map(|path| path.problem.as_ref());
        problems.map(|problem| format!("{}: {}", problem.hop, problem.what)).collect()
    }

    #[test]
    fn a_way_that_carries_everything_is_good() {
        let result = result(good("b"), good("a"));
        assert!(result.is_good());
        assert_eq!(result.paths.len(), 2);
    }

    #[test]
    fn silence_is_the_way_on_which_nothing_arrives() {
        let both = result(silent("b", false), silent("a", false));
        assert!(!both.is_good());
        let texts = ["a → b: nothing of a arrives at b", "b → a: nothing of b arrives at a"];
        assert_eq!(problems(&both), texts);
        let back = result(silent("b", true), silent("a", false));
        assert_eq!(problems(&back), [texts[0], texts[0]], "a hears b: its answers are lost");
        let fix = &back.paths[0].problem.as_ref().unwrap().fix;
        assert!(fix.contains("4789/udp"), "{fix}");
    }

    #[test]
    fn a_refusal_is_told_as_the_system_said_it() {
        let refused = Some("connection refused".to_owned());
        let result = result(PathFound { refused, ..silent("b", false) }, silent("a", false));
        assert!(problems(&result)[0].contains("connection refused"));
    }

    #[test]
    fn a_narrow_way_is_named_with_what_it_carries() {
        let narrow = |whole| PathFound { largest: 1_350, whole, ..good("b") };
        let lost = result(narrow(false), good("a"));
        assert_eq!(
            problems(&lost),
            [
                "a → b: the underlay carries only 1400 bytes, full frames need 1500: larger ones are \
              lost"
            ]
        );
        let pieces = result(narrow(true), good("a"));
        assert!(problems(&pieces)[0].ends_with("in fragments, which is slow"));
        assert!(pieces.paths[0].problem.as_ref().unwrap().fix.contains("driver.mtu=1350"));
    }

    #[test]
    fn lost_frames_are_counted() {
        let result = result(PathFound { answered: 7, ..good("b") }, good("a"));
        assert!(problems(&result)[0].contains("3 of 10 frames"));
    }

    #[test]
    fn a_node_that_says_nothing_is_named_with_the_reason() {
        let world = World::given("node a\nnode b down\nnode c\nnode d");
        let told = [NodeId::from_text("a"), NodeId::from_text("c")].into();
        let findings = Findings { mtu: MTU, ..Findings::default() };
        let found = [(NodeId::from_text("a"), findings)].into();
        let result = assess(&Asked { tables: &world.tables, told: &told }, &found);
        let told: Vec<_> =
            result.nodes.iter().map(|n| n.problem.as_ref().map(|p| &*p.what)).collect();
        let late = Some("did not tell in time what it found");
        let away = Some("not tested: it has no session with the managers now");
        assert_eq!(told, [None, Some("not tested: the node is down"), late, away]);
        let ways: Vec<_> = result.paths.iter().map(|p| (&*p.from, &*p.to)).collect();
        assert_eq!(ways, [("a", "c"), ("a", "d")], "nobody is blamed for a node that is down");
        assert!(!result.is_good());
    }
}
