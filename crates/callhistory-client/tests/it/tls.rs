//! Connections with TLS.

use std::sync::Arc;

use callhistory_client::model::examples;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, ServerConfig, pki_types::PrivateKeyDer},
};

use crate::{ID, builder, record};

/// A server that answers each request with the example, and its certificate, which signs itself.
async fn serve() -> (String, String) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let body = examples::SOURCE_EXAMPLE;
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (url, own.cert.pem())
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_not_retried() {
    let (url, _) = serve().await;
    let error = builder(&url).build().unwrap().get_call(ID).await.unwrap_err();
    assert!(error.is_tls() && error.is_connect() && !error.is_retryable(), "{error:?}");
    assert_eq!(error.attempts(), 1);
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_root_certificate_of_the_program_is_trusted() {
    let (url, root) = serve().await;
    let client = builder(&url).root_certificates(root).build().unwrap();
    assert_eq!(client.get_call(ID).await.unwrap().call, record());
}

#[test]
fn invalid_certificates_are_refused() {
    let url = "https://localhost:1";
    let pem = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    assert!(builder(url).root_certificates(pem).build().unwrap_err().is_invalid_request());
    assert!(builder(url).client_certificate(pem, pem).build().unwrap_err().is_invalid_request());
    let own = rcgen::generate_simple_self_signed(["me".to_owned()]).unwrap();
    let client = builder(url).client_certificate(own.cert.pem(), own.signing_key.serialize_pem());
    assert!(client.build().is_ok());
}
