use proptest::prelude::*;

use super::*;
use crate::resilience::adapt::AdaptConfig;
use crate::resilience::lanes::LANES;
use crate::resilience::start;

/// A queue with a fixed rate, its bucket (5 tokens) drained, and no credit.
fn drained(rate: f64, now: Instant) -> Queue<()> {
    let mut queue = with_reserve(rate, Duration::ZERO);
    while queue.take(Priority::Critical, now).is_ok() {}
    queue
}

fn with_reserve(rate: f64, reserve: Duration) -> Queue<()> {
    let adapt = AdaptConfig {
        min_rate: rate,
        max_rate: Some(rate),
        ..AdaptConfig::default()
    };
    let config = LimiterConfig {
        adapt,
        burst: Duration::ZERO,
        reserve,
        ..LimiterConfig::default()
    };
    Queue::new(Checked::new(config).unwrap())
}

fn join(queue: &mut Queue<()>, lane: Priority, now: Instant) -> Ticket {
    let give_up = now + Duration::from_secs(3600);
    queue.join(lane, (), give_up, now).unwrap()
}

/// Lets everyone leave whose turn comes until `end`, in order.
fn run(queue: &mut Queue<()>, now: &mut Instant, end: Instant) -> Vec<Ticket> {
    let mut left = Vec::new();
    while let Some(head) = queue.head() {
        match queue.turn(head, *now) {
            Turn::Now => left.push(head),
            Turn::At(at) if at <= end => *now = at,
            Turn::At(_) | Turn::Later => break,
        }
    }
    left
}

#[test]
fn without_a_limit_everyone_leaves_at_once() {
    let (mut queue, now) = (Queue::<()>::new(Checked::default()), start());
    for _ in 0..100_000 {
        assert!(queue.take(Priority::Low, now).is_ok());
    }
}

#[test]
fn the_reserve_is_for_critical_only() {
    let now = start();
    let check = |lane, expected: usize| {
        let mut queue = with_reserve(10.0, Duration::from_secs(1));
        let taken = (0..).take_while(|_| queue.take(lane, now).is_ok()).count();
        assert_eq!(taken, expected, "{lane:?}");
        assert_eq!(
            queue.take(Priority::Critical, now).is_ok(),
            lane != Priority::Critical
        );
    };
    // A bucket of five, and ten on credit.
    check(Priority::Critical, 30);
    check(Priority::High, 10);
    check(Priority::Normal, 5);
    check(Priority::Low, 2);
}

#[test]
fn higher_lanes_leave_first_and_arrivals_in_order() {
    let mut now = start();
    let mut queue = drained(10.0, now);
    let joined: Vec<_> = [3, 2, 1, 0, 3, 2, 1, 0]
        .map(|lane| join(&mut queue, LANES[lane], now))
        .into();
    let end = now + Duration::from_secs(60);
    let left = run(&mut queue, &mut now, end);
    let expected = [3, 7, 2, 6, 1, 5, 0, 4].map(|n: usize| joined[n]);
    assert_eq!(left, expected);
}

#[test]
fn a_critical_command_passes_a_due_one_by_the_reserve_but_not_for_ever() {
    let mut now = start();
    let mut queue = drained(10.0, now);
    join(&mut queue, Priority::Low, now);
    let mut passed = 0;
    while queue.head().is_some_and(|head| head.lane == Priority::Low) || passed < 100 {
        let ticket = join(&mut queue, Priority::Critical, now);
        if queue.head() != Some(ticket) {
            break;
        }
        let end = now + Duration::from_secs(1);
        assert_eq!(run_one(&mut queue, &mut now, end), Some(ticket));
        passed += 1;
    }
    assert_eq!(passed, LimiterConfig::default().floors.low + RESERVED_TURNS);
}

fn run_one(queue: &mut Queue<()>, now: &mut Instant, end: Instant) -> Option<Ticket> {
    let head = queue.head()?;
    loop {
        match queue.turn(head, *now) {
            Turn::Now => return Some(head),
            Turn::At(at) if at <= end => *now = at,
            Turn::At(_) | Turn::Later => return None,
        }
    }
}

