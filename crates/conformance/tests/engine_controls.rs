//! Tests of the engine's laws. An engine with one fault must fail, and an engine behind a hook without a fault must
//! pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod flawed;
mod naive;

use event_replay_conformance::engine_laws;
use flawed::{Fault, FlawedHarness};

/// An engine behind a hook without a fault passes every law.
mod without_fault {
    event_replay_conformance::engine_suite!(crate::flawed::FlawedHarness(crate::flawed::Fault::None));
}

/// Returns whether an engine passes a law.
async fn passes(law: impl Future<Output = ()> + Send + 'static) -> bool {
    tokio::spawn(law).await.is_ok()
}

/// Each fault, with the law that detects it.
macro_rules! faults {
    ($($test:ident: $fault:ident by $room:ident::$law:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let harness = FlawedHarness(Fault::$fault);
            let law = async move { engine_laws::$room::$law(&harness).await };
            assert!(!passes(law).await, "the fault was not found");
        }
    )*};
}

faults! {
    an_engine_that_ignores_guards_is_found:
        IgnoresGuards by transactions::a_refused_transaction_changes_nothing_and_names_its_guard;
    an_engine_that_ignores_guards_of_rivals_is_found:
        IgnoresGuards by transactions::of_eight_guarded_puts_one_wins;
    an_engine_that_ignores_generations_is_found:
        IgnoresGenerations by transactions::a_guard_on_the_generation_holds_for_it_alone;
    an_engine_that_ignores_guards_on_ids_is_found:
        IgnoresGuardsOnIds by transactions::guards_on_ids_tell_all_three_states;
    an_engine_that_ignores_newer_events_is_found:
        IgnoresNewerEvents by transactions::a_guard_on_newer_events_never_overlooks_one;
    an_engine_that_ignores_newer_events_of_rivals_is_found:
        IgnoresNewerEvents by transactions::of_eight_appends_that_exclude_each_other_one_wins;
    an_engine_that_takes_any_value_is_found:
        TakesAnyValue by transactions::guards_on_rows_hold_where_they_should;
    an_engine_that_performs_every_step_is_found:
        PerformsEveryStep by transactions::a_later_step_is_left_out_and_named;
    an_engine_that_names_no_step_is_found: NamesNoStep by transactions::a_later_step_is_left_out_and_named;
    an_engine_that_names_the_first_guard_is_found:
        NamesTheFirstGuard by transactions::a_refused_transaction_changes_nothing_and_names_its_guard;
    an_engine_that_loses_additions_is_found: LosesAdditions by transactions::add_loses_nothing_of_eight_adders;
    an_engine_that_adds_no_negatives_is_found: AddsNoNegatives by transactions::add_begins_at_0_and_goes_below_it;
    an_engine_that_forgets_to_clear_is_found:
        ForgetsToClear by rows::put_delete_and_clear_change_what_they_name_alone;
    an_engine_that_clears_last_is_found: ClearsLast by rows::rows_that_are_put_after_a_clear_stay;
    an_engine_that_forgets_to_delete_is_found:
        ForgetsToDelete by rows::put_delete_and_clear_change_what_they_name_alone;
    an_engine_that_forgets_tombstones_is_found: ForgetsTombstones by transactions::a_tombstone_refuses_its_id;
    an_engine_that_counts_each_mention_is_found:
        CountsEachMention by transactions::replay_counts_rise_once_for_each_sequence;
    an_engine_that_commits_backwards_is_found:
        CommitsBackwards by transactions::transactions_of_a_call_are_performed_in_order;
    an_engine_that_stops_at_a_refusal_is_found:
        StopsAtTheFirstRefusal by transactions::transactions_of_a_call_are_performed_in_order;
    an_engine_that_judges_too_early_is_found:
        JudgesTooEarly by transactions::of_eight_guarded_puts_one_wins;
    an_engine_that_judges_too_early_is_found_by_a_count:
        JudgesTooEarly by transactions::eight_rivals_count_without_a_gap;
    an_engine_that_judges_before_the_call_is_found:
        JudgesTooEarly by transactions::guards_see_the_writes_of_earlier_steps;
    an_engine_that_includes_the_lower_bound_is_found:
        IncludesTheLowerBound by rows::ranges_of_a_map_come_in_the_byte_order_of_keys;
    an_engine_that_includes_the_upper_bound_is_found:
        IncludesTheUpperBound by rows::ranges_of_an_index_come_in_the_byte_order_of_keys;
    an_engine_that_never_reverses_is_found:
        NeverReverses by rows::ranges_of_an_index_come_in_the_byte_order_of_keys;
    an_engine_that_ignores_limits_is_found:
        IgnoresLimits by rows::ranges_of_a_map_come_in_the_byte_order_of_keys;
    an_engine_that_ignores_scopes_is_found: IgnoresScopes by rows::odd_keys_and_scopes_never_collide;
    an_engine_that_cuts_keys_is_found: CutsKeys by rows::odd_keys_and_scopes_never_collide;
    an_engine_that_mixes_partitions_is_found: MixesPartitions by rows::partitions_share_neither_rows_nor_events;
    an_engine_that_appends_without_is_found:
        AppendsWithout by appending::append_performs_its_transaction_where_nothing_is_new;
    an_engine_that_appends_unguarded_is_found:
        AppendsUnguarded by appending::append_whose_guard_does_not_hold_changes_nothing;
    an_engine_that_is_never_all_or_nothing_is_found:
        AlwaysEach by appending::append_stores_nothing_of_a_refused_whole;
    an_engine_that_loses_the_last_of_a_page_is_found:
        LosesTheLastOfAPage by reading::scan_gives_each_match_once_at_every_page_size;
    an_engine_that_forgets_the_upper_bound_is_found: ForgetsUntil by reading::scan_keeps_to_its_bounds;
    an_engine_that_ignores_bytes_is_found: IgnoresBytes by reading::scan_ends_a_page_at_its_bytes;
    an_engine_that_tells_the_state_too_late_is_found:
        TellsTheStateTooLate by reading::scan_misses_nothing_that_its_state_counts;
    an_engine_that_leaves_out_what_is_missing_is_found:
        LeavesOutWhatIsMissing by reading::at_answers_each_sequence_in_order;
    an_engine_that_forgets_erasures_is_found:
        ForgetsErasures by reading::locate_tells_stored_from_erased_and_unknown;
    an_engine_that_counts_short_is_found: CountsShort by reading::count_equals_what_scans_give;
    an_engine_that_never_wakes_is_found: NeverWakes by reading::changed_wakes_for_appends_of_other_handles;
    an_engine_that_trims_instead_of_erasing_is_found:
        TrimsInsteadOfErasing by removing::erased_ids_are_refused;
    an_engine_that_removes_without_is_found: RemovesWithout by removing::remove_performs_its_transaction;
    an_engine_that_removes_unguarded_is_found:
        RemovesUnguarded by removing::remove_whose_guard_does_not_hold_changes_nothing;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_of_rows_escapes_the_model() {
    for fault in [
        Fault::IgnoresGuards,
        Fault::IgnoresGuardsOnIds,
        Fault::TakesAnyValue,
        Fault::PerformsEveryStep,
        Fault::NamesNoStep,
        Fault::NamesTheFirstGuard,
        Fault::AddsNoNegatives,
        Fault::ForgetsToClear,
        Fault::ClearsLast,
        Fault::ForgetsToDelete,
        Fault::ForgetsTombstones,
        Fault::CommitsBackwards,
        Fault::StopsAtTheFirstRefusal,
        Fault::JudgesTooEarly,
        Fault::IncludesTheLowerBound,
        Fault::IncludesTheUpperBound,
        Fault::NeverReverses,
        Fault::IgnoresLimits,
        Fault::IgnoresScopes,
        Fault::MixesPartitions,
        Fault::AppendsUnguarded,
    ] {
        // A few random rounds may miss a fault. Three runs of the law do not.
        let mut agrees = true;
        for _ in 0..3 {
            let harness = FlawedHarness(fault);
            let law = async move { engine_laws::rows_model::rows_agree_with_the_model(&harness).await };
            agrees &= passes(law).await;
        }
        assert!(!agrees, "{fault:?} was not found");
    }
}
