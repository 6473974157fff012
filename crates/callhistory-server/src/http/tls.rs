//! TLS, with a certificate that can be replaced while the service runs.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// A certificate with its key, read from files.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<(Arc<ServerConfig>, Vec<u8>)>,
}

impl Tls {
    /// Reads a chain of certificates, that of the service first, and its private key, both in PEM.
    ///
    /// # Errors
    ///
    /// Names the file that is not valid, or says that the files do not match.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, String> {
        let current = RwLock::new(read(certificate, key)?);
        Ok(Self(Arc::new(Inner { certificate: certificate.to_owned(), key: key.to_owned(), current })))
    }

    /// Reads the files again; `true` if they have changed. After an error, new connections still get the old certificate.
    ///
    /// # Errors
    ///
    /// Those of [`load`](Self::load).
    pub fn reload(&self) -> Result<bool, String> {
        let fresh = read(&self.0.certificate, &self.0.key)?;
        let mut current = self.0.current.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = current.1 != fresh.1;
        if is_new {
            *current = fresh;
        }
        Ok(is_new)
    }

    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        let config = Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner).0);
        TlsAcceptor::from(config).accept(stream).await
    }
}

/// The configuration, and the bytes of the files.
fn read(certificate: &Path, key: &Path) -> Result<(Arc<ServerConfig>, Vec<u8>), String> {
    let bytes = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let (chain_text, key_text) = (bytes(certificate)?, bytes(key)?);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain_text)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{}: {error}", certificate.display()))?;
    if chain.is_empty() {
        return Err(format!("{}: has no certificate in PEM", certificate.display()));
    }
    let private = PrivateKeyDer::from_pem_slice(&key_text)
        .map_err(|_| format!("{}: has no private key in PEM", key.display()))?;
    let error = |error: rustls::Error| format!("{} and {}: {error}", certificate.display(), key.display());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(error)?;
    let mut config = config.with_no_client_auth().with_single_cert(chain, private).map_err(error)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((Arc::new(config), [chain_text, key_text].concat()))
}