#[test]
fn who_cannot_be_served_in_time_does_not_join() {
    let now = start();
    let mut queue = drained(10.0, now);
    let soon = now + Duration::from_millis(99);
    let refusal = queue.join(Priority::Normal, (), soon, now).unwrap_err();
    assert_eq!(refusal.reason, RefusalReason::RateLimited);
    // One token at ten a second.
    assert!(refusal.retry_after.abs_diff(Duration::from_millis(100)) < Duration::from_micros(1));
    assert!(queue.join(Priority::Critical, (), soon, now).is_ok());
}

#[test]
fn a_pause_holds_everyone_and_a_shorter_one_does_not_end_it() {
    let now = start();
    let mut queue = Queue::<()>::new(Checked::default());
    let second = Duration::from_secs(1);
    queue.pause(now + 2 * second);
    queue.pause(now + second);
    let refusal = queue.take(Priority::Critical, now + second).unwrap_err();
    let expected = Refusal {
        reason: RefusalReason::Paused,
        retry_after: second,
    };
    assert_eq!(refusal, expected);
    assert!(queue.take(Priority::Low, now + 2 * second).is_ok());
}

#[test]
fn the_queue_is_bounded() {
    let now = start();
    let config = LimiterConfig {
        max_waiting: 2,
        ..LimiterConfig::default()
    };
    let mut queue = Queue::new(Checked::new(config).unwrap());
    queue.pause(now + Duration::from_millis(1));
    join(&mut queue, Priority::Low, now);
    join(&mut queue, Priority::Low, now);
    let refusal = queue
        .join(Priority::Critical, (), now + Duration::from_secs(1), now)
        .unwrap_err();
    assert_eq!(refusal.reason, RefusalReason::QueueFull);
}

proptest! {
    /// Arrivals and departures at random: in each lane the order of arrival holds, the rate is kept, nobody who stays is
    /// forgotten, and who gives up costs no tokens.
    #[test]
    fn order_rate_and_tokens_hold(
        steps in prop::collection::vec((0_usize..4, 0_u64..400, any::<bool>()), 1..120)
    ) {
        let start = start();
        let mut now = start;
        let mut queue = drained(10.0, now);
        let (mut stayed, mut left) = (Vec::new(), Vec::new());
        for (lane, gap, gives_up) in steps {
            let ticket = join(&mut queue, LANES[lane], now);
            let end = now + Duration::from_millis(gap);
            left.extend(run(&mut queue, &mut now, end));
            now = now.max(end);
            if gives_up {
                queue.leave(ticket);
            }
            if !gives_up || left.contains(&ticket) {
                stayed.push(ticket);
            }
        }
        let end = now + Duration::from_secs(3600);
        left.extend(run(&mut queue, &mut now, end));
        prop_assert_eq!(left.len(), stayed.len());
        for lane in LANES {
            let numbers: Vec<_> = left.iter().filter(|t| t.lane == lane).map(|t| t.number).collect();
            prop_assert!(numbers.is_sorted());
        }
        let spent: f64 = left.iter().map(|ticket| weight(ticket.lane)).sum();
        prop_assert!(spent <= 5.0 + 10.0 * (now - start).as_secs_f64() + 0.01);
        prop_assert_eq!(queue.waiting_by_lane(), [0; 4]);
    }
}

#[test]
fn critical_commands_do_not_wait_for_a_queue_to_be_worked_off() {
    let mut now = start();
    let mut queue = Queue::<()>::new(Checked::default());
    for n in 0..200 {
        now += Duration::from_millis(5);
        queue.take(Priority::Normal, now).unwrap();
        if n % 4 == 0 {
            queue.observe(
                Priority::Normal,
                Signal::Done,
                Duration::from_millis(50),
                now,
            );
        }
    }
    let overloaded = LoadReport {
        capacity: 8,
        utilization: 1.0,
        queue_wait_p95: Duration::from_secs(4),
    };
    queue.observe_load(overloaded, now);
    let limit = queue.adapter.limit(now).unwrap();
    while queue.take(Priority::High, now).is_ok() {}
    // More than the pace, less than the limit, until the queue is worked off.
    let gap = Duration::from_secs_f64(0.5 / (0.8 * limit));
    let end = now + queue.adapter.drains_for(now).unwrap();
    while now < end {
        assert!(
            queue.take(Priority::Critical, now).is_ok(),
            "{:?} left",
            end - now
        );
        now += gap;
    }
    // And what is owed then is forgiven: the others go on at once.
    queue.follow(end);
    now = end + Duration::from_millis(50);
    assert!(queue.take(Priority::Normal, now).is_ok());
}
