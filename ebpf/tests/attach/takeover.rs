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

    /// Returns what the server says of the client and of what came.
    fn goes_on(mut self) -> String {
        self.0.write_all(b"after").unwrap();
        self.0.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).unwrap_or_else(|error| panic!("it is cut: {error}"));
        answer
    }
}

/// What the first host has pinned becomes that of another version; a new one starts beside it.
fn upgrade(lab: &Lab, mode: AttachMode) {
    let host = &lab.hosts[0];
    host.run(|plane| {
        let root = plane.take().expect("loaded").pins().root().to_path_buf();
        std::fs::rename(&root, root.with_file_name("0123456789abcdef")).unwrap();
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

#[test]
fn an_upgrade_with_other_layouts_leaves_one_set_of_programs_and_cuts_no_connection() {
    for (tag, mode, via) in
        [("ux", AttachMode::Tcx, Via::Tcx), ("uc", AttachMode::Clsact, Via::Clsact)]
    {
        let lab = Lab::new(tag, mode);
        TASKS.iter().for_each(|task| lab.server(task.name));
        lab.serve_by(3);
        let over_the_overlay = Kept::open(&lab, "t1", "10.0.1.5:80");
        let by_this_entry = Kept::open(&lab, "c", "10.20.20.100:30000");
        lab.serve_by(1);
        let by_the_other_entry = Kept::open(&lab, "c", "10.20.20.110:30000");
        upgrade(&lab, mode);
        // The new maps are empty: it is the old programs that carry this.
        assert!(lab.ping("t1", "10.0.1.5"), "{mode:?}");
        lab.tcp("c", "10.20.20.110:30000", 10).unwrap();
        fill(&lab);
        lab.serve_by(3);
        let take_over = |plane: &mut Option<_>| {
            let plane: &swarmnet_ebpf::program::Dataplane = plane.as_ref().expect("loaded");
            let others = plane.take_over().unwrap();
            (others, std::fs::read_dir(plane.pins().root().parent().unwrap()).unwrap().count())
        };
        assert_eq!(lab.hosts[0].run(take_over), (true, 1), "only the new directory is left");
        assert_eq!(lab.hosts[0].run(take_over), (false, 1));
        assert_eq!(vias(&lab), expected(via));
        assert!(over_the_overlay.goes_on().starts_with("10.0.1.3 12before after"));
        let client = "10.20.20.50 12before after";
        assert_eq!(by_this_entry.goes_on(), client, "{mode:?}: {}", lab.hosts[0].drops());
        assert_eq!(by_the_other_entry.goes_on(), client, "{mode:?}: {}", lab.hosts[0].drops());
        // What the backends are, only the new maps are told from now on.
        overlay_works(&lab);
        vip_works(&lab);
        mesh_works(&lab);
    }
}
