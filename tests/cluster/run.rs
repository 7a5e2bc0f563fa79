//! Runs cases in two labs at once: one forms its swarm by test, both then take the next case that
//! waits, and the last cases have the machine for themselves.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Instant;

use crate::Case;
use crate::lab::Lab;

/// Runs the cases (forming, any, last) and returns how many failed.
pub(crate) fn all([forming, any, last]: &[Vec<&'static Case>; 3]) -> usize {
    if forming.len() + any.len() + last.len() == 0 {
        return 0;
    }
    let waiting = Mutex::new(any.iter().copied().collect());
    let lab = Lab::start("cluster", &[]);
    let failed = std::thread::scope(|scope| {
        let second = (any.len() > 1).then(|| {
            let thread = std::thread::Builder::new().name("second lab".into());
            thread.spawn_scoped(scope, || beside(&waiting)).expect("a thread can be started")
        });
        let own = each(&lab, &mut forming.iter().copied()) + each(&lab, &mut next(&waiting));
        own + second.map_or(0, |thread| thread.join().expect("cases' panics are caught"))
    });
    let failed = failed + each(&lab, &mut last.iter().copied());
    lab.stop();
    failed
}

fn beside(waiting: &Mutex<VecDeque<&'static Case>>) -> usize {
    let lab = Lab::start("cluster2", &[]);
    let failed = each(&lab, &mut next(waiting));
    lab.stop();
    failed
}

fn next(waiting: &Mutex<VecDeque<&'static Case>>) -> impl Iterator<Item = &'static Case> {
    std::iter::from_fn(|| waiting.lock().expect("nobody panics with it").pop_front())
}

/// Runs cases in a lab, one after the other; returns how many failed.
fn each(lab: &Lab, cases: &mut dyn Iterator<Item = &'static Case>) -> usize {
    cases.filter(|(name, case)| !passes(lab, name, *case)).count()
}

fn passes(lab: &Lab, name: &str, case: fn(&Lab)) -> bool {
    let started = Instant::now();
    let passed = catch_unwind(AssertUnwindSafe(|| case(lab))).is_ok();
    let result = if passed { "ok" } else { "FAILED" };
    println!("test {name} ... {result} ({:.1} s, {})", started.elapsed().as_secs_f32(), lab.name());
    if !passed {
        lab.show_logs();
    }
    lab.remove_all_services();
    passed
}
