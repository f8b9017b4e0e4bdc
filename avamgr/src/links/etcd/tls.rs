//! Certificates: read anew for each connection, so that one that was renewed needs no restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use avamgr_core::config::EtcdConfig;
use thiserror::Error;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A file that is of no use.
#[derive(Debug, Error)]
pub enum TlsError {
    /// It cannot be read.
    #[error("{}: {reason} (PEM is needed)", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// They do not fit each other, or nothing can be done with them.
    #[error("the certificates for etcd cannot be used: {0}")]
    Use(#[from] tokio_rustls::rustls::Error),
}

/// What makes a connection secure; `None` = nothing is asked for.
pub(super) fn connector(config: &EtcdConfig) -> Result<Option<TlsConnector>, TlsError> {
    let Some(ca) = &config.ca_file else { return Ok(None) };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate)?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(roots);
    let tls = match (&config.cert_file, &config.key_file) {
        (Some(chain), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, error))?;
            builder.with_client_auth_cert(certificates(chain)?, key)?
        }
        (Some(_) | None, _) => builder.with_no_client_auth(),
    };
    Ok(Some(TlsConnector::from(Arc::new(tls))))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|error| unusable(file, error))?;
    if all.is_empty() { Err(unusable(file, "there is no certificate in it")) } else { Ok(all) }
}

fn unusable(file: &Path, reason: impl std::fmt::Display) -> TlsError {
    TlsError::File { file: file.to_owned(), reason: reason.to_string() }
}
