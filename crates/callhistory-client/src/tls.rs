//! TLS: its provider and its certificates.

/// Certificates of the program, as PEM.
#[derive(Clone, Default)]
pub(crate) struct Certificates {
    pub(crate) roots: Vec<Vec<u8>>,
    /// The chain and the key of the client.
    pub(crate) client: Option<(Vec<u8>, Vec<u8>)>,
}

#[cfg(all(feature = "rustls-no-provider", not(target_arch = "wasm32")))]
pub(crate) use with_rustls::configure;

/// With rustls. The client has a configuration of its own, because reqwest panics where there is no provider, and reads the
/// root certificates of the platform even if nothing is encrypted.
#[cfg(all(feature = "rustls-no-provider", not(target_arch = "wasm32")))]
mod with_rustls {
    use std::sync::{Arc, OnceLock};

    use rustls::{
        ClientConfig, DigitallySignedStruct, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::CryptoProvider,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    };
    use rustls_platform_verifier::Verifier;

    use super::Certificates;
    use crate::error::Error;

    pub(crate) fn configure(
        http: reqwest::ClientBuilder,
        certificates: &Certificates,
    ) -> Result<reqwest::ClientBuilder, Error> {
        let provider = provider().ok_or_else(|| {
            Error::setup(
                "no rustls provider is installed; install one, or enable the feature `rustls-ring` or `rustls-aws-lc`",
            )
        })?;
        let mut roots = Vec::new();
        for pem in &certificates.roots {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.push(certificate.map_err(|error| Error::invalid_source("a root certificate is invalid", error))?);
            }
        }
        let verifier = PlatformVerifier { provider: Arc::clone(&provider), roots, verifier: OnceLock::new() };
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(Error::setup)?.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        let config = match &certificates.client {
            None => config.with_no_client_auth(),
            Some((chain, key)) => {
                let invalid = |error| Error::invalid_source("the client certificate is invalid", error);
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
                let key = PrivateKeyDer::from_pem_slice(key);
                config
                    .with_client_auth_cert(chain.map_err(invalid)?, key.map_err(invalid)?)
                    .map_err(|error| Error::invalid_source("the client certificate is invalid", error))?
            }
        };
        Ok(http.tls_backend_preconfigured(config))
    }

    /// The provider that the program has installed, or the one that this crate was built with.
    fn provider() -> Option<Arc<CryptoProvider>> {
        if let Some(installed) = CryptoProvider::get_default() {
            return Some(Arc::clone(installed));
        }
        #[cfg(feature = "rustls-ring")]
        return Some(Arc::new(rustls::crypto::ring::default_provider()));
        #[cfg(all(feature = "rustls-aws-lc", not(feature = "rustls-ring")))]
        return Some(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        #[cfg(not(any(feature = "rustls-aws-lc", feature = "rustls-ring")))]
        None
    }

    /// The verifier of the platform, which is created for the first certificate: it reads the root certificates.
    #[derive(Debug)]
    struct PlatformVerifier {
        provider: Arc<CryptoProvider>,
        roots: Vec<CertificateDer<'static>>,
        verifier: OnceLock<Result<Verifier, rustls::Error>>,
    }

    impl PlatformVerifier {
        fn get(&self) -> Result<&Verifier, rustls::Error> {
            let create = || Verifier::new_with_extra_roots(self.roots.iter().cloned(), Arc::clone(&self.provider));
            self.verifier.get_or_init(create).as_ref().map_err(Clone::clone)
        }
    }

    impl ServerCertVerifier for PlatformVerifier {
        fn verify_server_cert(
            &self,
            end_entity: &CertificateDer<'_>,
            intermediates: &[CertificateDer<'_>],
            server_name: &ServerName<'_>,
            ocsp_response: &[u8],
            now: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            self.get()?.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.get()?.verify_tls12_signature(message, certificate, signature)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            self.get()?.verify_tls13_signature(message, certificate, signature)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    }
}

/// With the library of the platform.
#[cfg(all(feature = "native-tls", not(feature = "rustls-no-provider"), not(target_arch = "wasm32")))]
pub(crate) fn configure(
    http: reqwest::ClientBuilder,
    certificates: &Certificates,
) -> Result<reqwest::ClientBuilder, crate::error::Error> {
    use crate::error::Error;

    let mut http = http;
    for pem in &certificates.roots {
        let roots = reqwest::Certificate::from_pem_bundle(pem);
        let roots = roots.map_err(|error| Error::invalid_source("a root certificate is invalid", error))?;
        http = http.tls_certs_merge(roots);
    }
    if let Some((chain, key)) = &certificates.client {
        let identity = reqwest::Identity::from_pkcs8_pem(chain, key);
        http =
            http.identity(identity.map_err(|error| Error::invalid_source("the client certificate is invalid", error))?);
    }
    Ok(http)
}

/// Without TLS.
#[cfg(not(any(feature = "native-tls", feature = "rustls-no-provider", target_arch = "wasm32")))]
pub(crate) fn configure(
    http: reqwest::ClientBuilder,
    _: &Certificates,
) -> Result<reqwest::ClientBuilder, crate::error::Error> {
    Ok(http)
}
