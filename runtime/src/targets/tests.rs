//! What becomes of a target's policies, whatever it answers.

use super::*;
use crate::{message::Answerer, resilience::BreakerState};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn sending() -> Sending {
    Sending {
        source: name("me"),
        action: name("act"),
        priority: Priority::Normal,
    }
}

fn targets() -> Targets {
    Targets::new(Protection::default()).0
}

async fn pass(target: &Target) -> Pass<'_> {
    let deadline = Instant::now() + Duration::from_secs(60);
    target.admit(sending(), deadline).await.unwrap()
}

async fn answer(target: &Target, error: &McpError) {
    let answerer = Answerer {
        command_id: "c".to_owned(),
        attempt: 1,
        source: name("front"),
        instance: "i".to_owned(),
    };
    let reply = answerer.response(Err(error.clone()));
    pass(target).await.record(&Ok(reply));
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_bounded_and_a_reset_ends_it() {
    let targets = targets();
    let target = targets.of(&name("front"));
    let for_ever = Duration::from_millis(u64::MAX);
    let error = McpError::temporary(code::RATE_LIMITED).retry_after(for_ever);
    answer(&target, &error).await;
    let left = target.limiter.snapshot(now()).paused_for;
    assert_eq!(left, Some(LONGEST_PAUSE));
    targets.reset_breaker(&name("me"), &name("front"), None);
    assert_eq!(target.limiter.snapshot(now()).paused_for, None);
}

#[tokio::test(start_paused = true)]
async fn what_the_agent_itself_was_refused_concerns_another_target() {
    let refusals = [
        SendError::RateLimited {
            target: "db".to_owned(),
            retry_after: Duration::from_secs(60),
        },
        SendError::CircuitOpen {
            target: "db".to_owned(),
            retry_after: Duration::from_secs(60),
            forced: false,
        },
    ];
    for refusal in refusals {
        let target = targets().of(&name("front"));
        // As `?` in a handler makes it.
        let error = McpError::from(refusal);
        for _ in 0..40 {
            answer(&target, &error).await;
        }
        let limiter = target.limiter.snapshot(now());
        assert_eq!((limiter.limit, limiter.paused_for), (None, None), "{error}");
        let (_, breaker) = target.breakers.snapshots(now()).remove(0);
        assert_eq!((breaker.state, breaker.calls), (BreakerState::Closed, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn one_full_action_does_not_slow_down_what_is_sent_to_others() {
    let limited = |error: McpError| async move {
        let target = targets().of(&name("front"));
        for _ in 0..40 {
            answer(&target, &error).await;
        }
        target.limiter.snapshot(now()).limit
    };
    let overloaded = McpError::temporary(code::OVERLOADED);
    assert!(limited(overloaded.clone()).await.is_some());
    assert_eq!(limited(overloaded.of_limit_on("act")).await, None);
}

#[tokio::test(start_paused = true)]
async fn what_has_waited_for_the_limiter_is_not_sent_to_a_target_that_died_meanwhile() {
    let target = targets().of(&name("front"));
    let early: Vec<_> = futures_util::future::join_all((0..20).map(|_| pass(&target))).await;
    target.limiter.pause(now() + Duration::from_secs(1));
    let deadline = Instant::now() + Duration::from_secs(60);
    let waiting = target.admit(sending(), deadline);
    let dying = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        for pass in early {
            let error = McpError::temporary("DISK_FULL");
            let answerer = Answerer {
                command_id: "c".to_owned(),
                attempt: 1,
                source: name("front"),
                instance: "i".to_owned(),
            };
            pass.record(&Ok(answerer.response(Err(error))));
        }
    };
    let (waited, ()) = tokio::join!(waiting, dying);
    let refusal = waited.err().map(|error| error.code());
    assert_eq!(refusal.as_deref(), Some(code::CIRCUIT_OPEN));
}

#[tokio::test(start_paused = true)]
async fn only_what_is_not_needed_is_forgotten() {
    let targets = targets();
    let (open, used) = (name("open"), name("used"));
    targets.force_open(&name("me"), &open, None, None);
    answer(&targets.of(&used), &McpError::permanent("NO")).await;
    for number in 0..2 * MOST_TARGETS {
        targets.of(&name(&format!("agent-{number}")));
    }
    assert!(targets.lock().len() <= MOST_TARGETS);
    for (target, calls) in [(&open, 0), (&used, 1)] {
        let (_, breaker) = targets.of(target).breakers.snapshots(now()).remove(0);
        assert_eq!(breaker.calls, calls, "{target}");
        assert_eq!(breaker.state == BreakerState::Open, calls == 0, "{target}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_figure_of_a_limit_ends_with_it_and_with_its_target() {
    let targets = targets();
    let overloaded = McpError::temporary(code::OVERLOADED);
    for _ in 0..40 {
        answer(&targets.of(&name("front")), &overloaded).await;
    }
    let clients = [Arc::downgrade(&targets.by_name)];
    let shown = || telemetry::by_target(&clients, Instant::now());
    assert_eq!(shown().into_keys().collect::<Vec<_>>(), [name("front")]);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(shown().is_empty(), "the limit is over");
    for _ in 0..40 {
        answer(&targets.of(&name("front")), &overloaded).await;
    }
    assert_eq!(shown().len(), 1);
    drop(targets);
    assert!(shown().is_empty(), "nobody sends there any more");
}
