//! Whether the collector hears us: said once when that changes, not with each export.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::{LogBatch, LogExporter},
    metrics::{Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
    trace::{SpanData, SpanExporter},
};

/// An exporter whose failures are log lines of ours.
#[derive(Debug)]
pub(super) struct Heard<E> {
    exporter: E,
    what: &'static str,
    failing: AtomicBool,
}

impl<E> Heard<E> {
    pub(super) fn new(exporter: E, what: &'static str) -> Self {
        Self {
            exporter,
            what,
            failing: AtomicBool::new(false),
        }
    }

    fn note(&self, exported: &OTelSdkResult) {
        let failing = exported.is_err();
        match (self.failing.swap(failing, Ordering::Relaxed), exported) {
            (false, Err(error)) => {
                tracing::warn!(%error, what = self.what, "the collector does not take what is exported");
            }
            (true, Ok(())) => tracing::info!(what = self.what, "the collector takes it again"),
            _ => {}
        }
    }
}

impl<E: SpanExporter> SpanExporter for Heard<E> {
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        let exporting = self.exporter.export(batch);
        async move {
            let exported = exporting.await;
            self.note(&exported);
            exported
        }
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for Heard<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let exported = self.exporter.export(batch).await;
        self.note(&exported);
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Heard<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let exported = self.exporter.export(metrics).await;
        self.note(&exported);
        exported
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
