//! What users are promised, tried on a real cluster: the stock docker CLI, real Docker Engines, the
//! real data path. Needs root; makes its own lab and removes it.
//!
//! Two labs share the cases (`run.rs`): most of a case's time is waiting for containers. A case finds
//! a formed swarm or forms it, and leaves no service behind. A word on the command line selects the
//! cases whose name contains it. With `KEEP=1` the labs stay up; with `LAB_SUFFIX=x` their names end in
//! `-x`, so that two runs do not disturb each other.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that runs commands")]

mod attach;
mod bad_input;
mod bad_specs;
mod churn;
mod connectivity;
mod egress;
mod engine;
mod events;
mod fallback;
mod form;
mod frames;
mod global;
mod guard;
mod jobs;
mod logs;
mod mesh;
mod mtu;
mod names;
mod names_client;
mod networks;
mod nodes;
mod observe;
mod overlay;
mod own_networks;
mod registry;
mod restart;
mod run;
mod schedule;
mod service;
mod specs;
mod stacks;
mod states;
mod survive;
mod update_flags;
mod updates;
mod vip;
mod vip_client;

use std::process::ExitCode;

use swarmnet_tests::harness::lab::{self, Lab};

type Case = (&'static str, fn(&Lab));

/// In this order, in a lab that has no swarm yet.
const FORMING: &[Case] = &[
    ("a_node_outside_a_swarm_says_so", form::a_node_outside_a_swarm_says_so),
    ("networks_come_from_the_clusters_pools", networks::come_from_the_clusters_pools),
    ("init_and_join_print_dockers_texts", form::init_and_join_print_dockers_texts),
    ("nodes_are_listed_as_docker_lists_them", form::nodes_are_listed_as_docker_lists_them),
    ("a_new_swarm_warns_of_nothing", form::a_new_swarm_warns_of_nothing),
];

/// In any order, in any lab.
const CASES: &[Case] = &[
    ("wrong_tokens_are_refused", form::wrong_tokens_are_refused),
    ("a_worker_refuses_manager_commands", form::a_worker_refuses_manager_commands),
    ("a_service_is_created_listed_and_removed", service::is_created_listed_and_removed),
    ("a_published_port_answers_everywhere", service::a_published_port_answers_everywhere),
    ("scaling_spreads_tasks_over_nodes", service::scaling_spreads_tasks_over_nodes),
    ("schedule_constraints_choose_nodes", schedule::constraints_choose_nodes),
    ("schedule_a_changed_label_moves_tasks", schedule::a_changed_label_moves_tasks),
    ("schedule_what_is_used_up_is_told", schedule::what_is_used_up_is_told),
    ("schedule_preferences_spread_tasks", schedule::preferences_spread_tasks),
    ("an_image_is_pulled_from_a_registry", service::an_image_is_pulled_from_a_registry),
    ("images_of_a_registry_with_a_password", registry::with_a_password),
    ("a_rollback_restores_the_previous_spec", service::a_rollback_restores_the_previous_spec),
    ("every_update_flag_changes_what_it_names", update_flags::every_one_changes_what_it_names),
    ("seven_specs_reach_their_containers", specs::seven_reach_their_containers),
    ("both_docker_clis_work", service::both_docker_clis_work),
    ("the_client_address_survives_the_mesh", mesh::the_client_address_survives),
    ("a_host_port_without_a_number_gets_one", mesh::a_host_port_without_a_number_gets_one),
    ("udp_is_answered_through_the_mesh", mesh::udp_is_answered),
    ("hosts_reach_ports_by_every_name", mesh::hosts_reach_ports_by_every_name),
    ("large_answers_pass_the_tunnel", mesh::large_answers_pass),
    ("tasks_and_local_containers_are_apart", egress::tasks_and_local_containers_are_apart),
    (
        "a_service_on_the_host_network_listens_on_its_nodes",
        own_networks::a_service_on_the_host_network_listens_on_its_nodes,
    ),
    ("a_stack_uses_the_host_network", own_networks::a_stack_uses_the_host_network),
    (
        "what_cannot_be_on_the_host_network_is_refused",
        own_networks::what_cannot_be_on_the_host_network_is_refused,
    ),
    (
        "a_task_that_asks_for_no_network_is_on_the_bridge",
        own_networks::a_task_that_asks_for_no_network_is_on_the_bridge,
    ),
    ("internal_networks_have_no_way_out", egress::internal_networks_have_no_way_out),
    ("tasks_reach_the_outside_by_their_node", egress::tasks_reach_the_outside_by_their_node),
    ("flushed_firewalls_disturb_nothing", mesh::flushed_firewalls_disturb_nothing),
    ("an_unpublished_port_ends_its_connections", mesh::an_unpublished_port_ends_its_connections),
    ("scaling_down_loses_no_request", mesh::scaling_down_loses_no_request),
    ("tasks_talk_over_an_overlay", overlay::tasks_talk_over_an_overlay),
    ("ipsec_policies_are_asked_about_overlay_frames", overlay::ipsec_policies_are_asked),
    ("tasks_reach_a_vip", overlay::tasks_reach_a_vip),
    ("a_vip_is_reached_from_every_node_and_by_itself", vip::is_reached_from_everywhere),
    ("a_vip_without_backends_refuses_at_once", vip::without_backends_refuses_at_once),
    ("a_service_may_be_on_several_networks", vip::on_several_networks),
    ("a_task_may_be_on_more_networks_than_sockets_know", vip::on_many_networks),
    ("a_dnsrr_service_has_no_vip", vip::a_dnsrr_service_has_none),
    ("udp_moves_to_a_living_backend", vip::udp_moves_to_a_living_backend),
    ("connections_outlive_changes_around_them", vip::connections_outlive_changes),
    ("a_rolling_update_loses_no_request", vip::a_rolling_update_loses_no_request),
    ("updates_with_health_checks_lose_no_request", updates::with_health_checks_lose_no_request),
    ("updates_wait_until_a_task_is_healthy", updates::wait_until_a_task_is_healthy),
    ("updates_pause_or_roll_back_on_failure", updates::pause_or_roll_back_on_failure),
    ("updates_have_a_deadline", updates::have_a_deadline),
    ("updates_say_for_what_they_wait", updates::say_for_what_they_wait),
    ("updates_stop_first_where_a_host_port_is_held", updates::stop_first_where_a_host_port_is_held),
    ("nodes_drain_without_a_lost_request", nodes::drain_without_a_lost_request),
    ("nodes_change_their_role_in_place", nodes::change_their_role_in_place),
    ("nodes_are_removed", nodes::are_removed),
    ("plain_containers_meet_across_nodes", attach::plain_containers_meet_across_nodes),
    (
        "plain_containers_are_refused_in_dockers_words",
        attach::plain_containers_are_refused_in_dockers_words,
    ),
    ("plain_containers_keep_their_address", attach::plain_containers_keep_their_address),
    ("plain_containers_connect_and_disconnect", attach::plain_containers_connect_and_disconnect),
    ("networks_are_listed_where_their_tasks_are", networks::are_listed_where_their_tasks_are),
    ("networks_keep_what_they_were_made_with", networks::keep_what_they_were_made_with),
    ("networks_in_use_stay_and_name_their_users", networks::in_use_stay_and_name_their_users),
    ("networks_tell_their_tasks_when_full", networks::tell_their_tasks_when_they_are_full),
    ("networks_of_a_service_can_change", networks::of_a_service_can_change),
    ("networks_of_the_mesh_can_be_replaced", networks::of_the_mesh_can_be_replaced),
    ("networks_may_have_the_underlays_subnet", networks::may_have_the_underlays_subnet),
    ("networks_can_be_filtered_and_pruned", networks::can_be_filtered_and_pruned),
    ("bad_network_requests_get_dockers_answers", networks::wrong_requests),
    ("foreign_tunnel_packets_are_counted", guard::foreign_tunnel_packets_are_counted),
    ("a_task_can_only_speak_for_itself", guard::a_task_can_only_speak_for_itself),
    ("rogue_frames_of_a_task_reach_nobody", guard::rogue_frames_of_a_task_reach_nobody),
    ("the_connectivity_test_names_the_hop", connectivity::names_the_hop),
    ("new_tasks_fit_the_narrowest_route", mtu::new_tasks_fit_the_narrowest_route),
    ("services_and_tasks_are_found_by_name", names::services_and_tasks_are_found_by_name),
    ("other_names_are_asked_of_the_upstream", names::other_names_are_asked_of_the_upstream),
    ("names_are_answered_while_daemons_restart", names::names_are_answered_while_daemons_restart),
    (
        "the_engines_resolver_answers_without_tracking_of_connections",
        names::the_engines_resolver_answers_without_tracking_of_connections,
    ),
    ("stacks_are_deployed_and_updated", stacks::are_deployed_and_updated),
    ("stacks_come_and_go_without_a_pause", stacks::come_and_go_without_a_pause),
    ("logs_come_from_all_nodes", logs::come_from_all_nodes),
    ("logs_are_followed_with_new_tasks", logs::are_followed_with_new_tasks),
    ("logs_of_jobs_and_of_tasks_that_begin_again", logs::of_jobs_and_of_tasks_that_begin_again),
    ("logs_tell_of_a_node_that_is_away", logs::tell_of_a_node_that_is_away),
    (
        "logs_of_terminals_and_unreadable_drivers",
        logs::of_terminals_and_of_drivers_that_cannot_be_read,
    ),
    ("logs_wait_for_slow_readers", logs::wait_for_slow_readers),
    ("events_tell_what_happens_to_the_cluster", events::tell_what_happens_to_the_cluster),
    ("events_are_followed_as_they_come", events::are_followed_as_they_come),
    ("local_commands_go_to_the_engine", engine::local_commands_go_to_the_engine),
    ("exec_logs_and_build_pass_through", engine::exec_logs_and_build_pass_through),
    ("an_engine_that_comes_back_is_picked_up", engine::one_that_comes_back_is_picked_up),
    ("an_engine_in_its_own_swarm_is_refused", engine::one_in_its_own_swarm_is_refused),
    ("a_replicated_job_ends", jobs::a_replicated_job_ends),
    ("a_global_job_ends_on_every_node", jobs::a_global_job_ends_on_every_node),
    ("a_failing_job_is_tried_again", jobs::a_failing_job_is_tried_again),
    ("bad_jobs_are_refused", jobs::bad_jobs_are_refused),
    ("a_container_removed_by_hand_is_replaced", restart::a_container_removed_by_hand_is_replaced),
    ("restart_policies_are_kept", restart::restart_policies_are_kept),
    ("task_history_is_limited", restart::history_is_limited),
    ("states_of_tasks_on_their_way_are_shown", states::of_tasks_on_their_way_are_shown),
    ("states_of_ended_tasks_are_shown", states::of_ended_tasks_are_shown),
    ("states_of_a_removed_nodes_tasks_are_shown", states::of_a_removed_nodes_tasks_are_shown),
    ("global_services_follow_what_becomes_of_nodes", global::follows_what_becomes_of_the_nodes),
    ("global_services_are_on_a_new_node_at_once", global::is_on_a_new_node_at_once),
    ("bad_service_requests_get_dockers_answers", bad_input::service_requests),
    ("bad_fields_of_a_spec_are_named", bad_specs::every_field_is_named),
    ("bad_versions_and_bodies_change_nothing", bad_specs::versions_and_bodies),
    ("an_unknown_image_is_rejected_and_retried", bad_input::an_unknown_image),
    ("a_daemon_that_cannot_work_says_why", bad_input::a_daemon_that_cannot_work),
    ("debug_commands_name_what_they_show", observe::debug_commands),
    ("a_killed_daemon_loses_no_request", survive::a_killed_daemon_loses_no_request),
    (
        "an_upgrade_with_other_layouts_cuts_nothing",
        survive::an_upgrade_with_other_layouts_cuts_nothing,
    ),
    ("a_restarted_manager_keeps_its_state", survive::a_restarted_manager_keeps_its_state),
];

/// In this order, with the machine for themselves: the first judges times, the others take the lab
/// apart.
const LAST: &[Case] = &[
    ("no_answer_is_wrong_under_churn", churn::every_answer_is_right),
    ("leaving_removes_everything", form::leaving_removes_everything),
    ("the_mesh_works_on_clsact", fallback::the_mesh_works_on_clsact),
];

fn main() -> ExitCode {
    // This program starts itself inside hosts and tasks of the lab, to look and to send from there.
    let own: Vec<String> = std::env::args().skip(1).collect();
    match own.split_first() {
        Some((first, rest)) if first == frames::VERB => return frames::send_all(rest),
        Some((first, rest)) if first == names_client::ASK => return names_client::ask_once(rest),
        Some((first, _)) if first == names_client::SERVE => return names_client::serve(),
        Some((first, rest)) if first == "probe" => return churn::probe(rest),
        _ => {}
    }
    let selected = [FORMING, CASES, LAST].map(chosen);
    if std::env::args().any(|a| a == "--list") {
        selected.iter().flatten().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let count = selected.iter().map(Vec::len).sum::<usize>();
    println!("\nrunning {count} tests");
    let failed = run::all(&selected);
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {result}. {} passed; {failed} failed; 0 ignored\n", count - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns the cases that the words of the command line choose.
fn chosen(cases: &'static [Case]) -> Vec<&'static Case> {
    let words: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted =
        |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    cases.iter().filter(|(name, _)| wanted(name)).collect()
}
