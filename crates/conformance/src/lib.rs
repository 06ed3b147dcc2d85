//! The laws of the storage ports as tests: an adapter is right when it passes all of them.
//!
//! An adapter's test file implements [`Harness`] and says [`suite!`](crate::suite), which expands every law into a test
//! of its own. There is one list of laws, in that macro: what is added to it is run on every adapter. Differences
//! between adapters are declared by what their harness can do, never by leaving tests out.
//!
//! ```text
//! conformance::suite!(MyHarness::new());
//! ```
//!
//! One law, [`laws::model::agrees_with_the_model`], runs random sequences of operations against a naive model. It
//! prints its seed where it fails; `EVENT_REPLAY_SEED` sets it and `EVENT_REPLAY_ROUNDS` says how many rounds to run.
//!
//! Laws are written for stores of one partition, whose positions are one total order.

// This crate is nothing but tests, and a panic is a test's way to fail.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clock;
mod draft;
mod harness;
pub mod laws;
mod model;
mod walk;

pub use clock::ManualClock;
pub use draft::Draft;
pub use harness::{Bench, Faults, Harness, Storage, Stores};
pub use walk::{json_of, walk, walk_all};

/// Expands every law into a test, each on a harness of its own.
///
/// The crate that calls it needs tokio with `macros` and `rt-multi-thread`.
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
            ]
            concurrency: [
                eight_writers_take_unique_rising_positions,
                a_tailing_reader_misses_nothing_of_eight_writers,
                eight_writers_of_one_event_store_it_once,
                eight_writers_of_other_contents_leave_one_event,
            ]
            read: [
                read_returns_each_match_once_at_every_page_size,
                read_of_an_empty_store_is_one_empty_page,
                read_stops_at_its_mark,
                read_ends_while_others_append_and_trim,
                read_takes_any_limit,
                read_reports_a_damaged_event_and_serves_the_rest,
                count_equals_what_a_read_returns,
                get_returns_events_in_the_order_of_the_ids,
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
                checkpoint_names_are_unique,
                replacing_exchanges_a_checkpoint,
                a_checkpoint_is_found_by_name_before_id,
                checkpoints_are_listed_oldest_first,
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
