//! Where connections come in: the listeners of the policy, opened once, their TLS side refreshed live.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Context as _;
use policy::{Listener, Plan, Scheme};

use crate::hand_over::Inherited;
use crate::listen;
use crate::metrics::METRICS;
use crate::policy_source::Reload;
use crate::settings::{PersonalData, Settings};
use crate::tls::{TlsEntrance, TlsFiles};

/// One place where connections come in.
pub(crate) struct Entrance {
    /// The listener's name in the policy.
    pub(crate) listener: String,
    /// `<listener>.<http|https>`.
    pub(crate) label: String,
    pub(crate) scheme: Scheme,
    /// What the policy said when it was opened.
    bind: SocketAddr,
    /// The port on which clients reach the HTTPS side of this listener.
    pub(crate) https_port: u16,
    /// The TLS side; `None` in clear.
    pub(crate) tls: Option<TlsEntrance>,
    /// How much its access lines tell of persons.
    pub(crate) personal_data: PersonalData,
}

/// An entrance with its sockets, at least one for each worker.
pub(super) struct Opening {
    pub(super) entrance: Arc<Entrance>,
    pub(super) address: SocketAddr,
    pub(super) sockets: Vec<TcpListener>,
}

/// Takes over or binds every listener of the policy, and takes its certificates.
///
/// # Errors
/// When an address is taken, a certificate is wrong, or a setting names a listener that the policy has not.
pub(super) fn open_all(
    settings: &Settings,
    plan: &Plan,
    files: &mut TlsFiles,
    inherited: &mut Inherited,
) -> anyhow::Result<Vec<Opening>> {
    files.look(plan);
    let workers = settings.worker_threads();
    let mut take_or_bind = |label: &str, bind: SocketAddr| {
        let address = settings.listen.get(label).copied().unwrap_or(bind);
        let handed_over = inherited.remove(label).unwrap_or_default();
        listen::take_or_bind(label, address, workers, handed_over)
    };
    let personal_data = settings.access_log.personal_data;
    let mut openings = Vec::new();
    for listener in plan.listeners() {
        let label = format!("{}.https", listener.name);
        let sockets = take_or_bind(&label, listener.https.bind)?;
        let bound = bound_address(&sockets)?;
        let tls = TlsEntrance::open(&listener.https, files)
            .with_context(|| format!("listener {}", listener.name))?;
        let https_port = bound.port();
        openings.push(opening(
            listener,
            label,
            (Some(tls), https_port),
            sockets,
            personal_data,
        )?);
        if let Some(http) = &listener.http {
            let label = format!("{}.http", listener.name);
            let sockets = take_or_bind(&label, http.bind)?;
            openings.push(opening(
                listener,
                label,
                (None, https_port),
                sockets,
                personal_data,
            )?);
        }
    }
    let known = |label: &String| openings.iter().any(|opening| opening.entrance.label == *label);
    if let Some(unknown) = settings.listen.keys().find(|label| !known(label)) {
        anyhow::bail!("listen.{unknown}: the policy has no such listener");
    }
    Ok(openings)
}

fn opening(
    listener: &Listener,
    label: String,
    (tls, https_port): (Option<TlsEntrance>, u16),
    sockets: Vec<TcpListener>,
    personal_data: PersonalData,
) -> anyhow::Result<Opening> {
    let scheme = if tls.is_some() {
        Scheme::Https
    } else {
        Scheme::Http
    };
    let address = bound_address(&sockets)?;
    let bind = match (scheme, &listener.http) {
        (Scheme::Http, Some(http)) => http.bind,
        (Scheme::Http, None) | (Scheme::Https, _) => listener.https.bind,
    };
    let entrance = Arc::new(Entrance {
        listener: listener.name.clone(),
        label,
        scheme,
        bind,
        https_port,
        tls,
        personal_data,
    });
    Ok(Opening {
        entrance,
        address,
        sockets,
    })
}

fn bound_address(sockets: &[TcpListener]) -> anyhow::Result<SocketAddr> {
    Ok(sockets.first().context("no worker threads")?.local_addr()?)
}

/// After every look at the policy directory: certificates may have changed too.
pub(super) fn after_look(plan: &Plan, files: &mut TlsFiles, entrances: &[Arc<Entrance>], reload: Reload) {
    files.look(plan);
    for entrance in entrances {
        if let Some(listener) = plan
            .listeners()
            .iter()
            .find(|listener| listener.name == entrance.listener)
        {
            refresh_tls(entrance, listener, files);
        }
    }
    let waiting = OpenSides::of(entrances).waiting(plan);
    METRICS
        .listeners_waiting
        .set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
    if reload == Reload::Loaded {
        for listener in waiting {
            tracing::warn!(
                listener,
                "the policy adds, moves or removes this side of a listener: that needs a restart or an upgrade"
            );
        }
    }
}

/// The sides of listeners that are open, each with the address that the policy gave it then: sockets are opened once.
#[derive(Debug, Default)]
pub(crate) struct OpenSides(BTreeSet<(String, SocketAddr)>);

impl OpenSides {
    pub(super) fn of<'e>(entrances: impl IntoIterator<Item = &'e Arc<Entrance>>) -> Self {
        let entrances = entrances.into_iter();
        Self(
            entrances
                .map(|entrance| (entrance.label.clone(), entrance.bind))
                .collect(),
        )
    }

    /// Those that are not as a policy says, or not there: they wait for a restart.
    pub(crate) fn waiting(&self, plan: &Plan) -> BTreeSet<String> {
        let wanted: BTreeSet<(String, SocketAddr)> = plan
            .listeners()
            .iter()
            .flat_map(|listener| {
                let https = (format!("{}.https", listener.name), listener.https.bind);
                let http = listener.http.as_ref();
                let http = http.map(|http| (format!("{}.http", listener.name), http.bind));
                std::iter::once(https).chain(http)
            })
            .collect();
        self.0
            .symmetric_difference(&wanted)
            .map(|(label, _)| label.clone())
            .collect()
    }
}

fn refresh_tls(entrance: &Entrance, listener: &Listener, files: &TlsFiles) {
    let Some(tls) = &entrance.tls else { return };
    match tls.refresh(&listener.https, files) {
        Ok(true) => tracing::info!(listener = entrance.label, "certificates or TLS policy replaced"),
        Ok(false) => {}
        // Every look comes here until it is mended: `TlsFiles` has told it once, and a metric stays.
        Err(error) => tracing::debug!(
            error = format!("{error:#}"),
            listener = entrance.label,
            "what the policy names is not there: the old state stays"
        ),
    }
}
