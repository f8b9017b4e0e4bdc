//! HTTPS: the certificate, and the one that is made where there is none.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use avamgr::private_file::{self, Access};
use rcgen::{CertificateParams, DnType, KeyPair, SerialNumber};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Readable by root alone, who reads it before he gives up being root.
const MODE: u32 = 0o600;

/// What encrypts, with the certificate and the key of `path`. One is made there where there is none: browsers ask once whether they
/// may trust it. `names`: what the node is called.
///
/// # Errors
/// When the file cannot be read or made, others can read it, or there is no certificate with its key in it.
pub fn acceptor(path: &Path, listen: &[SocketAddr], names: &[String]) -> Result<TlsAcceptor> {
    let about = || format!("certificate {}", path.display());
    if fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        let pem = self_signed(listen, names).with_context(about)?;
        private_file::replace(path, &pem, Access { mode: MODE, owner: None }, true).with_context(about)?;
    }
    let pem = private_file::read(path).with_context(about)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().with_context(about)?;
    ensure!(!chain.is_empty(), "{}: there is none in it", about());
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).with_context(|| format!("{}: its key", about()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .with_context(about)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Certificate and key, for the names and addresses that the node is known to have.
fn self_signed(listen: &[SocketAddr], names: &[String]) -> Result<String> {
    let addresses = listen.iter().map(SocketAddr::ip).filter(|address| !address.is_unspecified());
    let called = names
        .iter()
        .cloned()
        .chain(["localhost".to_owned(), "127.0.0.1".to_owned()])
        .chain(addresses.map(|it| it.to_string()));
    let mut called: Vec<String> = called.collect();
    called.sort_unstable();
    called.dedup();
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(called)?;
    let name = names.first().cloned().unwrap_or_else(|| "avamgr".to_owned());
    params.distinguished_name.push(DnType::CommonName, name);
    // Browsers refuse two certificates of one issuer with the same number.
    let mut serial = [0; 16];
    getrandom::fill(&mut serial)?;
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let certificate = params.self_signed(&key)?;
    Ok(format!("{}{}", certificate.pem(), key.serialize_pem()))
}
