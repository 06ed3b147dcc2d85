//! The laws of the storage ports as tests. An adapter is correct when it passes all of them.
//!
//! A test file of an adapter implements [`Harness`] and calls [`suite!`](crate::suite), which expands every law into a
//! separate test. That macro holds the only list of laws, so every adapter runs each new law. An adapter declares its
//! differences through the capabilities of its harness. It never omits a test.
//!
//! ```text
//! event_replay_conformance::suite!(MyHarness::new());
//! ```
//!
//! Two laws run random sequences of operations against naive models. [`laws::model::agrees_with_the_model`] covers the
//! log, and [`laws::groups_model::groups_agree_with_the_model`] covers consumer groups. A failing law prints its seed.
//! `EVENT_REPLAY_SEED` sets the seed, and `EVENT_REPLAY_ROUNDS` sets the number of rounds.
//!
//! The storage engine below these ports has separate laws. Its test file implements [`EngineHarness`] and calls
//! [`engine_suite!`](crate::engine_suite).
//!
//! # Several partitions
//! A harness states the number of partitions of its storages. A log of several partitions also has one order, by stored
//! time. Laws about order therefore store their events an instant apart. Such a log lacks the following guarantees, and
//! this list is their only definition:
//!
//! - Positions on one number line. Laws of groups, leases, commits, lanes, holds and dead letters name sequences and
//!   segments by number. These laws run on one partition among the others, by [`Bench::of_one_partition`]. Calls that
//!   cover several partitions have separate laws, in [`laws::partitions`].
//! - One atomic step for a batch of many keys. The events of one call become visible in each partition separately.
//! - Groups whose ordering key differs from the key of the events. Laws that create groups use the key of the events.

// All code of this crate is test code, and a test fails by a panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clock;
mod draft;
mod engine_harness;
pub mod engine_laws;
mod engine_suite;
mod faulty_engine;
mod groups_model;
mod harness;
pub mod laws;
mod model;
mod one_partition;
mod walk;

pub use clock::ManualClock;
pub use draft::Draft;
pub use engine_harness::{EngineBench, EngineHarness, EngineStorage};
pub use faulty_engine::{
    EngineCall, EngineFault, EngineHook, EngineRequest, FaultScript, FaultyEngine, TransactionExt,
};
pub use harness::{Bench, Faults, Harness, Storage, Stores};
pub use walk::{json_of, walk, walk_all};

