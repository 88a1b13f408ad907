//! The page: what is where, for any width and height. Pure.

mod agents;
mod below;

use crate::{
    commands::top::{Sort, board::Board},
    output::{Line, Tone},
    terminal::Size,
};

/// How the page is looked at.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) sort: Sort,
    /// Each instance has a line, not each agent.
    pub(super) instances: bool,
    pub(super) paused: bool,
    /// Rows of the table that are scrolled past.
    pub(super) offset: usize,
}

/// Whose page it is, and when it was made.
#[derive(Debug, Clone)]
pub(super) struct Heading {
    pub(super) server: String,
    pub(super) namespace: String,
    pub(super) clock: String,
    pub(super) now_ms: u64,
    /// Why there is nothing newer.
    pub(super) trouble: Option<String>,
}

/// Rows of the table that are there in any case: below, there is room for what is left.
const LEAST_ROWS: usize = 3;

/// Lines of the head, and the line of the keys.
const FRAME: usize = 5;

/// A page that fills the screen; its last line tells the keys. The offset is brought back to where there are rows.
pub(super) fn screen(board: &Board, view: &mut View, heading: &Heading, size: Size) -> Vec<Line> {
    let mut lines = head(board, heading, view.paused);
    let table = agents::table(board, view, heading.now_ms, size.width);
    let room = size.height.saturating_sub(FRAME + 1);
    let below = below::sections(board, room.saturating_sub(LEAST_ROWS.min(table.rows.len())));
    let rows = room.saturating_sub(below.len()).max(1);
    view.offset = view.offset.min(table.rows.len().saturating_sub(rows));
    let shown = table.rows.iter().skip(view.offset).take(rows);
    lines.push(table.header);
    lines.extend(shown.cloned());
    lines.extend(below);
    lines.truncate(size.height.saturating_sub(1));
    lines.resize(size.height.saturating_sub(1), Line::default());
    let hidden = table.rows.len().saturating_sub(rows);
    lines.push(keys(view, hidden));
    lines
}

/// All there is, for a pipe.
pub(super) fn whole(board: &Board, view: &View, heading: &Heading, width: usize) -> Vec<Line> {
    let mut lines = head(board, heading, false);
    let table = agents::table(board, view, heading.now_ms, width);
    lines.push(table.header);
    lines.extend(table.rows);
    lines.extend(below::sections(board, usize::MAX));
    lines
}

fn head(board: &Board, heading: &Heading, paused: bool) -> Vec<Line> {
    let totals = &board.totals;
    let mut title = Line::toned(Tone::Strong, "mcpctl top")
        .then(format!(
            "  {}  namespace {}",
            heading.server, heading.namespace
        ))
        .then_toned(Tone::Quiet, format!("  {}", heading.clock));
    if paused {
        title = title.then_toned(Tone::Warning, "  paused");
    }
    let tone_if = |bad: bool| if bad { Tone::Bad } else { Tone::Strong };
    let figures = Line::of("agents ")
        .then_toned(Tone::Strong, totals.agents.to_string())
        .then(match totals.instances {
            1 => " (1 instance)".to_owned(),
            count => format!(" ({count} instances)"),
        })
        .then("  queued ")
        .then_toned(Tone::Strong, totals.queued.to_string())
        .then("  in work ")
        .then_toned(Tone::Strong, totals.in_work.to_string())
        .then("  dead letters ")
        .then_toned(
            tone_if(totals.dead_letters > 0),
            totals.dead_letters.to_string(),
        );
    let open = board.breakers.len();
    let rates = Line::of("commands ")
        .then_toned(Tone::Strong, per_second(totals.commands_per_s))
        .then("/s  events ")
        .then_toned(Tone::Strong, per_second(totals.events_per_s))
        .then("/s  breakers not closed ")
        .then_toned(tone_if(open > 0), open.to_string());
    let trouble = heading.trouble.as_ref();
    let trouble = trouble.map_or_else(Line::default, |why| Line::toned(Tone::Bad, why));
    vec![title, figures, rates, trouble]
}

