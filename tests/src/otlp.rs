//! A collector for tests: takes traces, metrics and logs over gRPC and over http/protobuf on one port, and keeps them.

mod seen;

use std::sync::{Arc, Mutex, PoisonError};

use axum::{Router, body::Bytes, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{
            ExportLogsServiceRequest, ExportLogsServiceResponse,
            logs_service_server::{LogsService, LogsServiceServer},
        },
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    logs::v1::ResourceLogs,
    metrics::v1::ResourceMetrics,
    trace::v1::ResourceSpans,
};
use prost::Message;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{Request, Response, Status, service::Routes};

pub use seen::{SeenLine, SeenMetric, SeenSpan};

/// Batches that are kept; a test that sends more wants something else.
const MOST_BATCHES: usize = 10_000;

/// A collector on a free port; dropping it ends it.
#[derive(Debug)]
pub struct OtlpSink {
    endpoint: String,
    kept: Kept,
    serving: JoinHandle<()>,
}

#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Batches>>);

#[derive(Debug, Default)]
struct Batches {
    spans: Vec<ResourceSpans>,
    metrics: Vec<ResourceMetrics>,
    logs: Vec<ResourceLogs>,
}

impl OtlpSink {
    /// Starts it.
    ///
    /// # Panics
    /// When there is no port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let kept = Kept::default();
        let router = kept.router();
        let serving = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it can serve");
        });
        Self {
            endpoint: format!("http://{address}"),
            kept,
            serving,
        }
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is to be.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// All spans that have come in so far.
    #[must_use]
    pub fn spans(&self) -> Vec<SeenSpan> {
        let batches = self.kept.batches();
        batches.spans.iter().flat_map(seen::spans).collect()
    }

    /// All figures that have come in so far, each as often as it was exported.
    #[must_use]
    pub fn metrics(&self) -> Vec<SeenMetric> {
        let batches = self.kept.batches();
        batches.metrics.iter().flat_map(seen::metrics).collect()
    }

    /// All log lines that have come in so far.
    #[must_use]
    pub fn lines(&self) -> Vec<SeenLine> {
        let batches = self.kept.batches();
        batches.logs.iter().flat_map(seen::lines).collect()
    }

    /// Everything that has come in, byte for byte, for a search.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let batches = self.kept.batches();
        let spans = batches.spans.iter().map(Message::encode_to_vec);
        let metrics = batches.metrics.iter().map(Message::encode_to_vec);
        let logs = batches.logs.iter().map(Message::encode_to_vec);
        spans.chain(metrics).chain(logs).flatten().collect()
    }
}

impl Drop for OtlpSink {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Kept {
    fn batches(&self) -> std::sync::MutexGuard<'_, Batches> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_spans(&self, request: ExportTraceServiceRequest) {
        let mut batches = self.batches();
        batches.spans.extend(request.resource_spans);
        assert!(batches.spans.len() < MOST_BATCHES, "too much to keep");
    }

    fn keep_metrics(&self, request: ExportMetricsServiceRequest) {
        let mut batches = self.batches();
        batches.metrics.extend(request.resource_metrics);
        assert!(batches.metrics.len() < MOST_BATCHES, "too much to keep");
    }

    fn keep_logs(&self, request: ExportLogsServiceRequest) {
        let mut batches = self.batches();
        batches.logs.extend(request.resource_logs);
        assert!(batches.logs.len() < MOST_BATCHES, "too much to keep");
    }

    fn router(&self) -> Router {
        let (spans, metrics, logs) = (self.clone(), self.clone(), self.clone());
        let take_spans = move |body: Bytes| async move {
            let request = ExportTraceServiceRequest::decode(body);
            let request = request.map_err(|_| StatusCode::BAD_REQUEST)?;
            spans.keep_spans(request);
            Ok::<_, StatusCode>(ExportTraceServiceResponse::default().encode_to_vec())
        };
        let take_metrics = move |body: Bytes| async move {
            let request = ExportMetricsServiceRequest::decode(body);
            let request = request.map_err(|_| StatusCode::BAD_REQUEST)?;
            metrics.keep_metrics(request);
            Ok::<_, StatusCode>(ExportMetricsServiceResponse::default().encode_to_vec())
        };
        let take_logs = move |body: Bytes| async move {
            let request = ExportLogsServiceRequest::decode(body);
            let request = request.map_err(|_| StatusCode::BAD_REQUEST)?;
            logs.keep_logs(request);
            Ok::<_, StatusCode>(ExportLogsServiceResponse::default().encode_to_vec())
        };
        Routes::new(TraceServiceServer::new(self.clone()))
            .add_service(MetricsServiceServer::new(self.clone()))
            .add_service(LogsServiceServer::new(self.clone()))
            .into_axum_router()
            .route("/v1/traces", post(take_spans))
            .route("/v1/metrics", post(take_metrics))
            .route("/v1/logs", post(take_logs))
    }
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.keep_spans(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Kept {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.keep_metrics(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Kept {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.keep_logs(request.into_inner());
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}
