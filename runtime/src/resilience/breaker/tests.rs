use proptest::prelude::*;

use super::*;
use crate::resilience::{RefusalReason, start};

const QUICK: Duration = Duration::from_millis(3);
const SLOW: Duration = Duration::from_secs(60);

fn seconds(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn exact() -> CircuitBreaker {
    let config = BreakerConfig {
        open_jitter: 0.0,
        ..BreakerConfig::default()
    };
    CircuitBreaker::new(Checked::new(config).unwrap())
}

fn call(breaker: &CircuitBreaker, outcome: Outcome, took: Duration, now: Instant) {
    breaker.admit(now).unwrap().record(outcome, took, now);
}

fn fail(breaker: &CircuitBreaker, times: u32, now: Instant) {
    (0..times).for_each(|_| call(breaker, Outcome::Failure, QUICK, now));
}

fn state(breaker: &CircuitBreaker, now: Instant) -> BreakerState {
    breaker.snapshot(now).state
}

#[test]
fn opens_by_rate_and_only_with_enough_calls() {
    let check = |outcomes: &[(u32, Outcome, Duration)], expected| {
        let (breaker, now) = (exact(), start());
        for &(times, outcome, took) in outcomes {
            (0..times).for_each(|_| call(&breaker, outcome, took, now));
        }
        assert_eq!(state(&breaker, now), expected, "{outcomes:?}");
    };
    use BreakerState::{Closed, Open};
    use Outcome::{Failure, Ignored, Success};
    check(&[(19, Failure, QUICK)], Closed);
    check(&[(20, Failure, QUICK)], Open);
    check(&[(10, Success, QUICK), (10, Failure, QUICK)], Open);
    check(&[(11, Success, QUICK), (9, Failure, QUICK)], Closed);
    check(&[(19, Failure, QUICK), (1, Success, QUICK)], Open);
    check(&[(4, Success, QUICK), (16, Success, SLOW)], Open);
    check(&[(5, Success, QUICK), (15, Success, SLOW)], Closed);
    check(&[(50, Ignored, SLOW), (19, Failure, QUICK)], Closed);
}

#[test]
fn failures_are_forgotten_after_the_window() {
    let (breaker, now) = (exact(), start());
    fail(&breaker, 19, now);
    fail(&breaker, 19, now + seconds(30));
    assert_eq!(state(&breaker, now + seconds(30)), BreakerState::Closed);
}

#[test]
fn open_breaker_advises_what_is_left_and_doubles_up_to_its_maximum() {
    let (breaker, mut now) = (exact(), start());
    fail(&breaker, 20, now);
    for expected in [5, 10, 20, 40, 60, 60] {
        let refusal = breaker.admit(now + seconds(1)).unwrap_err();
        assert_eq!(refusal.reason, RefusalReason::CircuitOpen);
        assert_eq!(refusal.retry_after, seconds(expected - 1));
        now += seconds(expected);
        fail(&breaker, 2, now);
    }
}

#[test]
fn two_good_probes_close_and_the_open_time_starts_anew() {
    let (breaker, mut now) = (exact(), start());
    fail(&breaker, 20, now);
    now += seconds(5);
    fail(&breaker, 2, now);
    now += seconds(10);
    call(&breaker, Outcome::Success, QUICK, now);
    call(&breaker, Outcome::Failure, QUICK, now);
    call(&breaker, Outcome::Success, QUICK, now);
    assert_eq!(state(&breaker, now), BreakerState::Closed);
    fail(&breaker, 20, now);
    assert_eq!(breaker.admit(now).unwrap_err().retry_after, seconds(5));
}

#[test]
fn slow_probes_do_not_close() {
    let (breaker, now) = (exact(), start());
    fail(&breaker, 20, now);
    let now = now + seconds(5);
    call(&breaker, Outcome::Success, SLOW, now);
    call(&breaker, Outcome::Success, SLOW, now);
    assert_eq!(state(&breaker, now), BreakerState::Open);
}

#[test]
fn probes_beyond_the_limit_are_refused_until_one_is_given_back() {
    let (breaker, now) = (exact(), start());
    fail(&breaker, 20, now);
    let now = now + seconds(5);
    let mut probes: Vec<_> = (0..3).map(|_| breaker.admit(now).unwrap()).collect();
    let refusal = breaker.admit(now).unwrap_err();
    assert_eq!(refusal.reason, RefusalReason::Probing);
    assert!(refusal.retry_after > Duration::ZERO);
    probes.pop();
    let again = breaker.admit(now).unwrap();
    again.record(Outcome::Ignored, QUICK, now);
    assert!(breaker.admit(now).is_ok());
}

#[test]
fn slow_probes_hold_up_the_next_for_one_open_time_at_most() {
    let (breaker, now) = (exact(), start());
    fail(&breaker, 20, now);
    let now = now + seconds(5);
    let stuck: Vec<_> = (0..3).map(|_| breaker.admit(now).unwrap()).collect();
    assert!(breaker.admit(now + seconds(4)).is_err());
    let later = now + seconds(5);
    let next: Vec<_> = (0..3).map(|_| breaker.admit(later).unwrap()).collect();
    assert!(
        breaker.admit(later + seconds(4)).is_err(),
        "one set at a time"
    );
    for probe in next.into_iter().take(2) {
        probe.record(Outcome::Success, QUICK, later);
    }
    assert_eq!(state(&breaker, later), BreakerState::Closed);
    drop(stuck);
    assert_eq!(breaker.snapshot(later).probing, 0);
}

#[test]
fn a_permit_is_current_while_the_breaker_stays_as_it_is() {
    let (breaker, now) = (exact(), start());
    let early = breaker.admit(now).unwrap();
    assert!(early.is_current());
    fail(&breaker, 20, now);
    assert!(!early.is_current());
}

#[test]
fn answers_from_before_the_opening_count_for_nothing() {
    let (breaker, now) = (exact(), start());
    let early: Vec<_> = (0..5).map(|_| breaker.admit(now).unwrap()).collect();
    fail(&breaker, 20, now);
    let now = now + seconds(5);
    let probe = breaker.admit(now).unwrap();
    for permit in early {
        permit.record(Outcome::Success, QUICK, now);
    }
    assert_eq!(state(&breaker, now), BreakerState::HalfOpen);
    assert_eq!(breaker.snapshot(now).probing, 1);
    drop(probe);
}

#[test]
fn forced_open_stays_until_reset() {
    let (breaker, now) = (exact(), start());
    breaker.force_open(None, now);
    breaker.force_open(None, now);
    let refusal = breaker.admit(now + seconds(3600)).unwrap_err();
    assert_eq!(refusal.reason, RefusalReason::ForcedOpen);
    breaker.reset(now);
    assert!(breaker.admit(now).is_ok());
    let causes: Vec<_> = breaker.take_transitions().iter().map(|t| t.cause).collect();
    assert_eq!(causes, [TransitionCause::Forced, TransitionCause::Reset]);
}

#[test]
fn forced_open_for_a_time_probes_after_it() {
    let (breaker, now) = (exact(), start());
    breaker.force_open(Some(seconds(30)), now);
    let refusal = breaker.admit(now + seconds(10)).unwrap_err();
    assert_eq!(refusal.reason, RefusalReason::ForcedOpen);
    assert_eq!(refusal.retry_after, seconds(20));
    let later = now + seconds(30);
    let probe = breaker.admit(later).unwrap();
    assert!(probe.is_probe());
    probe.record(Outcome::Success, QUICK, later);
    call(&breaker, Outcome::Success, QUICK, later);
    assert_eq!(state(&breaker, later), BreakerState::Closed);
    assert!(!breaker.admit(later).unwrap().is_probe());
}

#[test]
fn a_forgotten_force_ends_after_a_day() {
    let (breaker, now) = (exact(), start());
    breaker.force_open(None, now);
    assert!(breaker.admit(now + seconds(24 * 3600 - 1)).is_err());
    assert!(breaker.admit(now + seconds(24 * 3600)).is_ok());
}

#[test]
fn transitions_are_told_once_in_order() {
    use BreakerState::{Closed, HalfOpen, Open};
    let (breaker, now) = (exact(), start());
    fail(&breaker, 20, now);
    let now = now + seconds(5);
    call(&breaker, Outcome::Success, QUICK, now);
    call(&breaker, Outcome::Success, QUICK, now);
    let told: Vec<_> = breaker.take_transitions();
    let steps: Vec<_> = told.iter().map(|t| (t.from, t.to)).collect();
    assert_eq!(
        steps,
        [(Closed, Open), (Open, HalfOpen), (HalfOpen, Closed)]
    );
    assert!(breaker.take_transitions().is_empty());
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Admit,
    Record(usize, Outcome),
    Drop(usize),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let outcome = prop_oneof![
        1 => Just(Outcome::Success),
        3 => Just(Outcome::Failure),
        1 => Just(Outcome::Ignored)
    ];
    let step = prop_oneof![
        6 => Just(Step::Admit),
        4 => (any::<usize>(), outcome).prop_map(|(n, outcome)| Step::Record(n, outcome)),
        2 => any::<usize>().prop_map(Step::Drop),
        2 => (0_u64..8_000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..400)
}

proptest! {
    /// Whatever callers do with their permits: a half-open breaker never has more probes under way than one set for each
    /// open time that passes, and once all permits are back, none is missing.
    #[test]
    fn probes_are_bounded_and_permits_never_leak(steps in steps()) {
        let config = BreakerConfig { min_calls: 3, ..BreakerConfig::default() };
        let breaker = CircuitBreaker::new(Checked::new(config).unwrap());
        let began = start();
        let (mut now, mut held) = (began, Vec::new());
        for step in steps {
            match step {
                Step::Admit => held.extend(breaker.admit(now)),
                Step::Wait(ms) => now += Duration::from_millis(ms),
                Step::Record(n, outcome) if !held.is_empty() => {
                    held.swap_remove(n % held.len()).record(outcome, QUICK, now);
                }
                Step::Drop(n) if !held.is_empty() => drop(held.swap_remove(n % held.len())),
                Step::Record(..) | Step::Drop(_) => {}
            }
            let sets = 1 + (now - began).as_secs() / 5;
            prop_assert!(u64::from(breaker.snapshot(now).probing) <= 3 * sets);
        }
        held.clear();
        prop_assert_eq!(breaker.snapshot(now).probing, 0);
        // And it is not stuck: good answers close it, within one open time and the three probes.
        for _ in 0..4 {
            now += seconds(80);
            breaker.admit(now).unwrap().record(Outcome::Success, QUICK, now);
        }
        prop_assert_eq!(state(&breaker, now), BreakerState::Closed);
    }

    #[test]
    fn open_time_stays_within_its_jitter(rounds in 0_u32..12) {
        let (breaker, mut now) = (CircuitBreaker::default(), start());
        fail(&breaker, 20, now);
        for _ in 0..rounds {
            now += seconds(72);
            fail(&breaker, 2, now);
        }
        let nominal = seconds(5 << rounds).min(seconds(60));
        let left = breaker.snapshot(now).open_for.unwrap();
        prop_assert!(nominal.mul_f64(0.799) <= left && left <= nominal.mul_f64(1.201));
    }
}
