use proptest::prelude::*;

use super::*;
use crate::resilience::start;

const LATENCY: Duration = Duration::from_millis(5);

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// An adapter that sent 100 a second for a second, of which `done` of ten were done.
fn running(done: u64, now: &mut Instant) -> RateAdapter {
    let mut adapter = RateAdapter::default();
    run(&mut adapter, done, now);
    adapter
}

fn run(adapter: &mut RateAdapter, done: u64, now: &mut Instant) {
    for n in 0..100 {
        *now += millis(10);
        adapter.sent(1.0, *now);
        if n % 10 < done {
            adapter.observe(Signal::Done, 1.0, LATENCY, *now);
        }
    }
}

fn near(limit: Option<f64>, expected: f64) -> bool {
    limit.is_some_and(|limit| (limit - expected).abs() <= 0.15 * expected)
}

#[test]
fn without_a_signal_there_is_no_limit() {
    let mut now = start();
    let mut adapter = running(10, &mut now);
    adapter.held_back();
    run(&mut adapter, 10, &mut now);
    assert_eq!(adapter.limit(now), None);
}

#[test]
fn a_push_back_limits_to_what_the_target_got_done() {
    let check = |done, expected| {
        let mut now = start();
        let mut adapter = running(done, &mut now);
        adapter.observe(Signal::PushedBack, 1.0, LATENCY, now);
        let limit = adapter.limit(now);
        assert!(near(limit, expected), "{done}: {limit:?}");
    };
    check(10, 90.0);
    check(7, 63.0);
    check(1, 50.0); // not more than half at once
    check(0, 50.0);
}

#[test]
fn a_cut_comes_once_per_window_and_not_for_what_was_sent_before_it() {
    let mut now = start();
    let mut adapter = running(0, &mut now);
    let mut limits = Vec::new();
    for after in [0, 499, 500, 999] {
        adapter.observe(Signal::PushedBack, 1.0, millis(0), now + millis(after));
        limits.push(adapter.limit(now).unwrap().round() as u32);
    }
    let first = limits[0];
    assert_eq!(limits, [first, first, first / 2, first / 2]);
    // 2 s after the cut, but sent before it.
    adapter.observe(Signal::PushedBack, 1.0, millis(2_001), now + millis(2_500));
    assert_eq!(adapter.limit(now).unwrap().round() as u32, first / 2);
}

#[test]
fn a_time_out_among_few_commands_is_not_load() {
    let mut now = start();
    let mut adapter = RateAdapter::default();
    for _ in 0..9 {
        adapter.sent(1.0, now);
    }
    adapter.observe(Signal::TimedOut, 1.0, LATENCY, now);
    assert_eq!(adapter.limit(now), None);
    let mut adapter = running(5, &mut now);
    adapter.observe(Signal::TimedOut, 1.0, LATENCY, now);
    assert!(adapter.limit(now).is_some());
}

#[test]
fn the_limit_rises_only_while_it_is_used() {
    let mut now = start();
    let mut adapter = running(10, &mut now);
    adapter.observe(Signal::PushedBack, 1.0, LATENCY, now);
    let cut = adapter.limit(now).unwrap();
    run(&mut adapter, 10, &mut now);
    assert_eq!(adapter.limit(now), Some(cut));
    adapter.held_back();
    run(&mut adapter, 10, &mut now);
    assert_eq!(adapter.limit(now), Some(cut + cut.sqrt()));
}

