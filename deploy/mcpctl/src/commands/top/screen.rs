//! The live screen: looks at intervals, keys at any time.

use std::{pin::pin, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, error::Elapsed, interval, timeout},
};

use super::{
    board::Board,
    look::{Look, Observer},
    page::{self, Heading, View},
};
use crate::{
    commands::agents::now_ms,
    failure::Failure,
    output::age,
    signals::Signals,
    terminal::{Key, Terminal},
};

/// How long a look may take before the screen says that there is no answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Lines that a page key scrolls.
const PAGE: usize = 10;

/// What to do after a key.
enum Next {
    Draw,
    Look,
    End,
}

/// Runs until somebody ends it.
pub(super) async fn run(
    mut observer: Observer,
    mut view: View,
    mut heading: Heading,
    every: Duration,
) -> Result<(), Failure> {
    let listen = |error: std::io::Error| Failure::io("the terminal cannot be used", &error);
    let mut signals = Signals::listen()?;
    let mut resized = signal(SignalKind::window_change()).map_err(listen)?;
    let mut last: Look = observer.look().await?;
    let mut board = Board::of(None, &last);
    let mut terminal = Terminal::take().map_err(listen)?;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        heading.now_ms = now_ms();
        let lines = page::screen(&board, &mut view, &heading, terminal.size());
        let width = terminal.size().width;
        let lines: Vec<String> = lines.iter().map(|line| line.shown(width)).collect();
        if terminal.show(&lines).is_err() {
            // Nobody sees it any more.
            return Ok(());
        }
        let next = tokio::select! {
            _ = ticks.tick() => if view.paused { Next::Draw } else { Next::Look },
            key = terminal.key() => key.map_or(Next::End, |key| pressed(key, &mut view)),
            _ = resized.recv() => Next::Draw,
            () = signals.next() => Next::End,
        };
        match next {
            Next::Draw => {}
            Next::End => return Ok(()),
            Next::Look => match look(&mut observer, &mut terminal, &mut signals, &mut view).await {
                None => return Ok(()),
                Some(Ok(Ok(look))) => {
                    board = Board::of(Some(&last), &look);
                    heading.clock = super::clock();
                    heading.trouble = None;
                    last = look;
                }
                Some(Ok(Err(failure))) => {
                    heading.trouble = Some(trouble(last.at, &failure.sentence()))
                }
                Some(Err(_)) => {
                    heading.trouble = Some(trouble(last.at, "the server does not answer"))
                }
            },
        }
    }
}

/// Looks, unless somebody ends it meanwhile: a server that is away must not hold up who wants to leave. Other keys show with
/// what was seen.
async fn look(
    observer: &mut Observer,
    terminal: &mut Terminal,
    signals: &mut Signals,
    view: &mut View,
) -> Option<Result<Result<Look, Failure>, Elapsed>> {
    let mut looking = pin!(timeout(PATIENCE, observer.look()));
    loop {
        tokio::select! {
            looked = &mut looking => return Some(looked),
            key = terminal.key() => {
                if matches!(key.map_or(Next::End, |key| pressed(key, view)), Next::End) {
                    return None;
                }
            }
            () = signals.next() => return None,
        }
    }
}

fn trouble(seen_at: Instant, why: &str) -> String {
    format!("as it was {} ago: {why}", age(seen_at.elapsed()))
}

fn pressed(key: Key, view: &mut View) -> Next {
    match key {
        Key::Char('q' | 'Q') | Key::Escape | Key::End => return Next::End,
        Key::Char('s') => view.sort = view.sort.next(),
        Key::Char('i') => {
            view.instances = !view.instances;
            view.offset = 0;
        }
        Key::Char('p' | ' ') => {
            view.paused = !view.paused;
            if !view.paused {
                return Next::Look;
            }
        }
        Key::Up | Key::Char('k') => view.offset = view.offset.saturating_sub(1),
        Key::Down | Key::Char('j') => view.offset += 1,
        Key::PageUp => view.offset = view.offset.saturating_sub(PAGE),
        Key::PageDown => view.offset += PAGE,
        Key::Home | Key::Char('g') => view.offset = 0,
        Key::Char(_) => {}
    }
    Next::Draw
}
