//! TLS connections to the database, with the modes of PostgreSQL's own clients.

use std::{str::FromStr, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};

/// Whether a connection is encrypted, and what is verified: the values of `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    Disable,
    /// Encrypted if the server supports it.
    #[default]
    Prefer,
    /// Encrypted without checking the certificate; with root certificates the same as `VerifyCa`.
    Require,
    /// Encrypted; a known authority must have issued the certificate.
    VerifyCa,
    /// Like `VerifyCa`, and the certificate must be for the host of the URL.
    VerifyFull,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "disable" => Self::Disable,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return Err(format!("sslmode={text} is none of disable, prefer, require, verify-ca, verify-full")),
        })
    }
}

/// The configuration of a mode, with the root certificates of a file, or those of the system.
pub(super) fn config(mode: Mode, roots: Option<&str>) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    let checks_authority = match mode {
        Mode::Disable | Mode::Prefer => false,
        Mode::Require => roots.is_some(),
        Mode::VerifyCa | Mode::VerifyFull => true,
    };
    if !checks_authority {
        let anyone = Arc::new(LenientVerifier { provider, authorities: None });
        return Ok(builder.dangerous().with_custom_certificate_verifier(anyone).with_no_client_auth());
    }
    let roots = Arc::new(authorities(roots)?);
    if mode == Mode::VerifyFull {
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    let strict = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
    let strict = strict.map_err(|error| format!("sslrootcert: {error}"))?;
    let any_host = Arc::new(LenientVerifier { provider, authorities: Some(strict) });
    Ok(builder.dangerous().with_custom_certificate_verifier(any_host).with_no_client_auth())
}

fn authorities(file: Option<&str>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            let invalid = |error: &dyn std::fmt::Display| format!("sslrootcert={file}: {error}");
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| invalid(&error))? {
                roots.add(certificate.map_err(|error| invalid(&error))?).map_err(|error| invalid(&error))?;
            }
            if roots.is_empty() {
                return Err(invalid(&"has no certificate in it"));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("the system has no root certificates; name a file with sslrootcert=PATH".to_owned());
            }
        }
    }
    Ok(roots)
}

/// Accepts any certificate, or with authorities any certificate that they issued, for any host.
#[derive(Debug)]
struct LenientVerifier {
    provider: Arc<CryptoProvider>,
    authorities: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for LenientVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(strict) = &self.authorities else { return Ok(ServerCertVerified::assertion()) };
        match strict.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
