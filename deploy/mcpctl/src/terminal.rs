//! The whole terminal as a screen: keys one by one, a page of its own, and everything as it was at the end, also after a panic.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::AsFd,
    panic,
    sync::{Arc, Mutex, PoisonError},
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

/// A page of its own, without cursor, and lines that are cut instead of broken.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l";
const LEAVE: &str = "\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l";
const HOME: &str = "\u{1b}[H";
const REST_OF_LINE: &str = "\u{1b}[K";
const REST_OF_SCREEN: &str = "\u{1b}[J";

/// Keys that nobody has looked at yet; more are dropped.
const MOST_KEYS: usize = 64;

/// What a terminal is taken to have that does not say it.
const SIZE: Size = Size {
    width: 80,
    height: 24,
};

/// Columns and lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// A key that was pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Char(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    Escape,
    /// Ctrl-C or Ctrl-D, which end every program.
    End,
}

/// The terminal, taken; dropping it gives it back.
pub(crate) struct Terminal {
    output: File,
    before: Arc<Before>,
    keys: mpsc::Receiver<Key>,
}

/// How the terminal was; given back once.
struct Before {
    input: File,
    output: File,
    settings: Mutex<Option<Termios>>,
}

impl Terminal {
    /// Takes the terminal that stdin and stdout are.
    pub(crate) fn take() -> io::Result<Self> {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        Self::of(input.into(), output.into())
    }

    fn of(input: File, output: File) -> io::Result<Self> {
        let settings = tcgetattr(&input)?;
        let mut raw = settings.clone();
        raw.make_raw();
        let before = Arc::new(Before {
            input: input.try_clone()?,
            output: output.try_clone()?,
            settings: Mutex::new(Some(settings)),
        });
        tcsetattr(&input, OptionalActions::Flush, &raw)?;
        let mut terminal = Self {
            output,
            before: Arc::clone(&before),
            keys: listen(input),
        };
        // The message of a panic belongs on the page that stays.
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            before.restore();
            report(panicked);
        }));
        terminal.output.write_all(ENTER.as_bytes())?;
        Ok(terminal)
    }

    /// How large it is now.
    pub(crate) fn size(&self) -> Size {
        match tcgetwinsize(&self.output) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Size {
                width: size.ws_col.into(),
                height: size.ws_row.into(),
            },
            _ => SIZE,
        }
    }

    /// Shows these lines and nothing else, in one write: half a page would flicker.
    pub(crate) fn show(&mut self, lines: &[String]) -> io::Result<()> {
        // Cleared first: after a full line the cursor stands on its last column, which would be cleared.
        let lines = lines.join(&format!("\r\n{REST_OF_LINE}"));
        let page = format!("{HOME}{REST_OF_SCREEN}{lines}");
        self.output.write_all(page.as_bytes())?;
        self.output.flush()
    }

    /// The next key; `None` when the terminal is gone. Safe to use in `select!`.
    pub(crate) async fn key(&mut self) -> Option<Key> {
        self.keys.recv().await
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.before.restore();
    }
}

impl Before {
    fn restore(&self) {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(settings) = settings.take() {
            // Nothing is left to do when the terminal has gone.
            let _ = (&self.output).write_all(LEAVE.as_bytes());
            let _ = tcsetattr(&self.input, OptionalActions::Flush, &settings);
        }
    }
}

/// Reads keys on a thread that ends with the terminal or the process: a read cannot be called off.
fn listen(mut input: File) -> mpsc::Receiver<Key> {
    let (sender, receiver) = mpsc::channel(MOST_KEYS);
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(count @ 1..) = input.read(&mut buffer) {
            for key in keys(&buffer[..count]) {
                if let Err(mpsc::error::TrySendError::Closed(_)) = sender.try_send(key) {
                    return;
                }
            }
        }
    });
    receiver
}

/// The keys in what was read at once. A terminal sends the sequence of a key in one piece.
fn keys(bytes: &[u8]) -> Vec<Key> {
    let text = String::from_utf8_lossy(bytes);
    let mut rest: &str = &text;
    let mut keys = Vec::new();
    while let Some(first) = rest.chars().next() {
        let sequence = SEQUENCES.iter().find(|(bytes, _)| rest.starts_with(bytes));
        let (length, key) = match (sequence, first) {
            (Some((bytes, key)), _) => (bytes.len(), Some(*key)),
            (None, '\u{1b}') => escaped(rest),
            (None, '\u{3}' | '\u{4}') => (1, Some(Key::End)),
            (None, first) => (first.len_utf8(), Some(Key::Char(first))),
        };
        keys.extend(key);
        rest = &rest[length..];
    }
    keys
}

const SEQUENCES: [(&str, Key); 8] = [
    ("\u{1b}[A", Key::Up),
    ("\u{1b}OA", Key::Up),
    ("\u{1b}[B", Key::Down),
    ("\u{1b}OB", Key::Down),
    ("\u{1b}[5~", Key::PageUp),
    ("\u{1b}[6~", Key::PageDown),
    ("\u{1b}[H", Key::Home),
    ("\u{1b}OH", Key::Home),
];

/// The escape key alone, or the sequence of a key that means nothing here.
fn escaped(text: &str) -> (usize, Option<Key>) {
    let Some(sequence) = text.strip_prefix("\u{1b}[") else {
        return (1, Some(Key::Escape));
    };
    let end = sequence.find(|c: char| c.is_ascii_alphabetic() || c == '~');
    (end.map_or(text.len(), |end| end + 3), None)
}

#[cfg(test)]
mod tests {
    use rustix::{
        fs::{Mode, OFlags, open},
        pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
        termios::LocalModes,
    };

    use super::*;

    #[test]
    fn keys_are_told_apart() {
        let check = |bytes: &str, expected: &[Key]| assert_eq!(keys(bytes.as_bytes()), expected);
        check("qs", &[Key::Char('q'), Key::Char('s')]);
        check(
            "\u{1b}[A\u{1b}OB\u{1b}[5~",
            &[Key::Up, Key::Down, Key::PageUp],
        );
        check("\u{1b}", &[Key::Escape]);
        check("\u{3}", &[Key::End]);
        check("\u{1b}[1;5Cä", &[Key::Char('ä')]);
        check("\u{1b}[", &[]);
    }

    /// Both ends of a terminal of our own.
    fn pair() -> (File, File) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        (master.into(), slave.into())
    }

    fn is_raw(terminal: &File) -> bool {
        let modes = tcgetattr(terminal).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    #[test]
    fn terminal_is_given_back_also_after_a_panic() {
        let (mut master, slave) = pair();
        let take = || Terminal::of(slave.try_clone().unwrap(), slave.try_clone().unwrap());
        let panicked = panic::catch_unwind(|| {
            let mut terminal = take().unwrap();
            terminal.show(&["a page".to_owned()]).unwrap();
            assert!(is_raw(&slave));
            panic!("somewhere below the screen");
        });
        assert!(panicked.is_err());
        assert!(!is_raw(&slave));
        let mut buffer = [0; 1024];
        let count = master.read(&mut buffer).unwrap();
        let seen = String::from_utf8_lossy(&buffer[..count]);
        assert!(
            seen.starts_with(ENTER) && seen.contains("a page"),
            "{seen:?}"
        );
        assert!(seen.ends_with(LEAVE), "{seen:?}");
    }
}
