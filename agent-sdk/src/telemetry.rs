//! Traces, figures and log lines of a program: set up from the standard `OTEL_*` variables, flushed at its end.
//!
//! With no endpoint set nothing is exported, nothing is asked of the network and nothing is said about it. An
//! endpoint that is down costs neither the work nor the exit more than [`SHUTDOWN`].

#[cfg(feature = "otlp")]
mod exporters;
#[cfg(feature = "otlp")]
mod exporting;
#[cfg(feature = "otlp")]
mod heard;
mod probes;
mod prometheus;
mod providers;
#[cfg(feature = "otlp")]
mod sampler;
mod signals;

use std::{
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use mcp_runtime::telemetry::{record_metrics, sampler_follows_parents};
use opentelemetry::{KeyValue, global, metrics::MeterProvider, trace::TracerProvider};
use opentelemetry_sdk::{
    Resource, logs::SdkLoggerProvider, metrics::SdkMeterProvider,
    propagation::TraceContextPropagator, trace::SdkTracerProvider,
};
use tokio::sync::oneshot;

use crate::logging;

pub(crate) use probes::Probes;
pub(crate) use prometheus::Figures;

use signals::{Signal, Wanted};

/// How long the last spans, figures and lines may take at the end, all of them together.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// The name under which our instruments and spans are known to backends.
const SCOPE: &str = "mcp-runtime";

/// There is one global tracer, meter and subscriber in a process: the first to come sets them up, and all use them to its end.
static PROCESS: OnceLock<Providers> = OnceLock::new();

/// How a program is to be observed; see [`Telemetry::start`].
///
/// [`Agent::run`](crate::Agent::run) does this by itself. It is for programs that only send.
///
/// ```no_run
/// # async fn example() {
/// use mcp_agent_sdk::Telemetry;
///
/// let telemetry = Telemetry::of("importer").start();
/// // ... the work ...
/// telemetry.shutdown().await;
/// # }
/// ```
#[must_use = "nothing is observed before it is started"]
#[derive(Debug)]
pub struct Telemetry {
    service: String,
    about: Vec<KeyValue>,
    lines: bool,
    scraped: bool,
    traces_to: Option<String>,
}

impl Telemetry {
    /// A program that calls itself `service`, unless `OTEL_SERVICE_NAME` says otherwise.
    pub fn of(service: &str) -> Self {
        Self {
            service: service.to_owned(),
            about: Vec::new(),
            lines: true,
            scraped: false,
            traces_to: None,
        }
    }

    /// Writes no log lines to standard error: for a tool where people read it. A collector gets them all the same.
    pub fn without_log_lines(mut self) -> Self {
        self.lines = false;
        self
    }

    /// Sends traces by OTLP over HTTP to this address, such as `http://127.0.0.1:4318`, where the environment says nothing about
    /// them: for a tool that has found a collector.
    pub fn traces_to(mut self, endpoint: &str) -> Self {
        self.traces_to = Some(endpoint.to_owned());
        self
    }

    /// Says which one of its instances this is, and of which version.
    pub(crate) fn instance(mut self, id: &str, version: &str) -> Self {
        self.about
            .push(KeyValue::new("service.instance.id", id.to_owned()));
        self.about
            .push(KeyValue::new("service.version", version.to_owned()));
        self
    }

    /// Keeps figures also where no collector gets them: somebody reads `/metrics`.
    pub(crate) fn scraped(mut self, scraped: bool) -> Self {
        self.scraped = scraped;
        self
    }

    /// Sets up log lines, traces and metrics for the process, as the environment says. Only the first call in a process
    /// does, later ones share what it has set up; a program that has a `tracing` subscriber of its own keeps it.
    pub fn start(self) -> RunningTelemetry {
        let scraped = self.scraped && !signals::is_disabled();
        let process = PROCESS.get_or_init(|| self.set_up());
        if scraped && process.figures.is_none() {
            tracing::warn!(
                "/metrics is empty: what was first observed in this process served none"
            );
        }
        RunningTelemetry { process }
    }

    fn set_up(self) -> Providers {
        let mut running = Providers::default();
        let mut said = Vec::new();
        let resource = self.resource();
        let found = self.traces_to.filter(|_| signals::is_open(Signal::Traces));
        if found.is_some() || signals::wanted(Signal::Traces, &mut said) == Wanted::Otlp {
            let traces = providers::traces(resource.clone(), found.as_deref(), &mut said);
            if let Some((traces, ratio)) = traces {
                (running.traces, running.ratio) = (Some(traces), ratio);
            }
        }
        if signals::wanted(Signal::Logs, &mut said) == Wanted::Otlp {
            running.logs = providers::logs(resource.clone(), &mut said);
        }
        let exported = signals::wanted(Signal::Metrics, &mut said) == Wanted::Otlp;
        let scraped = self.scraped && !signals::is_disabled();
        if exported || scraped {
            let figures = scraped.then(|| Arc::new(Figures::default()));
            running.metrics = providers::metrics(resource, exported, figures.clone(), &mut said);
            running.figures = figures;
        }
        running.install(self.lines);
        for reason in said {
            tracing::warn!(reason, "telemetry is less than the environment asks for");
        }
        running
    }

    fn resource(&self) -> Resource {
        let mut resource = Resource::builder().with_attributes(self.about.clone());
        // What the environment says goes before what we believe.
        if !signals::names_the_service() {
            resource = resource.with_service_name(self.service.clone());
        }
        resource.build()
    }
}

/// Telemetry that is set up; [`RunningTelemetry::shutdown`] sends what is left of it.
#[must_use = "without a shutdown the last spans are lost"]
#[derive(Debug)]
pub struct RunningTelemetry {
    process: &'static Providers,
}

#[derive(Debug, Default)]
struct Providers {
    traces: Option<SdkTracerProvider>,
    /// Where the sampler follows parents: so many of the traces that begin here are recorded.
    ratio: Option<f64>,
    metrics: Option<SdkMeterProvider>,
    logs: Option<SdkLoggerProvider>,
    figures: Option<Arc<Figures>>,
}

impl Providers {
    fn install(&self, lines: bool) {
        let tracer = self.traces.as_ref().map(|traces| traces.tracer(SCOPE));
        let ours = logging::init(tracer, self.logs.as_ref(), lines);
        if let Some(traces) = &self.traces {
            global::set_text_map_propagator(TraceContextPropagator::new());
            global::set_tracer_provider(traces.clone());
            // A subscriber of the program's own may go by another sampler.
            if let Some(ratio) = self.ratio.filter(|_| ours) {
                sampler_follows_parents(ratio);
            }
        }
        if let Some(metrics) = &self.metrics {
            record_metrics(&metrics.meter(SCOPE));
            global::set_meter_provider(metrics.clone());
        }
    }
}

impl RunningTelemetry {
    pub(crate) fn figures(&self) -> Option<Arc<Figures>> {
        self.process.figures.clone()
    }

    /// Sends what has not been sent yet, and gives up after 2 s. What the process does afterwards is observed, too: another
    /// agent may run in it.
    pub async fn shutdown(self) {
        let Providers {
            traces,
            metrics,
            logs,
            ..
        } = self.process;
        // At the same time, and on threads of their own that nobody waits for longer: one by one against a collector
        // that takes connections and says nothing it would be a quarter of a minute, and the runtime would wait for
        // blocking tasks of its own when it ends.
        let traces = traces.as_ref().map(|it| ended(|| drop(it.force_flush())));
        let metrics = metrics.as_ref().map(|it| ended(|| drop(it.force_flush())));
        let logs = logs.as_ref().map(|it| ended(|| drop(it.force_flush())));
        let all = async {
            for ended in [traces, metrics, logs].into_iter().flatten() {
                // A thread that panicked is done, too.
                let _ = ended.await;
            }
        };
        if tokio::time::timeout(SHUTDOWN, all).await.is_err() {
            tracing::debug!("the collector did not take the last spans and figures in time");
        }
    }
}

fn ended(work: impl FnOnce() + Send + 'static) -> oneshot::Receiver<()> {
    let (done, ended) = oneshot::channel();
    let thread = thread::Builder::new().name("telemetry-end".to_owned());
    // Without a thread there is no last export, and the sender's drop says so.
    let _ = thread.spawn(move || {
        work();
        let _ = done.send(());
    });
    ended
}
