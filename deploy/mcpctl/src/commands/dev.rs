//! `mcpctl dev`: a server for development, as a child of this process.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use mcp_agent_sdk::{Client, Config, LocalServer, ServerError, runtime::Setup};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    cli::Global,
    failure::{Failure, chain},
    output::{self, Tone, paint},
    signals::Signals,
};

/// Where the data lies unless it is said otherwise: with the project, as its other build products do.
const DATA: &str = ".mcp/dev";

/// A server that listens on this machine says who it is at once.
const LOOK: Duration = Duration::from_secs(2);

/// Runs a NATS server with JetStream on this machine, creates streams and buckets, and stays until Ctrl-C.
///
/// What is stored survives restarts. nats-server is looked for in MCP_NATS_SERVER, PATH and .tools/bin. Others
/// cannot reach it: it listens on 127.0.0.1 only.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// The port; 0 chooses a free one
    #[arg(long, default_value_t = 4222)]
    port: u16,
    /// The folder for data and log, created when missing
    #[arg(long, value_name = "DIR", default_value = DATA)]
    data: PathBuf,
}

pub(crate) async fn run(args: DevArgs, global: &Global) -> Result<(), Failure> {
    // Before the server starts: a Ctrl-C in between must stop it too.
    let mut signals = Signals::listen()?;
    if args.data == Path::new(DATA) {
        keep_out_of_git().map_err(|error| Failure::io("cannot write to .mcp", &error))?;
    }
    let port = (args.port != 0).then_some(args.port);
    let mut server = match LocalServer::builder()
        .store_dir(&args.data)
        .port(port)
        .start()
        .await
    {
        Ok(server) => server,
        Err(ServerError::PortTaken { port }) => return Err(port_taken(port, global).await),
        Err(error) => return Err(error.into()),
    };
    let outcome = tokio::select! {
        outcome = serve(&mut server, &args.data, global) => outcome,
        () = signals.next() => Ok(()),
    };
    if server.pid().is_some() {
        output::note("stopping the server");
        server.stop().await?;
    }
    outcome
}

/// Prepares the server and waits until it ends by itself.
async fn serve(server: &mut LocalServer, data: &Path, global: &Global) -> Result<(), Failure> {
    let config = Config::new(server.url())
        .name("mcpctl")
        .namespace(&global.namespace)
        .topology(global.topology()?);
    // Not kept: a connection would only complain when the server stops.
    drop(global.connect_with(config).await?);
    announce(server, data, global);
    let status = server.exited().await?;
    let log = server.log_file();
    Err(
        Failure::unreachable(format!("nats-server ended by itself ({status})"))
            .remedy(format!("its log {} may say why", log.display())),
    )
}

fn announce(server: &LocalServer, data: &Path, global: &Global) {
    let url = server.url();
    let data = fs::canonicalize(data).unwrap_or_else(|_| data.to_owned());
    let version = server.program().version;
    if global.json {
        return output::json(&json!({
            "url": url, "namespace": global.namespace, "data": data, "pid": server.pid(),
            "version": version.to_string(),
        }));
    }
    output::line(format!(
        "nats-server {version} is ready at {}",
        paint(Tone::Strong, url)
    ));
    output::line(format!("data: {} (kept when it stops)", data.display()));
    output::line("stop it with Ctrl-C. In other terminals:");
    let setting = match url == mcp_agent_sdk::runtime::DEFAULT_URL {
        true => String::new(),
        false => format!("MCP_NATS_URL={url} "),
    };
    let mcpctl = format!("{setting}{}", output::program());
    output::hints(&[
        (format!("{mcpctl} probe"), "a test agent"),
        (
            format!("{mcpctl} send probe echo -p '{{\"hello\": 1}}'"),
            "ask it something",
        ),
        (format!("{mcpctl} agents"), "who is running"),
        (format!("{mcpctl} new greeter"), "an agent of your own"),
    ]);
}

/// The folder holds streams, which nobody wants to commit by mistake.
fn keep_out_of_git() -> io::Result<()> {
    fs::create_dir_all(".mcp")?;
    let ignore = Path::new(".mcp/.gitignore");
    if ignore.exists() {
        Ok(())
    } else {
        fs::write(ignore, "*\n")
    }
}

/// Says what listens on the port: often it is the server that is wanted.
async fn port_taken(port: u16, global: &Global) -> Failure {
    let url = format!("nats://127.0.0.1:{port}");
    let config = Config::new(&url)
        .namespace(&global.namespace)
        .setup(Setup::Assume);
    let failure = match timeout(LOOK, Client::connect(config)).await {
        Ok(Ok(client)) => {
            let version = client.nats().server_info().version;
            return Failure::usage(format!(
                "a nats-server {version} with JetStream runs already at {url}"
            ))
            .remedy("use that one, or choose another port with --port");
        }
        Ok(Err(error)) if !error.is_temporary() => {
            Failure::usage(format!("port {port} is taken: {}", chain(&error)))
        }
        _ => Failure::usage(format!(
            "port {port} on 127.0.0.1 is in use by another program"
        )),
    };
    failure.remedy("stop that one, or choose another port with --port")
}
