use std::future::Future;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::resilience::{AdaptConfig, LaneFloors, RefusalReason};

/// Tests with tokio's clock stopped: it jumps to the next timer when nothing else can run.
fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test);
}

/// Ten tokens a second, none there.
fn drained() -> RateLimiter {
    drained_with(LimiterConfig::default().max_wait)
}

fn drained_with(max_wait: Duration) -> RateLimiter {
    let adapt = AdaptConfig {
        min_rate: 10.0,
        max_rate: Some(10.0),
        ..AdaptConfig::default()
    };
    let config = LimiterConfig {
        adapt,
        max_wait,
        reserve: Duration::ZERO,
        floors: LaneFloors {
            low: 16,
            ..LaneFloors::default()
        },
        ..LimiterConfig::default()
    };
    let limiter = RateLimiter::new(Checked::new(config).unwrap());
    while limiter.try_acquire(Priority::Critical, clock()).is_ok() {}
    limiter
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn close_to(time: Duration, expected: Duration) -> bool {
    time.abs_diff(expected) <= millis(3)
}

#[test]
fn waits_for_its_tokens_and_not_longer() {
    run(async {
        let (limiter, begin) = (drained(), clock());
        limiter.acquire(Priority::Normal, None).await.unwrap();
        assert!(close_to(clock() - begin, millis(100)));
        limiter.acquire(Priority::Normal, None).await.unwrap();
        assert!(close_to(clock() - begin, millis(200)));
    });
}

#[test]
fn a_deadline_too_near_is_refused_at_once() {
    run(async {
        let (limiter, begin) = (drained(), clock());
        let refusal = limiter
            .acquire(Priority::Normal, Some(begin + millis(50)))
            .await;
        assert!(close_to(refusal.unwrap_err().retry_after, millis(100)));
        assert_eq!(clock(), begin);
    });
}

#[test]
fn the_higher_lane_leaves_first_however_late_it_came() {
    run(async {
        let limiter = drained();
        let order = Arc::new(Mutex::new(Vec::new()));
        let lanes = [
            Priority::Low,
            Priority::Normal,
            Priority::High,
            Priority::Critical,
        ];
        let tasks = lanes.map(|lane| {
            let (limiter, order) = (limiter.clone(), order.clone());
            tokio::spawn(async move {
                limiter.acquire(lane, None).await.unwrap();
                order.lock().unwrap().push(lane);
            })
        });
        for task in tasks {
            task.await.unwrap();
        }
        let reversed: Vec<_> = lanes.into_iter().rev().collect();
        assert_eq!(*order.lock().unwrap(), reversed);
    });
}

#[test]
fn who_is_overtaken_too_long_gives_up_with_advice() {
    run(async {
        let (limiter, begin) = (drained_with(millis(700)), clock());
        let rush = tokio::spawn({
            let limiter = limiter.clone();
            async move {
                for _ in 0..60 {
                    let _ = limiter.acquire(Priority::High, None).await;
                }
            }
        });
        tokio::task::yield_now().await;
        let refusal = limiter.acquire(Priority::Low, None).await.unwrap_err();
        assert_eq!(refusal.reason, RefusalReason::RateLimited);
        assert!(refusal.retry_after > Duration::ZERO);
        assert!(clock() - begin <= millis(701));
        rush.await.unwrap();
    });
}

#[test]
fn a_dropped_waiter_leaves_the_queue_wakes_the_next_and_keeps_no_tokens() {
    run(async {
        let (limiter, begin) = (drained(), clock());
        for _ in 0..100 {
            let mut first = Box::pin(limiter.acquire(Priority::Normal, None));
            let mut context = Context::from_waker(Waker::noop());
            assert!(matches!(first.as_mut().poll(&mut context), Poll::Pending));
            assert_eq!(limiter.snapshot(clock()).waiting, [0, 0, 1, 0]);
            drop(first);
            assert_eq!(limiter.snapshot(clock()).waiting, [0; 4]);
        }
        limiter.acquire(Priority::Normal, None).await.unwrap();
        assert!(close_to(clock() - begin, millis(100)));
    });
}

#[test]
fn the_second_moves_up_when_the_first_is_dropped() {
    run(async {
        let (limiter, begin) = (drained(), clock());
        let first = tokio::spawn({
            let limiter = limiter.clone();
            async move { limiter.acquire(Priority::Low, None).await }
        });
        tokio::task::yield_now().await;
        let second = tokio::spawn({
            let limiter = limiter.clone();
            async move { limiter.acquire(Priority::Low, None).await }
        });
        tokio::time::sleep(millis(10)).await;
        first.abort();
        second.await.unwrap().unwrap();
        // Two tokens: what the first would have had.
        assert!(close_to(clock() - begin, millis(200)));
    });
}

#[test]
fn a_pause_holds_back_and_refuses_what_it_outlasts() {
    run(async {
        let (limiter, begin) = (RateLimiter::default(), clock());
        limiter.pause(begin + millis(300));
        limiter.acquire(Priority::Critical, None).await.unwrap();
        assert!(close_to(clock() - begin, millis(300)));
        limiter.pause(clock() + millis(5_000));
        let refusal = limiter.acquire(Priority::Critical, None).await.unwrap_err();
        assert_eq!(refusal.reason, RefusalReason::Paused);
        assert!(close_to(refusal.retry_after, millis(5_000)));
        assert!(close_to(clock() - begin, millis(300)));
    });
}

#[test]
fn hundreds_wait_leave_in_order_and_none_is_forgotten() {
    run(async {
        let adapt = AdaptConfig {
            min_rate: 1_000.0,
            max_rate: Some(1_000.0),
            ..AdaptConfig::default()
        };
        let config = LimiterConfig {
            adapt,
            ..LimiterConfig::default()
        };
        let (limiter, begin) = (RateLimiter::new(Checked::new(config).unwrap()), clock());
        let lanes = [
            Priority::Low,
            Priority::Normal,
            Priority::High,
            Priority::Critical,
        ];
        let tasks: Vec<_> = (0..800)
            .map(|n| {
                let limiter = limiter.clone();
                tokio::spawn(async move { limiter.acquire(lanes[n % 4], None).await })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        // 200 of each lane are 800 tokens, and 100 of them were there.
        let took = clock() - begin;
        assert!(took >= millis(690) && took <= millis(1_000), "{took:?}");
    });
}

#[test]
fn a_command_that_overtakes_wakes_the_one_it_made_due() {
    run(async {
        let (limiter, begin) = (drained_with(millis(5_000)), clock());
        let waiter = |lane| {
            let limiter = limiter.clone();
            tokio::spawn(async move { limiter.acquire(lane, None).await.map(|()| clock()) })
        };
        let overtake = async || {
            tokio::time::sleep(millis(51)).await;
            limiter.try_acquire(Priority::Critical, clock()).unwrap();
        };
        let low = waiter(Priority::Low);
        for _ in 0..10 {
            overtake().await;
        }
        // `low` asks once more, hears that others come first, and sleeps.
        let normal = waiter(Priority::Normal);
        for _ in 0..6 {
            overtake().await;
        }
        // The 16th made `low` due, before `normal`.
        let (low, normal) = (low.await.unwrap(), normal.await.unwrap());
        let (low, normal) = (low.unwrap(), normal.unwrap());
        assert!(low < normal && normal - begin < millis(1_500));
    });
}

#[test]
fn the_end_of_a_pause_wakes_whoever_waits() {
    run(async {
        let (limiter, begin) = (RateLimiter::default(), clock());
        limiter.pause(begin + millis(1_000));
        let waiting = limiter.acquire(Priority::Normal, None);
        let resuming = async {
            tokio::time::sleep(millis(100)).await;
            limiter.resume();
        };
        let (waited, ()) = tokio::join!(waiting, resuming);
        waited.unwrap();
        assert!(close_to(clock() - begin, millis(100)));
    });
}

#[test]
fn a_look_at_the_figures_lifts_a_forgotten_limit_for_whoever_waits() {
    run(async {
        let adapt = AdaptConfig {
            min_rate: 0.1,
            forget_after: millis(1_000),
            ..AdaptConfig::default()
        };
        let config = LimiterConfig {
            adapt,
            max_wait: millis(20_000),
            reserve: Duration::ZERO,
            ..LimiterConfig::default()
        };
        let limiter = RateLimiter::new(Checked::new(config).unwrap());
        limiter.try_acquire(Priority::Normal, clock()).unwrap();
        for _ in 0..20 {
            limiter.observe(Priority::Normal, Signal::PushedBack, millis(1), clock());
            tokio::time::sleep(millis(900)).await;
        }
        while limiter.try_acquire(Priority::Critical, clock()).is_ok() {}
        let begin = clock();
        let waiting = limiter.acquire(Priority::Normal, None);
        let looking = async {
            tokio::time::sleep(millis(1_100)).await;
            assert_eq!(limiter.snapshot(clock()).limit, None);
        };
        let (waited, ()) = tokio::join!(waiting, looking);
        waited.unwrap();
        assert!(
            close_to(clock() - begin, millis(1_100)),
            "{:?}",
            clock() - begin
        );
    });
}
