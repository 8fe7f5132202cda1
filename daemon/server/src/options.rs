//! What the caller chooses about the server: plain data with defaults. Nothing is read from the environment.

use std::path::PathBuf;
use std::time::Duration;

/// A listening server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// A name or an address.
    pub host: String,
    /// 0 takes a free one.
    pub port: u16,
    /// Connections held at once. For one more the one without a request for the longest time is closed; where all have one,
    /// it waits.
    pub connections_max: usize,
    /// A connection without a request for this long is closed, and so is one by HTTP/1 whose client takes nothing of an
    /// answer.
    pub idle_timeout: Duration,
    /// How long running answers may go on after a shutdown was asked for.
    pub grace: Duration,
    pub router: RouterOptions,
}

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions {
            host: "0.0.0.0".into(),
            port: 1234,
            connections_max: 16_384,
            // Longer than the idle times of the usual proxies, so that it is they who close.
            idle_timeout: Duration::from_secs(75),
            // With what follows it, less than the 30 s after which Kubernetes kills.
            grace: Duration::from_secs(25),
            router: RouterOptions::default(),
        }
    }
}

/// The routes and what surrounds them.
#[derive(Clone, Debug)]
pub struct RouterOptions {
    /// Put before every route, such as `/ai`; empty for none.
    pub base_path: String,
    /// Serve `/openapi.json` and `/docs`.
    pub docs: bool,
    /// Origins that browsers may call from; `None` and `*` allow any.
    pub allowed_origins: Option<Vec<String>>,
    pub body_bytes_max: usize,
    /// Of all request bodies that are being read, or whose texts are being templated and tokenised, or are to be echoed, at
    /// one time.
    pub body_memory_max: usize,
    /// Time for a whole request body to arrive.
    pub body_timeout: Duration,
    /// Log every request.
    pub access_log: bool,
    /// Log requests to health, metrics and docs too.
    pub access_log_health: bool,
    /// Send `x-request-id` with every answer.
    pub request_id_header: bool,
    /// Serve `/metrics`.
    pub metrics: bool,
    /// NVIDIA's management library, a name or a path; where it loads, the metrics show the GPUs it knows.
    pub nvml_library: PathBuf,
    /// File that gets every request and answer in full.
    pub payload_log: Option<PathBuf>,
    /// How long a request waits for a model that is still loading.
    pub load_wait: Duration,
    /// Requests that are templated and tokenised at once; more are refused.
    pub preparing_max: usize,
    /// Between comments that keep a quiet stream open.
    pub keep_alive: Duration,
}

impl Default for RouterOptions {
    fn default() -> Self {
        RouterOptions {
            base_path: String::new(),
            docs: true,
            allowed_origins: None,
            body_bytes_max: 50 << 20,
            body_memory_max: 512 << 20,
            body_timeout: Duration::from_secs(120),
            access_log: true,
            access_log_health: false,
            request_id_header: true,
            metrics: true,
            nvml_library: "libnvidia-ml.so.1".into(),
            payload_log: None,
            load_wait: Duration::from_secs(30),
            preparing_max: 416,
            keep_alive: Duration::from_secs(10),
        }
    }
}