#[test]
fn the_reported_load_raises_holds_and_cuts() {
    let check = |utilization, wait_ms, change: fn(f64, f64) -> bool| {
        let mut now = start();
        let mut adapter = running(10, &mut now);
        adapter.observe(Signal::PushedBack, 1.0, LATENCY, now);
        let cut = adapter.limit(now).unwrap();
        adapter.held_back();
        // Later than what waited longest was sent, and than what the report looks back on.
        now += millis(1_700);
        (0..LOADED_COMMANDS).for_each(|_| adapter.sent(1.0, now));
        let report = LoadReport {
            capacity: 8,
            utilization,
            queue_wait_p95: millis(wait_ms),
        };
        adapter.observe_load(report, now);
        adapter.observe(Signal::Done, 1.0, LATENCY, now);
        let limit = adapter.limit(now).unwrap();
        assert!(change(limit, cut), "{utilization} {wait_ms}: {cut} {limit}");
    };
    check(0.2, 0, |limit, cut| limit == cut * LARGEST_STEP);
    check(0.9, 0, |limit, cut| limit == cut + cut.sqrt());
    check(0.9, 100, |limit, cut| limit == cut + cut.sqrt() * BUSY_STEP);
    check(1.0, 300, |limit, cut| limit == cut);
    check(1.0, 600, |limit, cut| limit < cut);
}

#[test]
fn an_overload_reported_while_nothing_is_sent_sets_no_limit() {
    let (mut adapter, now) = (RateAdapter::default(), start());
    let report = LoadReport {
        capacity: 8,
        utilization: 1.0,
        queue_wait_p95: millis(5_000),
    };
    adapter.observe_load(report, now);
    assert_eq!(adapter.limit(now), None);
}

#[test]
fn a_queue_that_has_piled_up_is_worked_off_at_a_lower_pace() {
    let mut now = start();
    let mut adapter = running(10, &mut now);
    let report = |utilization| LoadReport {
        capacity: 8,
        utilization,
        queue_wait_p95: millis(2_000),
    };
    adapter.observe_load(report(1.0), now);
    let limit = adapter.limit(now).unwrap();
    assert_eq!(adapter.pace(now), Some(limit * DRAIN_PACE));
    assert_eq!(adapter.drains_for(now), Some(millis(2_500)));
    assert_eq!(adapter.pace(now + millis(2_500)), Some(limit));
    // Commands that still waited long were sent before the cut.
    adapter.observe_load(report(1.0), now + millis(1_999));
    assert_eq!(adapter.limit(now), Some(limit));
    // A target with free handlers has no queue left.
    adapter.observe_load(report(1.0), now + millis(2_100));
    assert!(adapter.drains_for(now + millis(2_100)).is_some());
    let idle = LoadReport {
        utilization: 0.1,
        ..report(0.1)
    };
    for n in 0..20 {
        adapter.observe_load(idle, now + millis(2_200 + 50 * n));
    }
    assert_eq!(adapter.drains_for(now + millis(3_200)), None);
}

proptest! {
    #[test]
    fn the_limit_stays_within_its_bounds(
        signals in prop::collection::vec((0_u8..4, 0_u64..800, 0.0_f64..=1.0, 0_u64..2_000), 1..300)
    ) {
        let config = AdaptConfig { min_rate: 5.0, max_rate: Some(50.0), ..AdaptConfig::default() };
        let mut adapter = RateAdapter::new(Checked::new(config).unwrap());
        let mut now = start();
        for (kind, gap, utilization, wait_ms) in signals {
            now += millis(gap);
            match kind {
                0 => (0..20).for_each(|_| adapter.sent(1.0, now)),
                1 => adapter.observe(Signal::PushedBack, 1.0, LATENCY, now),
                2 => adapter.observe(Signal::Done, 1.0, LATENCY, now),
                _ => {
                    let queue_wait_p95 = millis(wait_ms);
                    adapter.observe_load(LoadReport { capacity: 8, utilization, queue_wait_p95 }, now);
                }
            }
            adapter.held_back();
            let limit = adapter.limit(now).unwrap();
            prop_assert!((5.0..=50.0).contains(&limit));
            let pace = adapter.pace(now).unwrap();
            prop_assert!((5.0..=limit).contains(&pace));
        }
    }
}