fn keys(view: &View, hidden: usize) -> Line {
    let key = |line: Line, key: &str, what: &str| line.then_toned(Tone::Strong, key).then(what);
    let mut line = Line::default();
    line = key(line, "q", " quit  ");
    line = key(line, "s", &format!(" sort: {}  ", view.sort.as_str()));
    line = key(
        line,
        "i",
        if view.instances {
            " agents  "
        } else {
            " instances  "
        },
    );
    line = key(line, "p", if view.paused { " go on  " } else { " pause  " });
    if hidden > 0 {
        line = key(line, "↑↓", &format!(" {hidden} more"));
    }
    line
}

/// A rate with one decimal where that says something.
pub(super) fn per_second(rate: f64) -> String {
    match rate {
        0.0 => "0".to_owned(),
        rate if rate < 100.0 => format!("{rate:.1}"),
        rate if rate < 10_000.0 => format!("{rate:.0}"),
        rate => format!("{:.0}k", rate / 1_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::board::tests::{busy, many},
        *,
    };

    fn view() -> View {
        View {
            sort: Sort::Name,
            instances: false,
            paused: false,
            offset: 0,
        }
    }

    fn heading() -> Heading {
        Heading {
            server: "nats://127.0.0.1:4222".to_owned(),
            namespace: "mcp".to_owned(),
            clock: "12:00:00Z".to_owned(),
            now_ms: 61_000,
            trouble: None,
        }
    }

    fn shown(lines: &[Line], width: usize) -> Vec<String> {
        let shown = lines.iter().map(|line| line.shown(width));
        shown.map(|line| line.trim_end().to_owned()).collect()
    }

    #[test]
    fn everything_has_its_place_on_a_small_screen() {
        let size = Size {
            width: 80,
            height: 24,
        };
        let lines = screen(&busy(), &mut view(), &heading(), size);
        assert_eq!(lines.len(), 24);
        assert!(
            lines.iter().all(|line| line.width() <= 80),
            "nothing is cut"
        );
        let shown = shown(&lines, 80);
        assert_eq!(
            shown[..7],
            [
                "mcpctl top  nats://127.0.0.1:4222  namespace mcp  12:00:00Z",
                "agents 1 (2 instances)  queued 27  in work 6  dead letters 3",
                "commands 25.0/s  events 0/s  breakers not closed 2",
                "",
                "AGENT            INST STATE       LOAD CRIT HIGH NORM  LOW WORK  IN/S OUT/S DEAD",
                "printer             0 away                0    0    7    0    0     0     0    3",
                "writer              2 ready    █▌  75%    0    0   20    0    6  25.0  19.0    0",
            ]
            .map(str::to_owned)
        );
        let text = shown.join("\n");
        for part in [
            "`writer` runs in several versions: 1.0, 1.1",
            "writer (w1) -> printer  open, 30s left, 5 of 9 failed",
            "film",
            "4 starting  2 running  1 failed",
            "script 2",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        assert_eq!(shown[23], "q quit  s sort: name  i instances  p pause");
    }

    #[test]
    fn rows_that_do_not_fit_are_scrolled_to() {
        let board = many(100);
        let (mut at, heading) = (view(), heading());
        for (width, height) in [(80, 24), (120, 50), (40, 10), (5, 2), (1, 1)] {
            let lines = screen(&board, &mut at, &heading, Size { width, height });
            assert_eq!(lines.len(), height, "{width}x{height}");
        }
        at.offset = 1_000;
        let size = Size {
            width: 80,
            height: 24,
        };
        let lines = shown(&screen(&board, &mut at, &heading, size), 80);
        assert!(
            lines[22].starts_with("agent-099"),
            "the last row is the last: {lines:#?}"
        );
        assert!(lines[23].ends_with("82 more"), "{}", lines[23]);
        assert_eq!(at.offset, 82);
    }

    #[test]
    fn instances_have_lines_of_their_own() {
        let mut at = view();
        at.instances = true;
        let text = shown(&whole(&busy(), &at, &heading(), 100), 100).join("\n");
        for part in ["w1", "1.1", "12.5ms", "6/8"] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }
}
