//! Makes a video by asking the others.
//!
//! The making is a workflow, [`production`], which goes on where it was whoever dies. `make_video`
//! only starts it and follows it to its end, telling its requester of the progress; [`crew`] is how the
//! states talk to the agents.
//!
//! The director holds nothing that matters: when its process dies, the workflow and the command that
//! follows it are delivered to the next director.

mod crew;
mod extent;
mod news;
mod production;

use std::time::Duration;

use mcp_agent_sdk::{
    Agent, Context, McpError, Recovery, WorkflowError, WorkflowRecord, WorkflowStatus, code,
};
use tokio::{
    sync::broadcast::Receiver,
    time::{MissedTickBehavior, interval},
};

use super::editing_agent::check_output;
use crate::actions::{Bar, MAKE_VIDEO, MakeVideo, Step, Video};
use extent::Extent;
use news::{Director, News};
use production::{Production, VIDEO};

/// Between two looks at the record. Its states last seconds; the bars come by themselves.
const LOOK: Duration = Duration::from_millis(200);

pub(crate) fn agent() -> Agent<Director> {
    Agent::with_state("director_agent", Director::new())
        .workflow(production::definition())
        .handle(MAKE_VIDEO, make_video)
        .capacity(16)
}

/// The id of the command is the id of the workflow: delivered again, the command finds what is there.
async fn make_video(ctx: Context<Director>, order: MakeVideo) -> Result<Video, McpError> {
    check_output(&order.output)?;
    let news = ctx.state().listen();
    let id = ctx.message_id();
    // All commands of a video are in one conversation: the requester's, else one of its own.
    ctx.create_workflow(VIDEO, None, Production::of(order))
        .id(id)
        .conversation(ctx.conversation_id().unwrap_or(id))
        .await?;
    let record = follow(&ctx, id, news).await?;
    match (record.status, record.error.clone()) {
        (WorkflowStatus::Completed, _) => video(&record),
        // The states have tried it again often enough.
        (WorkflowStatus::Failed, Some(error)) => Err(error.max_retries(0)),
        _ => Err(McpError::permanent(code::CANCELLED).message(format!(
            "the video is {}: {}",
            record.status,
            record.stop_reason.as_deref().unwrap_or("no reason given")
        ))),
    }
}

/// Passes on what is told of a video until its workflow has ended.
///
/// Where another director runs the states, only their names are told, which are in the record.
async fn follow(
    ctx: &Context<Director>,
    id: &str,
    mut news: Receiver<News>,
) -> Result<WorkflowRecord, McpError> {
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut state = String::new();
    loop {
        tokio::select! {
            // Bars that were overtaken are an error here, and no loss.
            Ok(news) = news.recv() => pass_on(ctx, id, news).await,
            _ = look.tick() => match ctx.get_workflow(id).await {
                Ok(Some(record)) if record.is_ended() => {
                    while let Ok(news) = news.try_recv() {
                        pass_on(ctx, id, news).await;
                    }
                    return Ok(record);
                }
                Ok(Some(record)) if state != record.state.as_str() => {
                    record.state.as_str().clone_into(&mut state);
                    tell(ctx, &record).await;
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    let gone = format!("there is no workflow `{id}` any more");
                    return Err(McpError::permanent("NO_SUCH_WORKFLOW").message(gone));
                }
                // Without a server the lease on the command ends as well, and with it the waiting.
                Err(WorkflowError::Transport { .. }) => {}
                Err(error) => return Err(error.into()),
            },
            () = ctx.cancelled() => return Err(not_followed(id)),
        }
    }
}

async fn pass_on(ctx: &Context<Director>, id: &str, news: News) {
    if *news.workflow == *id {
        ctx.progress(news.progress).await;
    }
}

/// The state that has been reached, as a bar of the director.
async fn tell(ctx: &Context<Director>, record: &WorkflowRecord) {
    let Ok(production) = record.data::<Production>() else {
        return;
    };
    let extent = Extent::of(record.state.as_str(), production.script.as_ref());
    let bar = Bar {
        agent: ctx.agent().to_owned(),
        instance: ctx.instance().to_owned(),
        done: extent.before,
        total: extent.total,
        note: record.state.to_string(),
    };
    ctx.progress(extent.progress(extent.before, &bar)).await;
}