/// An adapter whose target has said that it is busy, after `sent` commands and `answers` to them in half a second.
fn flooded(sent: u32, answers: u32, wait_ms: u64) -> (RateAdapter, Instant) {
    let (mut adapter, mut now) = (RateAdapter::default(), start());
    for n in 0..sent {
        now += millis(500) / sent;
        adapter.sent(1.0, now);
        if n >= sent - answers {
            adapter.observe(Signal::Done, 1.0, millis(50), now);
        }
    }
    adapter.observe_load(busy(wait_ms), now);
    (adapter, now)
}

fn busy(wait_ms: u64) -> LoadReport {
    LoadReport {
        capacity: 8,
        utilization: 1.0,
        queue_wait_p95: millis(wait_ms),
    }
}

#[test]
fn a_flood_is_seen_before_anybody_has_waited_long() {
    let check = |sent, answers, wait_ms, limited: bool| {
        let (mut adapter, now) = flooded(sent, answers, wait_ms);
        let limit = adapter.limit(now);
        assert_eq!(
            limit.is_some(),
            limited,
            "{sent} {answers} {wait_ms}: {limit:?}"
        );
    };
    check(100, 20, 60, true);
    check(100, 20, 0, false); // all may be at work
    check(100, 50, 60, false); // what is ahead is done in half a second
    check(100, 4, 60, false); // so few answers are an accident
}

#[test]
fn a_cut_is_judged_only_when_the_report_no_longer_tells_of_the_time_before() {
    let (mut adapter, now) = flooded(100, 20, 60);
    let first = adapter.limit(now).unwrap();
    let mut limits = Vec::new();
    for after in [700, 1_500, 1_900, 2_600] {
        adapter.observe_load(busy(800), now + millis(after));
        limits.push(adapter.limit(now + millis(after)).unwrap());
    }
    assert_eq!(limits[..2], [first; 2]);
    assert!(limits[3] < first, "{limits:?}");
}

#[test]
fn a_busy_target_is_not_forgotten() {
    let (mut adapter, now) = flooded(100, 20, 60);
    let later = now + AdaptConfig::default().forget_after;
    adapter.observe_load(busy(200), later);
    assert!(adapter.limit(later).is_some());
    let idle = LoadReport {
        utilization: 0.2,
        ..busy(0)
    };
    adapter.observe_load(idle, later + millis(5_000));
    assert_eq!(adapter.limit(later + millis(5_000)), None);
}

#[test]
fn a_sender_whose_critical_commands_wait_gains_even_while_others_queue() {
    let check = |critical: bool| {
        let (mut adapter, now) = flooded(100, 20, 60);
        let (limit, later) = (adapter.limit(now).unwrap(), now + millis(700));
        match critical {
            true => adapter.held_back_critical(),
            false => adapter.held_back(),
        }
        adapter.observe_load(busy(400), later);
        adapter.observe(Signal::Done, 1.0, LATENCY, later);
        adapter.limit(later).unwrap() > limit
    };
    assert!(check(true));
    assert!(!check(false));
}

proptest! {
    /// Whatever a target says of itself: nothing panics, and the limit stays within its bounds.
    #[test]
    fn hostile_figures_are_only_figures(
        reports in prop::collection::vec(
            (any::<u32>(), any::<f64>(), any::<u64>(), any::<u64>(), 0_u64..3_000, 0_u32..40), 1..40,
        ),
    ) {
        let (mut adapter, mut now) = (RateAdapter::default(), start());
        for (capacity, utilization, wait_s, latency_s, gap, commands) in reports {
            now += millis(gap);
            for _ in 0..commands {
                adapter.sent(1.0, now);
                adapter.observe(Signal::Done, 1.0, Duration::from_secs(latency_s), now);
            }
            for utilization in [utilization, 1.0] {
                let queue_wait_p95 = Duration::from_secs(wait_s);
                adapter.observe_load(LoadReport { capacity, utilization, queue_wait_p95 }, now);
            }
            adapter.observe(Signal::PushedBack, 1.0, Duration::from_secs(latency_s), now);
            let pace = adapter.pace(now);
            prop_assert!(pace.is_none_or(|pace| pace.is_finite() && pace > 0.0), "{pace:?}");
        }
    }
}
