//! A real terminal for `mcpctl`: a pseudo terminal of the kernel, and an emulator that knows what a person would see.

use std::{
    fs::File,
    io::{Read, Write},
    num::NonZeroU16,
    process::ExitStatus,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::{
    fs::{Mode, OFlags, open},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};
use tokio::{process::Child, time::timeout};

use crate::{PATIENCE, eventually, process::command};

type Screen = Arc<Mutex<vt100::Parser>>;

/// `mcpctl` in a terminal; dropping it kills it.
pub struct Terminal {
    child: Child,
    keyboard: File,
    /// The end that the program has, kept open to look at its settings.
    line: File,
    screen: Screen,
}

impl Terminal {
    /// Starts `mcpctl` in a terminal of so many columns and lines.
    ///
    /// # Panics
    /// When there is no terminal to be had, or `mcpctl` cannot be started.
    pub async fn start(url: &str, arguments: &[&str], (width, height): (u16, u16)) -> Self {
        let (keyboard, line) = pair();
        let (rows, columns) = (lines(height), lines(width));
        let screen: Screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        set_size(&line, width, height);
        read(
            keyboard.try_clone().expect("a file has handles"),
            Arc::clone(&screen),
        );
        let end = || line.try_clone().expect("a file has handles");
        let mut command = command(url, arguments).await;
        command
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .kill_on_drop(true);
        let child = command.spawn().expect("mcpctl can be run");
        Self {
            child,
            keyboard,
            line,
            screen,
        }
    }

    /// What is to be seen, line by line.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let parser = self.parser();
        let (_, width) = parser.screen().size();
        parser
            .screen()
            .rows(0, width.get())
            .map(|row| row.trim_end().to_owned())
            .collect()
    }

    /// Whether the program has a page of its own.
    #[must_use]
    pub fn has_own_page(&self) -> bool {
        self.parser().screen().alternate_screen()
    }

    /// Waits until the terminal is as a shell wants it: lines, echo, Ctrl-C, a cursor, the page that scrolls.
    ///
    /// # Panics
    /// When it never is.
    pub async fn restored(&self) {
        // What the program wrote last may still be on its way to the screen.
        eventually("the terminal is given back", || async {
            self.is_restored()
        })
        .await;
    }

    fn is_restored(&self) -> bool {
        let modes = tcgetattr(&self.line).expect("it is a terminal").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
            && !self.parser().screen().hide_cursor()
            && !self.has_own_page()
    }

    /// Waits until a text is to be seen.
    ///
    /// # Panics
    /// When it never is.
    pub async fn shows(&self, text: &str) {
        let mut last = Vec::new();
        let looking = eventually(text, || {
            last = self.lines();
            let found = last.iter().any(|line| line.contains(text));
            async move { found }
        });
        if timeout(PATIENCE / 2, looking).await.is_err() {
            panic!("`{text}` is not to be seen:\n{}", self.lines().join("\n"));
        }
    }

    /// Presses keys.
    ///
    /// # Panics
    /// When nobody reads them.
    pub fn press(&mut self, keys: &str) {
        self.keyboard
            .write_all(keys.as_bytes())
            .expect("the terminal is there");
    }

    /// Makes the window larger or smaller, and says so, as a window manager does.
    ///
    /// # Panics
    /// When the program has ended.
    pub fn resize(&mut self, width: u16, height: u16) {
        self.parser()
            .screen_mut()
            .set_size(lines(height), lines(width));
        set_size(&self.line, width, height);
        self.signal(Signal::WINCH);
    }

    /// Sends the program a signal.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("the process runs");
        let pid = Pid::from_raw(id.cast_signed()).expect("a process id is not zero");
        kill_process(pid, signal).expect("a child can be signalled");
    }

    /// Waits until the program ends.
    ///
    /// # Panics
    /// When it does not in time.
    pub async fn ended(&mut self) -> ExitStatus {
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status.expect("a child can be waited for"),
            Err(_) => panic!("it did not end:\n{}", self.lines().join("\n")),
        }
    }

    fn parser(&self) -> MutexGuard<'_, vt100::Parser> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pair() -> (File, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal can be had");
    grantpt(&master).expect("it is ours");
    unlockpt(&master).expect("it is ours");
    let name = ptsname(&master, Vec::new()).expect("it has a name");
    let line = open(
        name,
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    (master.into(), line.expect("it can be opened").into())
}

fn lines(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).expect("a window has lines")
}

fn set_size(line: &File, width: u16, height: u16) {
    let size = Winsize {
        ws_row: height,
        ws_col: width,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(line, size).expect("it is a terminal");
}

/// Shows what the program writes, until the terminal is gone.
fn read(mut master: File, screen: Screen) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = master.read(&mut buffer) {
            let mut parser = screen.lock().unwrap_or_else(PoisonError::into_inner);
            parser.process(&buffer[..count]);
        }
    });
}
