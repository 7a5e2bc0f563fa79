//! An upgrade whose maps have other layouts, while packets flow.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use swarmnet_ebpf::program::{AttachMode, Via};

use crate::lab::{Lab, NODES, TASKS, fill_node, inside};
use crate::traffic::DEADLINE;
use crate::{expected, mesh_works, overlay_works, vias, vip_works};

/// A connection that began before the upgrade.
struct Kept(TcpStream);

impl Kept {
    fn open(lab: &Lab, from: &str, to: &str) -> Self {
        let to: SocketAddr = to.parse().unwrap();
        let stream = inside(&lab.ns(from), move || TcpStream::connect_timeout(&to, DEADLINE));
        let mut stream = stream.unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"before ").unwrap();
        Self(stream)
    }

    fn ends_asking(mut self, text: &str) -> Self {
        self.0.write_all(text.as_bytes()).unwrap();
        self.0.shutdown(Shutdown::Write).unwrap();
        self
    }

    /// Returns what the server says of the client and of what came.
    fn goes_on(self) -> String {
        self.ends_asking("after").answer()
    }

    fn answer(mut self) -> String {
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).unwrap_or_else(|error| panic!("it is cut: {error}"));
        answer
    }
}

/// Which layouts another version has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Other {
    /// Some, but not those of flows.
    Tables,
    /// Those of flows too.
    Flows,
}

/// What the first host has pinned becomes that of another version; a new one starts beside it.
fn upgrade(lab: &Lab, mode: AttachMode, other: Other) {
    let host = &lab.hosts[0];
    host.run(move |plane| {
        let pins = plane.take().expect("loaded").pins().clone();
        if other == Other::Flows {
            let flows = pins.flows();
            std::fs::rename(&flows, flows.with_file_name("flows-0123456789abcdef")).unwrap();
        }
        let root = pins.root();
        std::fs::rename(root, root.with_file_name("0123456789abcdef")).unwrap();
    });
    host.load(mode);
}

fn fill(lab: &Lab) {
    fill_node(&lab.hosts[0], 0, NODES[0]);
    for task in &TASKS {
        let host = &lab.hosts[task.host];
        let index = |kind: &str| host.ifindex(&format!("{kind}-{}", task.name));
        lab.fill_task(task, index("swo"), index("swg"));
    }
}

/// Returns whether there was another version, and how many there are now.
fn take_over(lab: &Lab) -> (bool, usize) {
    lab.hosts[0].run(|plane| {
        let plane = plane.as_ref().expect("loaded");
        let others = plane.take_over().unwrap();
        (others, std::fs::read_dir(plane.pins().root().parent().unwrap()).unwrap().count())
    })
}

#[test]
fn an_upgrade_with_other_layouts_leaves_one_set_of_programs_and_cuts_no_connection() {
    for (tag, mode, via, other) in [
        ("ux", AttachMode::Tcx, Via::Tcx, Other::Tables),
        ("uc", AttachMode::Clsact, Via::Clsact, Other::Tables),
        ("uf", AttachMode::Tcx, Via::Tcx, Other::Flows),
    ] {
        let lab = Lab::new(tag, mode);
        TASKS.iter().for_each(|task| lab.server(task.name));
        lab.serve_by(3);
        let over_the_overlay = Kept::open(&lab, "t1", "10.0.1.5:80");
        let by_this_entry = Kept::open(&lab, "c", "10.20.20.100:30000");
        lab.serve_by(1);
        let by_the_other_entry = Kept::open(&lab, "c", "10.20.20.110:30000");
        upgrade(&lab, mode, other);
        // The new tables are empty: it is the old programs that carry this.
        assert!(lab.ping("t1", "10.0.1.5"), "{mode:?}");
        lab.tcp("c", "10.20.20.110:30000", 10).unwrap();
        fill(&lab);
        lab.serve_by(3);
        assert_eq!(take_over(&lab), (true, 1), "only the new directory is left");
        assert_eq!(take_over(&lab), (false, 1));
        assert_eq!(vias(&lab), expected(via));
        assert!(over_the_overlay.goes_on().starts_with("10.0.1.3 12before after"));
        let client = "10.20.20.50 12before after";
        let told = || format!("{mode:?} {other:?}: {}", lab.hosts[0].drops());
        assert_eq!(by_this_entry.goes_on(), client, "{}", told());
        assert_eq!(by_the_other_entry.goes_on(), client, "{}", told());
        // What the backends are, only the new maps are told from now on.
        overlay_works(&lab);
        vip_works(&lab);
        mesh_works(&lab);
    }
}

#[test]
fn an_answer_that_is_under_way_arrives_after_an_upgrade_with_other_tables() {
    let lab = Lab::new("ua", AttachMode::Auto);
    TASKS.iter().for_each(|task| lab.server(task.name));
    let held = lab.hold_answers();
    let ask = |backend, from: &str, to: &str| {
        lab.serve_by(backend);
        Kept::open(&lab, from, to).ends_asking("nothing")
    };
    let asked = [
        ("a backend here", ask(1, "c", "10.20.20.100:30000")),
        ("a backend of another node", ask(3, "c", "10.20.20.100:30000")),
        ("another entry node", ask(1, "c", "10.20.20.110:30000")),
        ("a VIP", ask(3, "t1", "10.0.1.2:80")),
    ];
    upgrade(&lab, AttachMode::Auto, Other::Tables);
    fill(&lab);
    assert_eq!(take_over(&lab), (true, 1));
    drop(held);
    for (what, kept) in asked {
        let answer = kept.answer();
        assert!(answer.ends_with(" 14before nothing"), "{what}: {answer:?}");
    }
}
