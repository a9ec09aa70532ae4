//! `certificates`: what they are for, and which of them come by ACME.

use crate::{
    diagnostic::Findings,
    language,
    plan::AcmeChallenge,
    read::{At, Field, Mapping},
};

/// One certificate as written.
#[derive(Debug, Clone)]
pub(crate) struct CertificateDocument {
    pub(crate) hosts: Vec<String>,
    pub(crate) acme: Option<At<AcmeChallenge>>,
}

impl CertificateDocument {
    /// Reads one certificate.
    pub(crate) fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        let certificate = Mapping::open(field, language::CERTIFICATE, findings)?;
        let hosts = certificate
            .key("hosts", findings)
            .and_then(|field| field.list(findings, Field::host));
        let challenges = [
            ("http-01", AcmeChallenge::Http01),
            ("dns-01", AcmeChallenge::Dns01),
        ];
        let acme = certificate
            .optional("acme")
            .map(|field| field.choice(&challenges, findings));
        Some(Self {
            hosts: hosts?.into_iter().map(|host| host.value).collect(),
            acme: acme.map_or(Some(None), |acme| acme.map(Some))?,
        })
    }
}
