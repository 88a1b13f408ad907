//! A studio of five agents that makes a short video from a theme. Each is a process of its own:
//!
//! ```text
//! video-studio content_agent     writes the script
//! video-studio visual_agent      draws scenes; run several to draw several at once
//! video-studio audio_agent       plays the music
//! video-studio editing_agent     cuts the film
//! video-studio director_agent    asks the others, in the right order
//! ```
//!
//! Where to start reading: [`actions`] is what the agents say to each other, [`agents`] are the
//! agents. Everything else makes pictures and sound and knows nothing of agents.

mod actions;
mod agents;
mod audio;
mod colour;
mod editing;
mod failure;
mod frames;
mod rng;
mod script;
mod visual;

use std::process::ExitCode;

use agents::{audio_agent, content_agent, director_agent, editing_agent, visual_agent};

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[tokio::main]
async fn main() -> ExitCode {
    let role = std::env::args().nth(1).unwrap_or_default();
    let ended = match role.as_str() {
        "content_agent" => content_agent::agent().version(VERSION).run().await,
        "visual_agent" => visual_agent::agent().version(VERSION).run().await,
        "audio_agent" => audio_agent::agent().version(VERSION).run().await,
        "editing_agent" => editing_agent::agent().version(VERSION).run().await,
        "director_agent" => director_agent::agent().version(VERSION).run().await,
        _ => {
            eprintln!(
                "usage: video-studio content_agent|visual_agent|audio_agent|editing_agent|director_agent"
            );
            return ExitCode::from(2);
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{role}: {error}");
            ExitCode::FAILURE
        }
    }
}
