//! F7 and F8: the machine's disk is full, the machine's clock is wrong.

use std::{path::PathBuf, process::Command, time::Duration};

use mcp_agent_sdk::Client;
use rustix::process::Signal;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::faults::{
    Failed, NotHere,
    history::{Ending, now_ms},
    scene::Scene,
};

/// Two days.
const OFF_MS: i64 = 2 * 24 * 3_600_000;

/// The clock of one process, as its C library shows it.
const SHIM: &str = include_str!("clock.c");

/// After so long somebody must have been told that nothing is stored.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// F7: nothing more fits for a while; then there is room again, and whoever watches the server starts it again.
pub(super) async fn disk_is_full(scene: &mut Scene) -> Result<(), Failed> {
    scene.begin(2).await?;
    let client = scene.client().await?;
    for _ in 0..2 {
        scene.settle(Duration::from_secs(3)).await;
        let from_ms = now_ms();
        let ballast = scene.servers.fill_the_disk()?;
        match refusal(&client).await {
            Some(text) => eprintln!("    a full disk reads: {text}"),
            None => scene
                .recorder
                .remarks("I6", "nobody was told that the disk is full".to_owned()),
        }
        sleep(Duration::from_secs(5)).await;
        std::fs::remove_file(ballast)?;
        let cluster = &mut scene.servers.cluster;
        for at in 0..cluster.size() {
            cluster.end(at, Signal::KILL).await;
        }
        cluster.revive_all().await;
        scene.recorder.broke("full disk", None, from_ms);
    }
    scene.settle(Duration::from_secs(3)).await;
    Ok(())
}

/// What somebody hears who submits to a server that has no room.
async fn refusal(client: &Client) -> Option<String> {
    let give_up = Instant::now() + TOLD_WITHIN;
    while Instant::now() < give_up {
        let submitted = client
            .submit_command("nobody", "nothing", json!({"ballast": "x".repeat(4_000)}))
            .timeout(Duration::from_secs(3));
        if let Err(error) = submitted.await {
            return Some(format!("{}: {error}", error.code()));
        }
    }
    None
}

/// F8: agents whose clocks are two days ahead and two days behind, and one whose clock is right.
pub(super) async fn wrong_clock(scene: &mut Scene) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let shim = build_shim(folder.path().join("clock.so"))?;
    scene.crew.join_off(&shim, OFF_MS).await?;
    scene.crew.join_off(&shim, -OFF_MS).await?;
    scene.begin(1).await?;
    for place in [0, 1, 2] {
        scene.settle(Duration::from_secs(6)).await;
        // Leases and timers of what it has come to others, whose clocks say something else.
        scene.crew.pause(place, Duration::from_secs(11)).await;
    }
    scene.settle(Duration::from_secs(3)).await;
    scene.rest().await;
    let history = scene.recorder.so_far();
    let late = history.operations.iter().filter(|operation| {
        let ended = operation.ended.as_ref().map(|(_, ending)| ending);
        matches!(ended, Some(Ending::Refused { code }) if code == "DEADLINE_EXCEEDED")
    });
    let late = late.count();
    if late > 0 {
        let text = format!("{late} commands were refused for deadlines that had not passed");
        scene.recorder.remarks("I6", text);
    }
    Ok(())
}

fn build_shim(path: PathBuf) -> Result<PathBuf, Failed> {
    let source = path.with_extension("c");
    std::fs::write(&source, SHIM)?;
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-O1", "-o"]);
    let built = command.arg(&path).arg(&source).arg("-ldl").output();
    match built {
        Ok(output) if output.status.success() => Ok(path),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into()),
        Err(_) => Err(NotHere("a wrong clock needs a C compiler".to_owned()).into()),
    }
}