/// Nobody waits any more, or this director shuts down. The workflow goes on either way.
fn not_followed(id: &str) -> McpError {
    McpError::temporary(code::CANCELLED)
        .recovery(Recovery::RetryElsewhere)
        .message(format!(
            "not waited for to the end; `mcpctl workflow show {id}` says how far it is, `mcpctl workflow stop {id}` ends it"
        ))
}

/// What the requester gets of a finished workflow.
fn video(record: &WorkflowRecord) -> Result<Video, McpError> {
    let unreadable = |why: String| McpError::permanent(code::INTERNAL).message(why);
    let production: Production = record
        .data()
        .map_err(|error| unreadable(error.to_string()))?;
    let film = production
        .film
        .ok_or_else(|| unreadable("the finished video has no film".to_owned()))?;
    let steps = production.credits.into_iter().map(|credit| Step {
        agent: credit.agent,
        instance: credit.made.instance,
        action: credit.action,
        what: credit.what,
        started_ms: credit.made.began_at.saturating_sub(record.created_at),
        took_ms: credit.made.took_ms,
    });
    Ok(Video {
        theme: production.theme,
        film,
        workflow: record.id.to_string(),
        took_ms: record.updated_at.saturating_sub(record.created_at),
        steps: steps.collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::{Arc, Mutex},
    };

    use mcp_agent_sdk::{SendError, TestBroker};

    use super::*;
    use crate::{
        actions::Bar,
        agents::{audio_agent, content_agent, editing_agent, visual_agent},
    };

    /// The whole studio in one process, on a broker of its own.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_theme_becomes_a_film_and_everybody_reports() {
        let broker = TestBroker::start().await.unwrap();
        let client = broker.client().await.unwrap();
        let mut crew = Vec::new();
        for make in [
            content_agent::agent,
            visual_agent::agent,
            visual_agent::agent,
            audio_agent::agent,
            editing_agent::agent,
        ] {
            crew.push(make().start(&client).await.unwrap());
        }
        crew.push(agent().start(&client).await.unwrap());
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("film.mp4");
        let bars: Arc<Mutex<Vec<(f64, Bar)>>> = Arc::default();
        let seen = Arc::clone(&bars);
        let order = MakeVideo {
            theme: "ocean".to_owned(),
            output: output.clone(),
        };
        let video: Video = client
            .send_command("director_agent", "make_video", &order)
            .timeout(Duration::from_secs(300))
            .on_progress(move |progress| {
                let bar = Bar::of(progress).unwrap();
                seen.lock().unwrap().push((progress.fraction.unwrap(), bar));
            })
            .await
            .unwrap();

        assert!(video.film.duration_ms >= 12_000);
        assert_eq!(fs::metadata(&output).unwrap().len(), video.film.bytes);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "only the film stays"
        );
        let done_by = |name: &str| video.steps.iter().filter(|step| step.agent == name).count();
        assert_eq!(video.steps.len(), 3 + done_by("visual_agent"));
        assert!(done_by("visual_agent") >= 4);
        assert!(video.steps.iter().all(|step| !step.instance.is_empty()));

        for agent in crew {
            agent.drain().await;
        }
        let bars = bars.lock().unwrap();
        for name in [
            "content_agent",
            "visual_agent",
            "audio_agent",
            "editing_agent",
        ] {
            assert!(
                bars.iter()
                    .any(|(_, bar)| bar.agent == name && bar.done == bar.total),
                "{name}"
            );
        }
        assert_eq!(
            bars.last().map(|(fraction, bar)| (*fraction, bar.done)),
            Some((1.0, bars.last().unwrap().1.total))
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn orders_that_make_no_sense_are_refused_for_good() {
        let broker = TestBroker::start().await.unwrap();
        let client = broker.client().await.unwrap();
        let content = content_agent::agent().start(&client).await.unwrap();
        let director = agent().start(&client).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        for (theme, output) in [
            ("", "film.mp4"),
            ("ocean", "film.avi"),
            (&"a".repeat(61)[..], "film.mp4"),
        ] {
            let order = MakeVideo {
                theme: theme.to_owned(),
                output: folder.path().join(output),
            };
            let answer: Result<Video, SendError> = client
                .send_command("director_agent", "make_video", &order)
                .await;
            let error = answer.unwrap_err().to_mcp_error();
            assert_eq!(
                (&error.code[..], error.is_temporary()),
                ("INVALID_PARAMETERS", false),
                "{error}"
            );
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        director.drain().await;
        content.drain().await;
    }
}
