//! The demo with a real Jaeger: it ends with a link, and Jaeger's own API has the video's trace behind it.
//!
//! Runs wherever a Jaeger v2 is there already, and says so where there is none; `make jaeger-test` builds one first.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    process::Stdio,
};

use mcp_tests::{PATIENCE, eventually, mcpctl, nats_server, video_studio, workspace};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::timeout,
};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// A Jaeger of our own, on free ports; dropping it kills it.
struct Jaeger {
    _child: Child,
    page: String,
    otlp: String,
}

impl Jaeger {
    /// The program, when there is one.
    async fn find() -> Option<String> {
        let script = workspace().join("deploy/scripts/jaeger.sh");
        let found = Command::new(script).arg("--find").output().await.ok()?;
        let path = String::from_utf8(found.stdout).ok()?;
        found.status.success().then(|| path.trim().to_owned())
    }

    async fn start(program: &str) -> Self {
        let mut ports = Vec::new();
        for _ in 0..4 {
            ports.push(TcpListener::bind("127.0.0.1:0").await.expect("a free port"));
        }
        let addresses: Vec<String> = ports
            .into_iter()
            .map(|port| port.local_addr().expect("it is bound").to_string())
            .collect();
        let child = Command::new(program)
            .arg("--config")
            .arg(workspace().join("deploy/observability/jaeger.yaml"))
            .env("JAEGER_UI", &addresses[0])
            .env("JAEGER_QUERY_GRPC", &addresses[1])
            .env("JAEGER_OTLP_GRPC", &addresses[2])
            .env("JAEGER_OTLP_HTTP", &addresses[3])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it can be run");
        let jaeger = Self {
            _child: child,
            page: addresses[0].clone(),
            otlp: format!("http://{}", addresses[3]),
        };
        eventually("Jaeger answers", || async {
            jaeger.get("/api/services").await.is_some()
        })
        .await;
        jaeger
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(&self.page).await.ok()?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.page);
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8(answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.contains(" 200 ").then_some(())?;
        serde_json::from_str(body).ok()
    }
}

/// A span as Jaeger tells it.
struct Told {
    name: String,
    service: String,
    parent: Option<String>,
    failed: bool,
}

impl Told {
    /// What everything else is below.
    fn is_the_order(&self) -> bool {
        (self.service.as_str(), self.name.as_str()) == ("mcpctl", "send_command")
    }
}

fn told(trace: &Value) -> BTreeMap<String, Told> {
    let spans = trace["spans"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let span = |span: &Value| {
        let process = text(&span["processID"]);
        // A sender that is parent and link at once is one reference here, called FOLLOWS_FROM; the page draws it as a parent.
        let mut references = span["references"].as_array().into_iter().flatten();
        let parent = references.find(|reference| reference["traceID"] == trace["traceID"]);
        let mut tags = span["tags"].as_array().into_iter().flatten();
        let told = Told {
            name: text(&span["operationName"]),
            service: text(&trace["processes"][&process]["serviceName"]),
            parent: parent.map(|reference| text(&reference["spanID"])),
            failed: tags.any(|tag| tag["key"] == "error" && tag["value"] == true),
        };
        (text(&span["spanID"]), told)
    };
    spans.map(span).collect()
}

#[tokio::test]
async fn the_demo_ends_with_a_link_to_a_trace_that_jaeger_has() -> TestResult {
    let Some(program) = Jaeger::find().await else {
        // Past the harness, which shows nothing that a test says when it passes.
        writeln!(
            std::io::stderr(),
            "no Jaeger v2 is here, so nothing was tested: `make jaeger-test` builds one and tests with it"
        )?;
        return Ok(());
    };
    let jaeger = Jaeger::start(&program).await;
    let folder = tempfile::tempdir()?;
    let film = folder.path().join("film.mp4");
    let mut demo = Command::new(mcpctl());
    for (name, _) in std::env::vars_os() {
        let known = name.to_string_lossy();
        if known.starts_with("MCP_") || known.starts_with("OTEL_") {
            demo.env_remove(&name);
        }
    }
    demo.args(["--json", "demo", "--theme", "ocean", "--output"])
        .arg(&film)
        .arg("--studio")
        .arg(video_studio())
        .env("MCP_NATS_SERVER", nats_server().await)
        .env("MCP_JAEGER_URL", format!("http://{}", jaeger.page))
        // It listens elsewhere than a Jaeger usually does.
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &jaeger.otlp)
        .env("OTEL_METRICS_EXPORTER", "none")
        .env("OTEL_LOGS_EXPORTER", "none")
        .kill_on_drop(true);
    let made = timeout(PATIENCE * 2, demo.output()).await??;
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success(), "{said}");
    let made: Value = serde_json::from_slice(&made.stdout)?;
    let url = made["video"]["trace"]["url"].as_str();
    let url = url.unwrap_or_else(|| panic!("no link: {made:#} {said}"));
    let id = url.rsplit('/').next().unwrap_or_default();
    assert_eq!(url, format!("http://{}/trace/{id}", jaeger.page));

    // The demo itself sends its first span last, when it ends; Jaeger collects before it keeps.
    eventually("the whole trace is in Jaeger", || async {
        let answer = jaeger.get(&format!("/api/traces/{id}")).await;
        let spans = answer.map(|answer| told(&answer["data"][0]));
        spans.is_some_and(|spans| spans.values().any(Told::is_the_order))
    })
    .await;
    let answer = jaeger.get(&format!("/api/traces/{id}")).await.unwrap();
    check(&told(&answer["data"][0]));
    Ok(())
}

fn check(spans: &BTreeMap<String, Told>) {
    let list = || {
        let lines = spans.iter().map(|(id, span)| {
            let parent = span.parent.as_deref().unwrap_or("-");
            format!("{id} {parent:<16} {:<15} {}\n", span.service, span.name)
        });
        lines.collect::<String>()
    };
    let services: BTreeSet<&str> = spans.values().map(|span| span.service.as_str()).collect();
    for agent in [
        "mcpctl",
        "director_agent",
        "content_agent",
        "visual_agent",
        "audio_agent",
        "editing_agent",
    ] {
        assert!(services.contains(agent), "no span of {agent}:\n{}", list());
    }
    let roots: Vec<&Told> = spans
        .values()
        .filter(|span| span.parent.is_none())
        .collect();
    assert_eq!(roots.len(), 1, "{}", list());
    assert!(roots[0].is_the_order(), "{}", list());
    for span in spans.values() {
        let parent = span.parent.as_ref();
        assert!(
            parent.is_none_or(|parent| spans.contains_key(parent)),
            "{} of {} hangs in the air:\n{}",
            span.name,
            span.service,
            list()
        );
        assert!(
            !span.failed,
            "{} of {} failed:\n{}",
            span.name,
            span.service,
            list()
        );
    }
    let named = |start: &str| spans.values().any(|span| span.name.starts_with(start));
    for name in [
        "publish mcp.cmd.director_agent.make_video",
        "process mcp.cmd.director_agent.make_video",
        "run workflow ",
        "state ",
        "process mcp.cmd.visual_agent.",
    ] {
        assert!(named(name), "no span `{name}`:\n{}", list());
    }
}
