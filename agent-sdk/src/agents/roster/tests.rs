use super::*;

/// What happens to the instance `w1` of `writer`, second by second.
struct Story {
    roster: Roster,
    begin: Instant,
    revision: u64,
}

impl Story {
    fn of(filter: Filter) -> Self {
        Self {
            roster: Roster::new(filter),
            begin: Instant::now(),
            revision: 0,
        }
    }

    fn at(&mut self, second: u64, revision: u64, what: Result<&str, Gone>) -> Vec<&'static str> {
        let what = what.map(|state| {
            let record = serde_json::json!({"agent": "writer", "instance": "w1", "state": state});
            (
                serde_json::from_value(record).unwrap(),
                Duration::from_secs(3),
            )
        });
        let key = ("writer".to_owned(), "w1".to_owned());
        let now = self.begin + Duration::from_secs(second);
        self.roster.note(key, revision, what, now);
        std::iter::from_fn(|| self.roster.next_change())
            .map(|change| match change {
                AgentChange::Online(_) => "online",
                AgentChange::Changed { .. } => "changed",
                AgentChange::Offline {
                    gone: Gone::Left, ..
                } => "left",
                AgentChange::Offline {
                    gone: Gone::Silent, ..
                } => "silent",
                AgentChange::Offline {
                    gone: Gone::Filtered,
                    ..
                } => "filtered",
            })
            .collect()
    }

    fn next(&mut self, second: u64, what: Result<&str, Gone>) -> Vec<&'static str> {
        self.revision += 1;
        self.at(second, self.revision, what)
    }
}

#[test]
fn coming_changing_and_leaving_are_told_once() {
    let mut story = Story::of(Filter::default());
    assert_eq!(story.next(0, Ok("ready")), ["online"]);
    assert_eq!(story.next(1, Ok("ready")), [""; 0]);
    assert_eq!(story.next(2, Ok("busy")), ["changed"]);
    assert_eq!(
        story.at(2, 1, Ok("ready")),
        [""; 0],
        "an old revision is late"
    );
    assert_eq!(story.next(3, Err(Gone::Left)), ["left"]);
    assert_eq!(story.next(4, Err(Gone::Left)), [""; 0]);
    assert_eq!(
        story.next(5, Ok("ready")),
        ["online"],
        "who took leave is back at once"
    );
}

#[test]
fn one_that_flaps_stays_away_until_it_is_steady() {
    let mut story = Story::of(Filter::default());
    assert_eq!(story.next(0, Ok("ready")), ["online"]);
    assert_eq!(story.next(4, Err(Gone::Silent)), ["silent"]);
    for second in [5, 15, 25] {
        assert_eq!(story.next(second, Ok("ready")), [""; 0]);
        assert_eq!(story.next(second + 4, Err(Gone::Silent)), [""; 0]);
    }
    assert_eq!(story.next(30, Ok("ready")), [""; 0]);
    assert_eq!(story.next(32, Ok("ready")), [""; 0]);
    assert!(story.roster.current().is_empty());
    assert_eq!(story.next(33, Ok("ready")), ["online"]);
}

#[test]
fn a_filter_hides_what_no_longer_fits() {
    let mut story = Story::of(Filter {
        state: Some(mcp_runtime::InstanceState::Ready),
        ..Filter::default()
    });
    assert_eq!(story.next(0, Ok("starting")), [""; 0]);
    assert_eq!(story.next(1, Ok("ready")), ["online"]);
    assert_eq!(story.next(2, Ok("busy")), ["filtered"]);
    assert_eq!(story.next(3, Err(Gone::Silent)), [""; 0]);
}

#[test]
fn who_is_looked_for_and_not_found_has_gone() {
    let mut story = Story::of(Filter::default());
    assert_eq!(story.next(0, Ok("ready")), ["online"]);
    let at = |second| story.begin + Duration::from_secs(second);
    let key = || ("writer".to_owned(), "w1".to_owned());
    story.roster.not_found(key(), at(5));
    assert!(matches!(
        story.roster.next_change(),
        Some(AgentChange::Offline {
            gone: Gone::Silent,
            ..
        })
    ));
}

#[test]
fn who_has_gone_is_forgotten_after_a_while() {
    let mut story = Story::of(Filter::default());
    story.next(0, Ok("ready"));
    story.next(1, Err(Gone::Silent));
    let other = ("writer".to_owned(), "w2".to_owned());
    let later = story.begin + Duration::from_secs(1) + REMEMBERED;
    story.roster.note(other, 9, Err(Gone::Left), later);
    assert!(story.roster.known.is_empty(), "{:?}", story.roster.known);
}
