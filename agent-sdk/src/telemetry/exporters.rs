//! OTLP over gRPC or HTTP, as `OTEL_EXPORTER_OTLP_PROTOCOL` says (default `http/protobuf`).

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response, hyper::HyperClient};
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, SpanExporter, WithExportConfig, WithHttpConfig,
};
use tokio::runtime::Handle;

use super::signals::{Signal, variable};

/// How long one export may take where `OTEL_EXPORTER_OTLP_TIMEOUT` says nothing.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no exporter.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoExporter {
    #[error("OTEL_EXPORTER_OTLP_PROTOCOL={0} is not known here; known are grpc and http/protobuf")]
    Protocol(String),
    #[error("no thread for the exporters: {0}")]
    Thread(&'static io::Error),
    #[error("{0}")]
    Build(#[from] ExporterBuildError),
}

enum Protocol {
    Grpc,
    Http,
}

/// Where exporters run, all of them: not where the author's code does.
fn runtime() -> Result<Handle, NoExporter> {
    static RUNTIME: OnceLock<io::Result<Handle>> = OnceLock::new();
    let started = RUNTIME.get_or_init(super::exporting::start).as_ref();
    started.cloned().map_err(NoExporter::Thread)
}

/// To `endpoint`, or where the environment says.
pub(super) fn spans(endpoint: Option<&str>) -> Result<SpanExporter, NoExporter> {
    let runtime = runtime()?;
    let _inside = runtime.enter();
    let builder = SpanExporter::builder();
    if let Some(endpoint) = endpoint {
        let client = OnRuntime::new(runtime.clone(), Signal::Traces);
        let builder = builder.with_http().with_http_client(client);
        let endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        return Ok(builder.with_endpoint(endpoint).build()?);
    }
    Ok(match protocol(Signal::Traces)? {
        Protocol::Grpc => builder.with_tonic().build()?,
        Protocol::Http => builder
            .with_http()
            .with_http_client(OnRuntime::new(runtime.clone(), Signal::Traces))
            .build()?,
    })
}

pub(super) fn metrics() -> Result<MetricExporter, NoExporter> {
    let runtime = runtime()?;
    let _inside = runtime.enter();
    let builder = MetricExporter::builder();
    Ok(match protocol(Signal::Metrics)? {
        Protocol::Grpc => builder.with_tonic().build()?,
        Protocol::Http => builder
            .with_http()
            .with_http_client(OnRuntime::new(runtime.clone(), Signal::Metrics))
            .build()?,
    })
}

pub(super) fn logs() -> Result<LogExporter, NoExporter> {
    let runtime = runtime()?;
    let _inside = runtime.enter();
    let builder = LogExporter::builder();
    Ok(match protocol(Signal::Logs)? {
        Protocol::Grpc => builder.with_tonic().build()?,
        Protocol::Http => builder
            .with_http()
            .with_http_client(OnRuntime::new(runtime.clone(), Signal::Logs))
            .build()?,
    })
}

/// The variable of one signal goes before that of all.
fn setting(signal: Signal, what: &str) -> Option<String> {
    let own = format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.as_str());
    variable(&own).or_else(|| variable(&format!("OTEL_EXPORTER_OTLP_{what}")))
}

fn protocol(signal: Signal) -> Result<Protocol, NoExporter> {
    match setting(signal, "PROTOCOL").as_deref() {
        Some("grpc") => Ok(Protocol::Grpc),
        None | Some("http/protobuf") => Ok(Protocol::Http),
        Some(other) => Err(NoExporter::Protocol(other.to_owned())),
    }
}

/// An HTTP client for the exporter's own threads, on which there is no runtime: the requests are made on ours.
struct OnRuntime {
    runtime: Handle,
    client: Arc<dyn HttpClient>,
}

impl OnRuntime {
    fn new(runtime: Handle, signal: Signal) -> Self {
        let timeout = setting(signal, "TIMEOUT")
            .and_then(|ms| ms.parse().ok())
            .map_or(TIMEOUT, Duration::from_millis);
        Self {
            runtime,
            client: Arc::new(HyperClient::with_default_connector(timeout, None)),
        }
    }
}

impl fmt::Debug for OnRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnRuntime").finish_non_exhaustive()
    }
}

impl HttpClient for OnRuntime {
    fn send_bytes<'life, 'future>(
        &'life self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'future>>
    where
        'life: 'future,
        Self: 'future,
    {
        let client = Arc::clone(&self.client);
        let sending = self
            .runtime
            .spawn(async move { client.send_bytes(request).await });
        Box::pin(async move { sending.await? })
    }
}
