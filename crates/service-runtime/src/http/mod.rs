//! What surrounds every router: request id, trace context, access log, metrics, and problems instead of panics.

mod observe;
mod random;
mod request_id;
mod serve;
mod trace_context;

pub use observe::layers;
pub use request_id::RequestId;
pub use serve::serve_unix;
pub use trace_context::TraceContext;
