use proptest::prelude::*;

use super::*;
use crate::resilience::{BudgetConfig, start};

fn state(max_retries: u32, deadline: Option<Instant>) -> RetryState {
    let config = RetryConfig {
        max_retries,
        ..RetryConfig::default()
    };
    RetryState::new(Checked::new(config).unwrap(), deadline)
}

fn retries_until_stop(mut retry: RetryState, advice: Advice) -> (u32, StopReason) {
    let budget = RetryBudget::default();
    loop {
        if let Decision::Stop(reason) = retry.after_failure(advice, &budget, start()) {
            return (retry.attempts() - 1, reason);
        }
    }
}

#[test]
fn the_smaller_of_both_maxima_holds() {
    let check = |own, advised, expected| {
        let advice = Advice {
            max_retries: advised,
            ..Advice::TEMPORARY
        };
        let spent = StopReason::RetriesSpent { allowed: expected };
        assert_eq!(
            retries_until_stop(state(own, None), advice),
            (expected, spent)
        );
    };
    check(3, None, 3);
    check(3, Some(1), 1);
    check(3, Some(9), 3);
    check(3, Some(0), 0);
    check(0, Some(5), 0);
}

#[test]
fn the_smallest_advice_is_remembered() {
    let (budget, now) = (RetryBudget::default(), start());
    let mut retry = state(5, None);
    let once = Advice {
        max_retries: Some(1),
        ..Advice::TEMPORARY
    };
    assert!(matches!(
        retry.after_failure(once, &budget, now),
        Decision::RetryAfter(_)
    ));
    let spent = Decision::Stop(StopReason::RetriesSpent { allowed: 1 });
    assert_eq!(retry.after_failure(Advice::TEMPORARY, &budget, now), spent);
}

#[test]
fn permanent_is_never_retried_and_costs_no_budget() {
    let budget = RetryBudget::default();
    let decision = state(5, None).after_failure(Advice::PERMANENT, &budget, start());
    assert_eq!(decision, Decision::Stop(StopReason::Permanent));
    assert_eq!(budget.left(), 500);
}

#[test]
fn a_delay_that_ends_at_the_deadline_stops_and_costs_no_budget() {
    let (budget, now) = (RetryBudget::default(), start());
    let second = Duration::from_secs(1);
    let advice = Advice {
        retry_delay: Some(second),
        ..Advice::TEMPORARY
    };
    let decision = state(5, Some(now + second)).after_failure(advice, &budget, now);
    assert!(matches!(
        decision,
        Decision::Stop(StopReason::Deadline { delay }) if delay >= second
    ));
    assert_eq!(budget.left(), 500);
}

#[test]
fn an_endless_advice_stops_where_there_is_a_deadline() {
    let now = start();
    let advice = Advice {
        retry_delay: Some(Duration::MAX),
        ..Advice::TEMPORARY
    };
    let decision = state(5, Some(now + Duration::from_secs(1))).after_failure(
        advice,
        &RetryBudget::default(),
        now,
    );
    assert!(matches!(
        decision,
        Decision::Stop(StopReason::Deadline { .. })
    ));
}

#[test]
fn an_empty_budget_stops_every_command_to_the_target() {
    let config = BudgetConfig {
        capacity: 14,
        ..BudgetConfig::default()
    };
    let (budget, now) = (RetryBudget::new(Checked::new(config).unwrap()), start());
    let first = state(5, None).after_failure(Advice::TEMPORARY, &budget, now);
    assert!(matches!(first, Decision::RetryAfter(_)));
    let second = state(5, None).after_failure(Advice::TEMPORARY, &budget, now);
    assert_eq!(second, Decision::Stop(StopReason::BudgetSpent));
}

proptest! {
    #[test]
    fn no_retry_is_too_soon_too_late_or_too_many(
        own in 0_u32..8,
        failures in prop::collection::vec(
            (any::<bool>(), prop::option::of(0_u32..8), prop::option::of(0_u64..3_000)), 1..20),
        patience in 0_u64..10_000,
    ) {
        let mut now = start();
        let deadline = now + Duration::from_millis(patience);
        let (mut retry, budget) = (state(own, Some(deadline)), RetryBudget::default());
        let (mut retries, mut fewest) = (0, own);
        for (temporary, max_retries, delay_ms) in failures {
            let retry_delay = delay_ms.map(Duration::from_millis);
            fewest = fewest.min(max_retries.unwrap_or(own));
            let decision = retry.after_failure(Advice { temporary, max_retries, retry_delay }, &budget, now);
            let Decision::RetryAfter(delay) = decision else { break };
            retries += 1;
            now += delay;
            prop_assert!(temporary && retries <= fewest && now < deadline);
            prop_assert!(delay >= retry_delay.unwrap_or_default());
        }
        prop_assert_eq!(retry.attempts(), retries + 1);
    }
}
