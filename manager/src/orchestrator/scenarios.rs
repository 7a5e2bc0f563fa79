//! Text in, text out: the orchestrator's steps from a given state, with virtual time.

use expect_test::expect_file;

use crate::world::check;

#[test]
fn replicated_services_have_their_replicas() {
    check(expect_file!["scenarios/replicated.txt"]);
}

#[test]
fn global_services_are_on_every_node_that_fits() {
    check(expect_file!["scenarios/global.txt"]);
}

#[test]
fn what_ends_is_restarted_as_the_policy_says() {
    check(expect_file!["scenarios/restart.txt"]);
}

#[test]
fn updates_replace_what_is_out_of_date() {
    check(expect_file!["scenarios/update.txt"]);
}

#[test]
fn drains_leave_no_gap_where_new_tasks_start_first() {
    check(expect_file!["scenarios/drain.txt"]);
}

#[test]
fn jobs_complete_once_in_every_place() {
    check(expect_file!["scenarios/jobs.txt"]);
}

#[test]
fn history_is_kept_as_far_as_it_is_asked_for() {
    check(expect_file!["scenarios/history.txt"]);
}
