//! The list of the engine's laws.

/// Expands every law of the storage engine into a test with its own harness.
///
/// The calling crate needs tokio with the features `macros` and `rt-multi-thread`.
///
/// ```text
/// event_replay_conformance::engine_suite!(MyEngineHarness::new());
/// ```
#[macro_export]
macro_rules! engine_suite {
    ($harness:expr) => {
        $crate::engine_suite! { @expand $harness;
            appending: [
                append_stores_a_batch_whole_and_performs_its_transaction,
                append_whose_guard_does_not_hold_changes_nothing,
                append_performs_its_transaction_where_nothing_is_new,
                append_answers_repeats_within_a_batch,
                append_answers_repeats_of_what_is_stored,
                append_stores_nothing_of_a_refused_whole,
                append_keeps_what_an_event_carries,
                sequences_rise_and_are_unique_under_eight_writers,
                sequences_are_not_given_again_after_a_removal,
                stored_times_never_fall,
                an_append_survives_the_last_handle,
            ]
            reading: [
                scan_gives_each_match_once_at_every_page_size,
                scan_keeps_to_its_bounds,
                scan_ends_a_page_at_its_bytes,
                scan_tells_the_state_of_the_partition,
                scan_misses_nothing_that_its_state_counts,
                scan_gives_damaged_events_as_damaged,
                at_answers_each_sequence_in_order,
                locate_tells_stored_from_erased_and_unknown,
                count_equals_what_scans_give,
                changed_returns_at_once_where_the_head_is_past,
                changed_wakes_for_appends_of_other_handles,
                changed_ends_at_its_timeout,
            ]
            removing: [
                remove_takes_events_from_the_log_and_every_index,
                remove_performs_its_transaction,
                remove_whose_guard_does_not_hold_changes_nothing,
                remove_passes_over_what_is_gone,
                erased_ids_are_refused,
                verify_finds_nothing_in_a_healthy_log,
                verify_finds_an_event_without_its_index_entry,
                verify_finds_an_index_entry_without_its_event,
                verify_finds_bytes_that_are_damaged,
                scrub_leaves_no_byte_of_what_was_erased_or_says_where,
            ]
            rows: [
                get_answers_reads_in_order,
                get_tells_the_clock_and_the_generation,
                ranges_of_a_map_come_in_the_byte_order_of_keys,
                ranges_of_an_index_come_in_the_byte_order_of_keys,
                put_delete_and_clear_change_what_they_name_alone,
                rows_that_are_put_after_a_clear_stay,
                odd_keys_and_scopes_never_collide,
                every_kind_of_row_is_a_space_of_its_own,
                partitions_share_neither_rows_nor_events,
                durable_transactions_survive_the_last_handle,
            ]
            transactions: [
                transactions_of_a_call_are_performed_in_order,
                a_refused_transaction_changes_nothing_and_names_its_guard,
                a_later_step_is_left_out_and_named,
                guards_see_the_writes_of_earlier_steps,
                guards_on_rows_hold_where_they_should,
                guards_on_ids_tell_all_three_states,
                a_guard_on_the_generation_holds_for_it_alone,
                a_guard_on_newer_events_never_overlooks_one,
                of_eight_appends_that_exclude_each_other_one_wins,
                add_begins_at_0_and_goes_below_it,
                add_loses_nothing_of_eight_adders,
                of_eight_guarded_puts_one_wins,
                eight_rivals_count_without_a_gap,
                a_tombstone_refuses_its_id,
                replay_counts_rise_once_for_each_sequence,
            ]
            rows_model: [
                rows_agree_with_the_model,
            ]
        }
    };
    (@expand $harness:expr; $($room:ident: [$($law:ident,)*])*) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $law() {
                let harness = $harness;
                $crate::engine_laws::$room::$law(&harness).await;
            }
        )*)*
    };
}