/// Expands every law into a test with its own harness.
///
/// The calling crate needs tokio with the features `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! suite {
    ($harness:expr) => {
        $crate::suite! { @expand $harness;
            append: [
                append_answers_one_outcome_an_event_in_order,
                append_of_nothing_changes_nothing,
                append_is_visible_at_once_with_all_index_entries,
                append_is_readable_from_every_handle,
                append_of_the_same_content_is_already_stored,
                append_of_the_same_content_in_another_spelling_is_already_stored,
                append_of_other_content_is_a_conflict_and_changes_nothing,
                append_under_each_stores_what_it_can,
                append_is_all_or_nothing,
                append_keeps_every_byte,
                append_never_confuses_odd_names,
                append_hands_out_rising_positions,
                append_never_hands_out_a_position_twice,
                append_stamps_events_with_the_stores_clock,
                append_never_steps_back_in_stored_time,
                append_keeps_the_ordering_key,
                append_keeps_delivery_options,
            ]
            expecting: [
                an_expectation_that_holds_stores_the_batch,
                an_event_that_is_ruled_out_refuses_the_batch,
                a_repeated_conditional_append_is_already_stored,
                an_expectation_names_a_place_of_this_log,
                an_expectation_that_no_step_can_check_is_refused,
                of_eight_callers_with_one_expectation_one_succeeds,
                decisions_behind_what_was_read_are_one_sequence,
                appends_that_do_not_match_stand_in_no_ones_way,
            ]
            concurrency: [
                eight_writers_take_unique_rising_positions,
                a_tailing_reader_misses_nothing_of_eight_writers,
                eight_writers_of_one_event_store_it_once,
                eight_writers_of_other_contents_leave_one_event,
            ]
            read: [
                read_returns_each_match_once_at_every_page_size,
                a_read_forth_from_where_a_read_back_ended_gives_the_same,
                read_of_an_empty_store_is_one_empty_page,
                read_stops_at_its_mark,
                read_ends_while_others_append_and_trim,
                read_takes_any_limit,
                read_reports_a_damaged_event_and_serves_the_rest,
                count_equals_what_a_read_returns,
                get_returns_events_in_the_order_of_the_ids,
                at_returns_events_in_the_order_of_the_positions,
                at_reports_a_damaged_event_and_serves_the_rest,
                changed_answers_at_once_when_the_head_is_past,
                changed_wakes_for_appends_of_other_handles,
                changed_ends_at_its_timeout,
            ]
            cursors: [
                a_cursor_of_another_store_is_foreign,
                a_cursor_beyond_the_head_is_lost,
                a_cursor_of_an_unknown_log_epoch_is_lost,
                a_cursor_before_what_was_trimmed_goes_on_with_what_is_left,
            ]
            filters: [
                a_filter_finds_by_each_of_its_parts,
                a_filter_ands_its_parts_and_ors_their_values,
                a_filter_takes_patterns_of_types,
                a_filter_takes_thousands_of_values,
                a_time_range_includes_both_edges_to_the_nanosecond,
                a_time_range_finds_late_and_ancient_events,
                a_condition_joins_the_other_parts,
            ]
            removing: [
                trim_removes_what_its_rule_says,
                trim_takes_its_bounds_as_alternatives,
                trim_by_type_leaves_other_types_alone,
                trim_removes_every_index_entry,
                trim_keeps_what_is_held,
                trim_keeps_what_the_stores_own_checkpoints_hold,
                trims_at_once_remove_no_more_than_one,
                trim_takes_any_limit,
                trim_goes_in_bounded_steps_the_oldest_first,
                trim_as_a_dry_run_counts_and_changes_nothing,
                trim_by_an_empty_rule_removes_nothing,
                trim_refuses_marks_of_another_store,
                erase_removes_an_entity_from_every_index,
                erase_refuses_the_ids_from_then_on,
                erase_of_an_unknown_entity_changes_nothing,
                erase_says_what_still_names_the_entity,
            ]
            verifying: [
                verify_finds_nothing_in_a_healthy_store,
                verify_finds_an_event_without_an_index_entry,
                verify_finds_an_index_entry_without_an_event,
                verify_finds_damaged_bytes,
                verify_says_how_far_it_is,
                info_counts_events_and_bytes,
            ]
            checkpoints: [
                a_checkpoint_comes_back_as_it_was_saved,
                a_checkpoints_time_comes_back_to_the_nanosecond,
                checkpoint_names_are_unique,
                replacing_exchanges_a_checkpoint,
                a_checkpoint_is_found_by_name_before_id,
                checkpoints_are_listed_oldest_first,
                checkpoints_of_one_instant_are_listed_by_id,
                deleting_a_checkpoint_leaves_the_others,
            ]
            schemas: [
                a_schema_comes_back_as_it_was_put,
                putting_a_schema_replaces_that_of_its_type_and_version,
                schemas_are_listed_by_type_and_version,
                removing_a_schema_leaves_the_others,
            ]
            replays: [
                recording_raises_counts_and_sets_times,
                recording_changes_nothing_else,
                recording_passes_over_positions_that_are_gone,
                recording_counts_a_position_once_a_call,
            ]
            replay_records: [
                a_replays_record_comes_back_as_it_was_made,
                a_replay_is_made_once,
                replays_are_listed_newest_first,
                replays_without_a_runner_wait,
                a_replay_has_one_runner,
                of_eight_runners_at_once_one_has_the_replay,
                an_update_under_an_old_lease_is_fenced,
                an_update_changes_all_of_a_replay_at_once,
                steering_outlasts_steps_and_commands,
                results_come_by_batch,
                a_command_turns_a_replay_that_is_not_over,
                a_command_outlasts_the_runners_steps,
                deleting_takes_replays_that_are_over_alone,
            ]
            groups: [
                a_group_begins_at_its_cursor_with_nothing_claimed,
                a_group_that_exists_changes_nothing_but_its_types,
                a_group_refuses_another_key_or_number_of_segments,
                a_group_that_differs_is_described,
                a_group_is_made_within_its_bounds_alone,
                a_group_refuses_cursors_of_another_log,
                groups_are_listed_by_name,
                eight_makers_of_a_group_make_one,
                deleting_a_group_leaves_its_dead_letters,
                resetting_a_group_moves_every_segment_and_fences_every_lease,
                a_groups_status_counts_what_is_there,
                blocked_keys_are_listed_by_position,
            ]
            leases: [
                a_lease_gives_the_state_as_the_last_commit_left_it,
                a_good_lease_is_not_taken,
                asking_again_extends_every_lease,
                consumers_take_their_fair_share,
                more_consumers_than_segments_share_them,
                epochs_rise_however_a_lease_ends,
                leaving_frees_segments_and_changes_nothing_else,
                a_token_holds_its_leases_alone,
                consumers_are_alive_until_their_time_is_over,
                leasing_notes_when_a_group_was_seen,
                leasing_of_an_unknown_group_is_refused,
                eight_consumers_at_once_never_share_a_segment,
            ]
            commits: [
                a_commit_is_kept_whole,
                a_row_takes_the_place_of_that_of_its_key,
                a_ledger_never_confuses_odd_keys,
                a_commit_under_an_old_lease_is_fenced_and_changes_nothing,
                an_expired_lease_that_was_not_taken_still_commits,
                a_commit_that_gives_its_lease_back_frees_the_segment,
                committing_the_same_again_settles_it,
                of_two_committers_only_the_newest_is_kept,
                a_dead_letter_is_made_of_the_event_at_its_position,
                a_dead_letter_of_the_same_delivery_merges,
                a_dead_letter_needs_its_event_and_its_commit_does_not,
                a_handled_redrive_closes_its_letter_alone,
                a_redrive_that_failed_again_opens_its_letter,
            ]
            lanes: [
                enqueue_adds_batches_at_the_end_in_order,
                a_segment_takes_a_batch_of_a_replay_once,
                four_callers_at_once_add_a_batch_once,
                a_lane_grows_to_its_bound_and_no_further,
                enqueue_for_no_group_adds_nothing_of_it,
                enqueue_under_an_old_replay_lease_adds_nothing,
                a_lane_is_read_in_order_with_its_progress,
                a_lane_gives_a_batch_of_each_segment_at_any_limit,
                a_page_of_a_lane_ends_before_its_limit,
                a_batch_that_is_done_leaves_its_result,
                a_settled_batch_stays_known,
                a_batch_of_a_recreated_group_leaves_its_own_result,
                withdrawing_removes_what_was_not_handed_over,
                progress_of_a_withdrawn_batch_is_refused_alone,
                a_lane_never_confuses_odd_names,
            ]
            pending: [
                what_is_pending_is_what_a_scan_finds_unfinished,
                too_much_to_look_at_is_at_least_so_much,
            ]
            audit: [
                an_entry_of_the_audit_comes_back_as_it_was_written,
                the_audit_is_a_chain_without_gaps,
                eight_writers_make_one_chain,
                the_audit_is_read_newest_first_over_pages,
                trimming_and_erasing_leave_the_audit,
            ]
            tokens: [
                a_token_comes_back_as_it_was_added,
                an_id_or_a_name_is_not_given_twice,
                of_eight_that_add_a_name_one_does,
                a_revoked_token_is_gone_from_every_handle,
                trimming_and_erasing_leave_tokens,
            ]
            passed: [
                a_new_group_has_passed_the_events_before_its_start,
                a_reset_skips_no_event_that_a_consumer_claimed,
                a_group_has_passed_the_events_of_a_type_that_it_did_not_take,
                the_events_of_a_blocked_key_are_not_passed,
                the_passed_events_of_an_unknown_group_are_none,
            ]
            pauses: [
                a_pause_comes_back_as_it_was_put,
                a_pause_takes_the_place_of_that_of_its_source,
                resuming_ends_the_pauses_that_it_names,
                a_group_that_does_not_exist_is_not_paused,
                pauses_go_with_their_group,
            ]
            plans: [
                a_plan_comes_back_as_it_was_kept,
                a_plan_is_kept_once,
                plans_are_listed_newest_first,
                of_eight_that_change_a_plan_one_does,
                a_deleted_plan_is_gone_from_every_handle,
                trimming_and_erasing_leave_plans,
            ]
            requests: [
                of_eight_that_begin_a_request_one_does,
                an_answer_comes_back_from_every_handle,
                another_request_under_a_key_is_refused,
                a_request_without_an_answer_is_free_again,
                an_attempt_whose_lease_ended_changes_nothing,
                requests_are_forgotten_after_their_time,
                requests_with_odd_names_are_told_apart,
            ]
            deliveries: [
                deliveries_follow_cursors_and_rows,
                a_delivery_before_the_groups_place_is_skipped,
                a_delivery_names_the_dead_letter_of_its_position,
                deliveries_of_an_unknown_group_are_none,
            ]
            holding: [
                trim_keeps_what_a_group_has_not_passed,
                trim_keeps_what_a_ledger_names,
                trim_keeps_what_a_lane_refers_to,
                a_forgotten_group_holds_nothing,
                no_group_holds_beyond_the_longest_hold,
                a_gap_names_what_was_removed_before_it_was_passed,
                a_gap_grows_where_nothing_is_left_between,
                a_group_keeps_a_hundred_gaps,
                a_gap_names_what_waits_in_ledger_or_lane,
                a_trim_that_removes_nothing_unpassed_records_no_gap,
                trims_beside_commits_never_pass_a_group,
                trim_keeps_what_a_replay_needs_until_it_is_over,
                the_smallest_of_all_holds_decides,
                deliveries_go_when_every_group_has_passed_them,
                deliveries_are_read_as_history_is,
            ]
            dead_letters: [
                an_edit_is_kept_beside_the_event_of_its_letter,
                an_edit_stays_through_a_redrive_and_goes_with_its_letter,
                restoring_opens_discarded_letters_alone,
                dead_letters_are_listed_oldest_first_over_pages,
                ids_of_dead_letters_sort_as_they_were_made,
                a_page_goes_on_behind_a_letter_that_was_purged,
                dead_letters_match_every_part_of_a_query,
                dead_letters_are_found_by_id,
                a_dead_letter_keeps_every_text_and_delivery_option,
                redrive_queues_each_open_letter_once,
                redrive_takes_no_notice_of_the_lanes_bound,
                four_redrives_at_once_queue_once,
                discard_closes_with_a_reason_and_releases_a_parked_key,
                letters_of_a_deleted_group_are_discarded_and_not_redriven,
                dead_letters_are_counted_by_group_and_state,
                purging_removes_what_was_closed_before,
                the_event_of_a_dead_letter_outlives_a_trim,
                the_event_of_a_dead_letter_goes_with_its_entity,
            ]
            schedule: [
                what_is_due_is_appended_in_its_turn,
                what_is_not_due_is_not_appended,
                append_due_goes_in_bounded_steps,
                append_due_is_empty_only_when_nothing_is_due,
                what_was_scheduled_is_an_event_as_any_other,
                due_events_wake_callers_that_wait_for_the_head,
                an_id_is_scheduled_once,
                what_is_in_the_log_decides_for_an_id_that_waits,
                what_came_into_the_log_meanwhile_is_not_appended_again,
                what_was_cancelled_is_not_appended,
                the_earliest_is_listed_first,
                erase_removes_what_is_scheduled,
                four_callers_at_once_append_each_due_event_once,
                eight_callers_at_once_schedule_an_event_once,
            ]
            stats: [
                counts_and_sums_add_up,
                samples_come_in_order_from_a_minute_on,
                folding_adds_to_minute_0_and_loses_nothing,
                eight_counters_at_once_lose_nothing,
                events_are_counted_as_a_scan_counts_them,
            ]
            partitions: [
                events_of_a_key_lie_in_one_partition_in_their_order,
                pages_merge_partitions_by_when_events_were_stored,
                a_reader_behind_any_cursor_misses_nothing,
                a_batch_of_many_keys_is_all_or_nothing,
                a_group_has_segments_in_every_partition,
                shares_are_even_over_all_partitions,
                no_group_keeps_an_order_that_crosses_partitions,
                a_group_stands_at_its_cursor_in_each_partition,
                commits_to_all_partitions_are_answered_in_order,
                dead_letters_of_all_partitions_are_one_list,
                what_is_due_comes_earliest_first_from_all_partitions,
                an_old_runner_is_refused_in_every_partition,
                results_come_by_batch_from_all_partitions,
                a_group_holds_in_each_partition_what_it_has_not_passed_there,
                a_hold_counts_in_every_partition,
                an_id_that_two_partitions_hold_is_given_and_found,
            ]
            groups_model: [
                groups_agree_with_the_model,
            ]
            model: [
                agrees_with_the_model,
            ]
        }
    };
    (@expand $harness:expr; $($room:ident: [$($law:ident,)*])*) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $law() {
                let harness = $harness;
                $crate::laws::$room::$law(&harness).await;
            }
        )*)*
    };
}
